"""Looking over what serving needs: the server, and a model repository."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from runtime.engines.tensorrt.gpu import find_gpu
from runtime.engines.tensorrt.library import library_version
from runtime.engines.tensorrt.manifest import PLAN_NAME, EngineMachine, EngineManifest
from runtime.errors import EngineMismatchError, L2BTError
from runtime.models.built_engines import SERVED_MANIFEST_NAME, other_machine
from runtime.models.doctor import MISSING, NOTE, OK, Check
from runtime.storage.atomic_write import sha256_of_file
from runtime.storage.json_files import read_json
from triton_repo.configuration.build import CPU, VERSION
from triton_repo.configuration.check import check_repository
from triton_repo.configuration.configs import ENGINE
from triton_repo.server.home import check_stub, prepare_home, server_environment

_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


def check_proxy() -> Iterator[Check]:
    """Say that a proxy of the environment is not used, where there is one."""
    named = [
        f"{name}={os.environ[name]}"
        for lower in _PROXIES
        for name in (lower, lower.upper())
        if os.environ.get(name)
    ]
    if named:
        yield Check(
            name="proxy",
            state=NOTE,
            found=f"{', '.join(named)}: not used, since a line's server is on its own network",
            advice="to reach a server through a proxy, name it: --proxy http://HOST:PORT",
        )


def check_server() -> Iterator[Check]:
    """Look whether the tritonserver from PyPI can start, on systems that it is made for."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return
    try:
        home = prepare_home()
        check_stub(home, server_environment())
    except L2BTError as error:
        yield Check(
            name="tritonserver from PyPI",
            state=NOTE,
            found=str(error),
            advice="to serve from this machine without a container: pip install '.[serve]'",
        )
        return
    yield Check(name="tritonserver from PyPI", state=OK, found="starts its python models")


def check_models(repository: Path, *, device: str) -> Iterator[Check]:
    """Look whether a model repository holds together, and whether its engine fits this machine.

    Args:
        repository: The model repository.
        device: "cpu", "gpu" or "any", what shall serve it.
    """
    name = f"repository {repository}"
    has_plan = (repository / ENGINE / VERSION / PLAN_NAME).is_file()
    configs = {"cpu": (CPU,), "gpu": (None,), "any": (CPU, None) if has_plan else (CPU,)}
    try:
        for config in configs[device]:
            check_repository(repository, config_name=config)
    except L2BTError as error:
        yield Check(name=name, state=MISSING, found="cannot be served", advice=str(error))
        return
    yield Check(name=name, state=OK, found="CPU and GPU" if has_plan else "CPU")
    if has_plan and device != "cpu":
        yield _check_engine(repository / ENGINE / VERSION, needed=device == "gpu")


def _check_engine(folder: Path, *, needed: bool) -> Check:
    name = f"engine of {folder.parents[1]}"
    try:
        manifest = read_json(folder / SERVED_MANIFEST_NAME, EngineManifest)
        if sha256_of_file(folder / PLAN_NAME) != manifest.plan_sha256:
            raise EngineMismatchError(
                f"{folder / PLAN_NAME} is not the file that its manifest describes: it was cut or "
                "swapped; fill the repository again with l2bt repository --engine"
            )
        here = EngineMachine.of(find_gpu(), library_version())
        differences = other_machine(manifest.machine, _like(here, manifest.machine))
        if differences:
            raise EngineMismatchError(
                f"the engine does not fit: {'; '.join(differences)}; build it here with l2bt "
                "engine --rebuild, and fill the repository again with l2bt repository --engine"
            )
    except L2BTError as error:
        state = MISSING if needed else NOTE
        return Check(name=name, state=state, found="cannot run here", advice=str(error))
    return Check(name=name, state=OK, found=f"{manifest.description}, {manifest.proof or ''}")


def _like(here: EngineMachine, built: EngineMachine) -> EngineMachine:
    """This machine with as many parts of TensorRT's version as the manifest has.

    The library tells three parts of its version, the Python bindings may tell four.
    """
    if built.tensorrt.split(".")[:3] != here.tensorrt.split(".")[:3]:
        return here
    return EngineMachine(**{**vars(here), "tensorrt": built.tensorrt})
