"""What a running tritonserver uses and has done: processor, memory, runs of its engine."""

from typing import Any

from runtime.extras import require
from triton_repo.configuration.configs import ENGINE

_MIB = 1 << 20


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process and its children since they began."""
    spent = [process.cpu_times() for process in _family(pid)]
    return float(sum(times.user + times.system for times in spent))


def memory_mib(pid: int) -> float:
    """Memory of a process and its children, each page counted once, however many share it."""
    return float(sum(process.memory_full_info().pss for process in _family(pid))) / _MIB


def runs_by_tiles(address: str) -> dict[int, int]:
    """How often the engine has run so many tiles at once, as Triton counts it.

    Args:
        address: host:port of the server's gRPC interface.
    """
    grpc: Any = require("tritonclient.grpc")
    with grpc.InferenceServerClient(address) as client:
        answer = client.get_inference_statistics(ENGINE)
    (statistics,) = answer.model_stats
    return {
        int(batch.batch_size): int(batch.compute_infer.count) for batch in statistics.batch_stats
    }


def _family(pid: int) -> list[Any]:
    psutil: Any = require("psutil")
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
