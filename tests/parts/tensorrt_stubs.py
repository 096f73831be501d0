"""Type stubs of TensorRT, generated from NVIDIA's own Python bindings of any version.

The bindings are small and on PyPI; the libraries that they load are neither. Nothing is executed
here, so that empty libraries of the same names are enough to import the bindings and to let
pybind11-stubgen write down what they have.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

_DOWNLOAD_SECONDS = 180
_GENERATE_SECONDS = 180
_NONE_ON_FAILURE = (
    "build_serialized_network",
    "create_execution_context",
    "deserialize_cuda_engine",
)


class StubsUnavailableError(Exception):
    """This machine cannot make the stubs; the message says what it lacks."""


def make_stubs(version: str) -> Path:
    """A folder for a type checker's search path, in which `tensorrt` is of this version.

    It is kept in the user's cache, and made anew when this module changes.

    Raises:
        StubsUnavailableError: There is no C compiler or no stubgen, or the bindings for this
            Python cannot be downloaded.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    generator = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = cache / "l2bt-edge" / "tensorrt-stubs" / f"{version}-{generator}"
    if folder.is_dir():
        return folder
    _check_tools()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
        stubs = _generate(_unpack(_download(version, Path(made)), Path(made)))
        _patch(stubs / "tensorrt" / "tensorrt.pyi")
        try:
            stubs.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.is_dir():
                raise
    return folder


def _check_tools() -> None:
    if shutil.which("cc") is None:
        raise StubsUnavailableError("needs a C compiler, cc")
    for module in ("pip", "pybind11_stubgen"):
        if importlib.util.find_spec(module) is None:
            raise StubsUnavailableError(f"needs {module}; pip install l2bt-edge[dev]")


def _download(version: str, folder: Path) -> Path:
    # 10.3 is there for CUDA 12 only, and the API does not depend on CUDA's version.
    package = f"tensorrt-{'cu13' if int(version.split('.')[0]) > 10 else 'cu12'}-bindings"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=1"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", f"--dest={folder}"]
    try:
        _run([*command, f"{package}=={version}"], _DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise StubsUnavailableError(f"{package} {version} takes too long to download") from error
    except subprocess.CalledProcessError as error:
        last = str(error.stdout).strip().rpartition("\n")[2]
        raise StubsUnavailableError(
            f"{package} {version} cannot be downloaded for this Python: {last}"
        ) from error
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    # As users import it; NVIDIA's package `tensorrt` only hands the names of this one on.
    return (folder / "tensorrt_bindings").rename(folder / "tensorrt")


def _generate(package: Path) -> Path:
    made = package.parent
    libraries = made / "libraries"
    libraries.mkdir()
    _write_empty_libraries((package / "tensorrt.so").read_bytes(), libraries)
    command = [sys.executable, "-m", "pybind11_stubgen", "tensorrt", "--output-dir=stubs"]
    # What stubgen cannot name, as a type that the bindings do not export, becomes unknown.
    command += ["--ignore-all-errors"]
    search = os.pathsep.join([str(libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    places = {"PYTHONPATH": str(made), "LD_LIBRARY_PATH": search}
    _run(command, _GENERATE_SECONDS, folder=made, environment=os.environ | places)
    return made / "stubs"


def _write_empty_libraries(bindings: bytes, folder: Path) -> None:
    """Libraries with all that the bindings link to, whose functions return null."""
    functions = _names(
        rb"create\w+_INTERNAL|get\w*PluginRegistry|getNvOnnxParserVersion|initLibNvInferPlugins",
        bindings,
    )
    source = folder / "functions.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions))
    for name in _names(rb"libnv(?:infer|onnxparser)\w*\.so\.\d+", bindings):
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", f"-o{folder / name}"]
        _run([*command, str(source)], _GENERATE_SECONDS)


def _names(pattern: bytes, bindings: bytes) -> list[str]:
    """Names that stand alone in the table of strings for the linker."""
    found = re.findall(rb"(?<=\0)(?:" + pattern + rb")(?=\0)", bindings)
    return sorted({name.decode() for name in found})


def _patch(stub: Path) -> None:
    """Write into a stub what the bindings can do but pybind11 does not tell."""
    text = stub.read_text()
    # TensorRT's data type `bool` hides Python's, so that no function would return a known type.
    text = re.sub(r"(?<![\w`'.\n])bool\b", "builtins.bool", text)
    text = _replace_once(text, "\nimport typing\n", "\nimport builtins\nimport typing\n")
    # The name of a parameter, and a keyword of Python.
    text = re.sub(r"\bin: ", "in_: ", text)
    # What it passes to a method that users override is a number, not only something like it.
    text = text.replace("typing.SupportsInt", "int").replace("typing.SupportsFloat", "float")
    # Any sequence of numbers becomes a Dims where one is asked for.
    text = re.sub(r"(?<=: )Dims(?=[,)])", "Dims | typing.Sequence[int]", text)
    text = _replace_once(
        text,
        "\nclass Dims:\n",
        "\nclass Dims:\n    def __iter__(self) -> typing.Iterator[int]: ...\n",
    )
    # The null pointer, where TensorRT failed.
    text, count = re.subn(
        rf"(def (?:{'|'.join(_NONE_ON_FAILURE)})\(.*\) -> \w+):", r"\1 | None:", text
    )
    if count < len(_NONE_ON_FAILURE):
        raise ValueError(f"the generated stub lacks one of {', '.join(_NONE_ON_FAILURE)}")
    # What was serialised is read through the buffer protocol.
    text = _replace_once(
        text,
        "\nclass IHostMemory:\n",
        "\nclass IHostMemory:\n    def __buffer__(self, flags: int, /) -> memoryview: ...\n",
    )
    stub.write_text(text)


def _replace_once(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"the generated stub has {old!r} {text.count(old)} times")
    return text.replace(old, new)


def _run(
    command: Sequence[str],
    seconds: float,
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    subprocess.run(
        command,
        check=True,
        cwd=folder,
        env=environment,
        timeout=seconds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
