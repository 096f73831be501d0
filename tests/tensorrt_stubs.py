"""Type stubs of TensorRT's Python bindings, generated from NVIDIA's own wheels.

The bindings come without stubs, and each version has another interface. Their wheels are small and
can be had for every version, but the libraries that they bind are not in them. So an empty library
stands in for those: it lets the module be imported, and stubs be written from what is in it.
Nothing of TensorRT can be run that way.
"""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version as installed_version
from pathlib import Path

from runtime.atomic_write import atomic_folder

_MARKER = "tensorrt/__init__.pyi"
# All that the bindings take from TensorRT's libraries by name. A version that takes more fails to
# be imported, and says which.
_LIBRARY_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
# What they return where TensorRT failed: the null pointer, which the signatures do not tell.
_NONE_ON_FAILURE = (
    "build_serialized_network",
    "create_execution_context",
    "deserialize_cuda_engine",
)


class StubsUnavailableError(Exception):
    """Stubs cannot be made on this machine; the message says what is missing."""


def make_stubs(version: str) -> Path:
    """Stubs of one version of the bindings: a folder that makes `import tensorrt` resolve.

    They are made once, and kept in the user's cache until this file changes.

    Args:
        version: As PyPI has it, such as "10.16.1.11".

    Raises:
        StubsUnavailableError: There is no C compiler, or the wheel cannot be downloaded.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "l2bt-edge" / "tensorrt-stubs" / f"{version}-{_generator_hash()}"
    if (folder / _MARKER).is_file():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        bindings = _unpack(_download(version, Path(scratch)))
        libraries = _stand_in_libraries(version, Path(scratch))
        with atomic_folder(folder, marker=_MARKER, replace=True) as unfinished:
            _generate(bindings, libraries, unfinished)
            for path in (unfinished / "tensorrt").glob("*.pyi"):
                path.write_text(_corrected(path.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def _generator_hash() -> str:
    parts = (
        Path(__file__).read_text(encoding="utf-8"),
        installed_version("pybind11-stubgen"),
        sys.implementation.cache_tag or "",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _download(version: str, scratch: Path) -> Path:
    # Of the packages per CUDA version, this one goes back to TensorRT 10.3; the interface is the
    # same in all.
    command = [sys.executable, "-m", "pip", "download", f"tensorrt-cu12-bindings=={version}"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(scratch), "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise StubsUnavailableError(f"TensorRT {version}'s bindings cannot be downloaded: {last}")
    return next(scratch.glob("*.whl"))


def _unpack(wheel: Path) -> Path:
    """Returns the folder from which Python imports the bindings as `tensorrt`."""
    folder = wheel.with_suffix("")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    # Under the name that they are used by, so that the stubs speak of `tensorrt`. The part for
    # plugins written in Python is for TensorRT itself to import.
    (folder / "tensorrt_bindings").rename(folder / "tensorrt")
    shutil.rmtree(folder / "tensorrt" / "plugin", ignore_errors=True)
    return folder


def _stand_in_libraries(version: str, scratch: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise StubsUnavailableError("there is no C compiler (cc or gcc)")
    folder = scratch / "libraries"
    folder.mkdir()
    source = folder / "empty.c"
    source.write_text(
        "".join(f"void *{name}(void) {{ return 0; }}\n" for name in _LIBRARY_FUNCTIONS)
    )
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "empty.so"), str(source)]
    subprocess.run(command, check=True)
    major = version.partition(".")[0]
    for library in _LIBRARIES:
        (folder / f"lib{library}.so.{major}").symlink_to("empty.so")
    return folder


def _generate(bindings: Path, libraries: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pybind11_stubgen", "tensorrt", "--output-dir", str(target)]
    # Signatures name a few C++ types that Python has no name for; the stub has `...` there, which
    # fits everything.
    command += ["--ignore-all-errors"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(bindings),
        "LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }
    result = subprocess.run(
        command, env=environment, cwd=bindings, capture_output=True, text=True, check=False
    )
    if result.returncode or not (target / _MARKER).is_file():
        raise RuntimeError(f"no stubs came out of {bindings.name}: {result.stderr}")


def _corrected(stub: str) -> str:
    # A parameter that is named by a word of Python's grammar.
    stub = re.sub(r"(?<=[(\s])in(?=: [\w.]+\[)", "in_", stub)
    module = _Corrections().visit(ast.parse(stub))
    return f"import builtins\n{ast.unparse(ast.fix_missing_locations(module))}\n"


class _Corrections(ast.NodeTransformer):
    """Says what the bindings do where pybind11's signatures cannot say it."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        # The module has a data type called `bool`, which hides Python's.
        if node.id == "bool" and isinstance(node.ctx, ast.Load):
            return _expression("builtins.bool")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        # Newer versions of pybind11 write this for `int`, though they refuse what Python's
        # protocol lets through, such as 1.5; and an `int` is what overridden methods are called
        # with.
        numbers = {"typing.SupportsInt": "int", "typing.SupportsFloat": "float"}
        return _expression(numbers.get(ast.unparse(node), ast.unparse(node)))

    def visit_arg(self, node: ast.arg) -> ast.arg:
        self.generic_visit(node)
        # Converted implicitly.
        if node.annotation is not None and ast.unparse(node.annotation) == "Dims":
            node.annotation = _expression("Dims | collections.abc.Sequence[int]")
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        if node.name in _NONE_ON_FAILURE and node.returns is not None:
            node.returns = _expression(f"{ast.unparse(node.returns)} | None")
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        if node.name == "Dims":
            # Python iterates by `__getitem__`, which is not what makes a type `Iterable`.
            node.body += _body("def __iter__(self) -> collections.abc.Iterator[int]: ...")
        elif node.name == "IHostMemory":
            node.body += _body("def __buffer__(self, flags: int, /) -> memoryview: ...")
        elif node.name == "Logger":
            # One class under two names, of which the generator makes two.
            node.body = [part for part in node.body if not isinstance(part, ast.ClassDef)]
            node.body += _body("Severity = ILogger.Severity")
        return node


def _expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _body(source: str) -> list[ast.stmt]:
    return ast.parse(source).body
