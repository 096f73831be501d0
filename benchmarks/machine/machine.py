"""What a measurement ran on, and in which state that was."""

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from runtime.engines.tensorrt.gpu import find_gpu
from runtime.errors import GpuUnavailableError

_LIBRARIES = (
    "l2bt-edge",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "openvino",
    "torch",
    "tritonclient",
    "nvidia-pytriton",
    "scikit-learn",
)
_GPU_QUERY = "clocks.sm,clocks.mem,temperature.gpu,power.draw,power.limit,pstate"
# Instructions that decide how fast a CPU multiplies matrices, each faster than those before it.
_INSTRUCTIONS = (
    *("asimd", "asimddp", "i8mm"),
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What else decides how fast a machine is, where it can be read; empty or None where not.

    Attributes:
        load_average: Of the last minute, before the measurement: work of others shows here.
        memory_gib: Of the machine.
        instructions: Of the CPU, those for matrices.
        governor: How its clock is chosen.
        cpu_mhz: Its clock now, averaged over the cores.
        temperatures_c: Of each thermal zone that tells its name.
        power_mode: Of a Jetson, as nvpmodel says it.
        gpu: Name, clocks in MHz, temperature, power, as nvidia-smi says them.
    """

    load_average: float
    memory_gib: float
    instructions: tuple[str, ...]
    governor: str
    cpu_mhz: float | None
    temperatures_c: dict[str, float]
    power_mode: str
    gpu: str


def describe_machine() -> str:
    """Processor with its fastest matrix instructions, usable cores, GPU if any, and system."""
    gpu = _gpu_name()
    fastest = "".join(f" with {name}" for name in _matrix_instructions()[-1:])
    named = [f"{_processor()}{fastest}", f"{cores()} cores", *([gpu] if gpu else [])]
    return f"{', '.join(named)}, {platform.system()} {platform.machine()}"


def machine_name() -> str:
    """The machine's class as the name of a folder, such as "amd-epyc-2-cores-avx2".

    Processors of one name, as virtual machines tell it, may differ by years and by what they
    compute in, so the fastest instructions are part of it.
    """
    named = f"{_gpu_name()} {_processor()} {cores()} cores {' '.join(_matrix_instructions()[-1:])}"
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", named.lower())).strip("-")


def library_versions() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that are installed."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def read_conditions() -> Conditions:
    """Read what the machine tells of its state now."""
    processor = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    cpuinfo = _text(Path("/proc/cpuinfo"))
    clocks = [float(clock) for clock in re.findall(r"cpu MHz\s*: ([\d.]+)", cpuinfo)]
    total = re.findall(r"MemTotal:\s*(\d+) kB", _text(Path("/proc/meminfo")))
    return Conditions(
        load_average=os.getloadavg()[0],
        memory_gib=round(int(total[0]) / 2**20, 1) if total else 0.0,
        instructions=_matrix_instructions(),
        governor=_text(processor / "scaling_governor").strip(),
        cpu_mhz=round(sum(clocks) / len(clocks)) if clocks else None,
        temperatures_c=_temperatures(),
        power_mode=" ".join(_output("nvpmodel", "-q").split()),
        gpu=_output("nvidia-smi", f"--query-gpu=name,{_GPU_QUERY}", "--format=csv,noheader"),
    )


def available_memory_bytes() -> int:
    """Memory that a new process could take without swapping; Linux only."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo does not tell the available memory")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    board = _text(Path("/proc/device-tree/model")).strip("\0 \n")
    if board:
        return board
    # platform.processor() is empty on most Linux systems.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _matrix_instructions() -> tuple[str, ...]:
    """Those of `_INSTRUCTIONS` that the CPU has, the fastest last."""
    named = re.findall(r"(?:flags|Features)\s*:(.*)", _text(Path("/proc/cpuinfo")))[:1]
    flags = set(re.findall(r"\w+", "".join(named)))
    return tuple(name for name in _INSTRUCTIONS if name in flags)


def _gpu_name() -> str:
    with suppress(GpuUnavailableError):
        return find_gpu().name
    return ""


def _temperatures() -> dict[str, float]:
    found = {}
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        name, millidegrees = _text(zone / "type").strip(), _text(zone / "temp").strip()
        if name and millidegrees.lstrip("-").isdigit():
            found[name] = int(millidegrees) / 1e3
    return found


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text()
    return ""
