"""No command talks to anybody but whom its user named."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from PIL import Image

from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel

# Told to every Python process: who asks for a name or a connection beyond this machine is noted.
_WATCH = """
import os, sys

def note(event, arguments):
    if event == "socket.getaddrinfo":
        where = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        where = arguments[1][0]
    else:
        return
    if where not in (None, "", "localhost", "127.0.0.1", "::1", b"127.0.0.1", b"localhost"):
        with open(os.environ["L2BT_TEST_NOTES"], "a") as file:
            file.write(f"{os.path.basename(sys.argv[0])} {sys.argv[1:2]} asks for {where}\\n")

sys.addaudithook(note)
"""


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    """An environment in which each Python process notes whom it talks to."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(_WATCH)
    # A home of its own, in which no opt-out lies.
    home = tmp_path / "home"
    home.mkdir()
    return {
        **{name: value for name, value in os.environ.items() if name not in ("CI", "NNCF_CI")},
        "HOME": str(home),
        "PYTHONPATH": str(tmp_path / "watch"),
        "L2BT_TEST_NOTES": str(tmp_path / "notes"),
    }


def run(program: list[str], environment: dict[str, str]) -> None:
    subprocess.run(program, env=environment, check=True, capture_output=True, timeout=300)


def notes(environment: dict[str, str]) -> str:
    path = Path(environment["L2BT_TEST_NOTES"])
    return path.read_text() if path.exists() else ""


def test_the_watch_sees_what_it_should(watched: dict[str, str]) -> None:
    program = "import socket\ntry: socket.getaddrinfo('a.invalid', 80)\nexcept OSError: pass"
    run([sys.executable, "-c", program], watched)
    assert "asks for a.invalid" in notes(watched)


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["doctor"],
        ["inspect", "{image}", "--model", "{model}", "--pictures", "{out}"],
        ["threshold", "{model}"],
        ["benchmark", "roofline", "{model}", "--turns", "3", "--out", "{out}"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_asks_nobody(
    command: list[str],
    watched: dict[str, str],
    tiny_exported: ExportedModel,
    defective_image: ImageArray,
    tmp_path: Path,
) -> None:
    Image.fromarray(defective_image).save(tmp_path / "part.png")
    places = {
        "image": tmp_path / "part.png",
        "model": tiny_exported.folder,
        "out": tmp_path / "out",
    }
    script = Path(sys.executable).with_name("l2bt")
    arguments = [part.format(**places) for part in command]
    result = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=watched,
        capture_output=True,
        timeout=300,
        check=False,
    )
    # What is missing for a GPU is the doctor's to say.
    assert result.returncode == 0 or command[0] == "doctor", result.stderr
    assert notes(watched) == ""
    # Neither an id nor an opt-out is left behind for a library's makers.
    assert not list(Path(watched["HOME"]).glob("intel"))


def test_ray_asks_nobody_but_its_own_processes(
    watched: dict[str, str],
    tiny_exported: ExportedModel,
    defective_image: ImageArray,
    tmp_path: Path,
) -> None:
    (tmp_path / "parts").mkdir()
    Image.fromarray(defective_image).save(tmp_path / "parts" / "part.png")
    score = ["score", "parts", "--model", str(tiny_exported.folder), "--out", "table"]
    done = subprocess.run(
        [sys.executable, "-m", "l2bt", *score, "--ray", "local", "--workers", "1"],
        env=watched | {"PYTHONPATH": f"{watched['PYTHONPATH']}:{Path(__file__).parents[1]}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked = {line.rsplit(" ", 1)[1] for line in notes(watched).splitlines()}
    # Its processes find each other by the machine's own address, and listen at any.
    assert asked <= {"0.0.0.0", *own_addresses()}
    assert list(Path(watched["HOME"]).iterdir()) == []


def own_addresses() -> set[str]:
    return {one.address for some in psutil.net_if_addrs().values() for one in some}


@pytest.mark.parametrize("library", ["openvino", "nncf", "timm", "wandb", "tritonclient.grpc"])
def test_a_library_asks_nobody_once_it_is_asked_for_by_this_project(
    library: str, watched: dict[str, str]
) -> None:
    if find_spec(library.partition(".")[0]) is None:
        pytest.skip(f"{library} is not installed")
    run(
        [sys.executable, "-c", f"from runtime.extras import require; require({library!r})"],
        watched,
    )
    assert notes(watched) == ""
