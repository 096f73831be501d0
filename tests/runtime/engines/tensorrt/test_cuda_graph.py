"""Recording a stream: a small library stands in for the CUDA driver."""

import ctypes
from pathlib import Path

import pytest

from runtime.engines.tensorrt.cuda_graph import CudaGraph
from runtime.errors import ModelError
from tests.parts.driver_stand_in import build_driver

DRIVER = """
#include <stddef.h>
static int recording, graphs, executables, launches;
int cuStreamBeginCapture_v2(void *stream, int mode) {
    if (recording || mode != 1 || stream != (void *)7) return 1;
    recording = 1; return 0; }
int cuStreamEndCapture(void *stream, void **graph) {
    if (!recording) return 1;
    recording = 0; graphs++; *graph = (void *)11; return FAILS_AT == 1 ? 901 : 0; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    if (FAILS_AT == 2) return 801;
    if (graph != (void *)11 || flags) return 1;
    executables++; *executable = (void *)13; return 0; }
int cuGraphLaunch(void *executable, void *stream) {
    if (executable != (void *)13 || stream != (void *)7) return 1;
    launches++; return 0; }
int cuGraphExecDestroy(void *executable) { executables--; return 0; }
int cuGraphDestroy(void *graph) { graphs--; return 0; }
int state(int which) {
    return which == 0 ? recording : which == 1 ? graphs : which == 2 ? executables : launches; }
"""


def driver(folder: Path, *, fails_at: int = 0) -> str:
    return build_driver(DRIVER, folder, FAILS_AT=fails_at)


def state(library: str) -> dict[str, int]:
    names = ("recording", "graphs", "executables", "launches")
    loaded = ctypes.CDLL(library)
    return {name: loaded.state(number) for number, name in enumerate(names)}


def test_work_is_recorded_once_and_launched_often(tmp_path: Path) -> None:
    library, works = driver(tmp_path), []
    graph = CudaGraph(7, lambda: works.append(state(library)["recording"]), library=library)
    graph.launch()
    graph.launch()
    assert works == [1]
    assert state(library) == {"recording": 0, "graphs": 1, "executables": 1, "launches": 2}
    graph.close()
    graph.close()
    assert state(library) == {"recording": 0, "graphs": 0, "executables": 0, "launches": 2}


def test_work_that_fails_ends_the_recording_and_is_what_is_raised(tmp_path: Path) -> None:
    library = driver(tmp_path)

    def work() -> None:
        raise ModelError("TensorRT failed")

    with pytest.raises(ModelError, match="TensorRT failed"):
        CudaGraph(7, work, library=library)
    assert state(library) == {"recording": 0, "graphs": 0, "executables": 0, "launches": 0}


@pytest.mark.parametrize(
    ("fails_at", "message"),
    [
        (1, r"cuStreamEndCapture \(error 901\)"),
        (2, r"cuGraphInstantiateWithFlags \(error 801\)"),
    ],
)
def test_a_driver_that_refuses_is_quoted_and_nothing_stays(
    fails_at: int, message: str, tmp_path: Path
) -> None:
    library = driver(tmp_path, fails_at=fails_at)
    with pytest.raises(ModelError, match=f"{message}; run without one"):
        CudaGraph(7, lambda: None, library=library)
    assert state(library) == {"recording": 0, "graphs": 0, "executables": 0, "launches": 0}
