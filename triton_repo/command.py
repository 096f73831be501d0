"""The commands of this room: repository, serve."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from runtime.errors import OptionError, ServerError
from triton_repo.configs import RepositorySettings
from triton_repo.server import ServerSettings

DEFAULT_REPOSITORY = Path("triton_repo") / "models"


def repository(
    model: Path,
    *,
    out: Path = DEFAULT_REPOSITORY,
    plan: Path | None = None,
    overwrite: bool = False,
    scale: float | None = None,
    force_scale: bool = False,
    settings: Annotated[RepositorySettings, Parameter(name="*")] = RepositorySettings(),
) -> None:
    """Fill a Triton model repository from an exported model.

    Args:
        model: Folder that l2bt export left.
        out: Folder for the repository.
        plan: A TensorRT engine of this model, built on the machine that will serve it; without it
            the repository serves on a CPU only.
        overwrite: Replace an existing repository.
        scale: Tile scale to serve at, where it shall not be that of training; needs --force-scale.
        force_scale: Serve at another scale than that of training; each answer says so.
        settings: Batching, queues and the engine on a CPU.
    """
    from runtime.exported_model import ExportedModel
    from triton_repo.build import build_repository

    exported = ExportedModel.open(model)
    if scale is not None:
        card = exported.product.at_scale(scale, force=force_scale)
        exported = replace(exported, product=card)
    elif force_scale:
        raise OptionError("--force-scale belongs to --scale, which is missing")
    built = build_repository(exported, out, settings=settings, plan=plan, overwrite=overwrite)
    print(f"serves {exported.product.product} on {'CPU and GPU' if plan else 'a CPU'}")
    print(built)


def serve(
    repository: Path = DEFAULT_REPOSITORY,
    *,
    device: str = "cpu",
    docker: bool = False,
    settings: Annotated[ServerSettings, Parameter(name="*")] = ServerSettings(),
) -> None:
    """Run the real tritonserver on a repository until it is interrupted.

    Args:
        repository: Folder that l2bt repository wrote.
        device: "cpu", or "gpu" with --docker.
        docker: Print the command that runs NVIDIA's container, instead of running a server.
        settings: Addresses, ports and the log.
    """
    from triton_repo.docker import docker_command
    from triton_repo.server import TritonServer

    if docker:
        print(docker_command(repository, device=device, settings=settings))
        return
    if device != "cpu":
        raise OptionError(
            f"device {device!r}: the server from PyPI has no TensorRT backend and serves on 'cpu'; "
            "for a GPU run NVIDIA's container, whose command --docker prints"
        )
    # A plant's supervisor ends a service by SIGTERM; it must end the server with it.
    signal.signal(signal.SIGTERM, _raise_interrupt)
    server = TritonServer(repository, settings)
    print(f"starting tritonserver; its log is {settings.log_path}", flush=True)
    try:
        with server:
            print(f"ready: gRPC {server.grpc_address}, HTTP {server.http_address}", flush=True)
            status = server.wait()
    except KeyboardInterrupt:
        print("stopped")
        return
    raise ServerError(f"tritonserver ended by itself with status {status}; see {settings.log_path}")


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
