"""The commands of this room: repository, serve, doctor."""

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from runtime.client.access import ConnectionOptions
from runtime.errors import OptionError
from runtime.feedback.keep_settings import KeepSettings
from runtime.models.built_engines import ENGINES
from runtime.records.record_settings import RecordSettings
from runtime.storage.bucket import S3Options
from triton_repo.configuration.build import DEFAULT_REPOSITORY
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.server import ServerSettings
from triton_repo.supervision.watch_settings import WatchSettings


def repository(
    model: Path,
    *,
    out: Path = DEFAULT_REPOSITORY,
    engine: Path | None = None,
    overwrite: bool = False,
    scale: float | None = None,
    force_scale: bool = False,
    settings: Annotated[RepositorySettings, Parameter(name="*")] = RepositorySettings(),
) -> None:
    """Fill a Triton model repository from an exported model.

    Args:
        model: Folder that l2bt export left.
        out: Folder for the repository.
        engine: Folder of a TensorRT engine of this model, as l2bt engine prints it, built with the
            GPU and TensorRT that will serve it; without it the repository serves on a CPU only.
        overwrite: Replace an existing repository.
        scale: Tile scale to serve at, where it shall not be that of training; needs --force-scale.
        force_scale: Serve at another scale than that of training; each answer says so.
        settings: Batching, queues, and the engine on a CPU or by PyTorch.
    """
    from runtime.models.built_engines import open_engine
    from runtime.models.exported_model import ExportedModel
    from triton_repo.configuration.build import build_repository

    exported = ExportedModel.open(model)
    if force_scale and scale is None:
        raise OptionError("--force-scale belongs to --scale, which is missing")
    opened = open_engine(engine, exported) if engine is not None else None
    built = build_repository(
        exported,
        out,
        settings=settings,
        engine=opened,
        scale=scale,
        force_scale=force_scale,
        overwrite=overwrite,
    )
    products = ", ".join(sorted(exported.store.table().active)) or "no product yet"
    by_torch = " and by PyTorch on either" if settings.torch_precision is not None else ""
    print(f"serves {products} on {'CPU and GPU' if engine else 'a CPU'}{by_torch}")
    print(built)


def serve(
    repository: Path = DEFAULT_REPOSITORY,
    *,
    device: str = "cpu",
    engine: Literal["openvino", "torch"] | None = None,
    docker: bool = False,
    settings: Annotated[ServerSettings, Parameter(name="*")] = ServerSettings(),
    watch: Annotated[WatchSettings, Parameter(name="*")] = WatchSettings(),
    keeping: Annotated[KeepSettings, Parameter(name="*", consume_multiple=True)] = KeepSettings(),
    recording: Annotated[RecordSettings, Parameter(name="*")] = RecordSettings(),
) -> None:
    """Run the real tritonserver on a repository, and keep it at work, until it is interrupted.

    Each event is one line of JSON. SIGTERM and Ctrl-C answer what is under way, and end it, and so
    does a terminal that is closed; a service rotates the server's log at SIGHUP.

    Args:
        repository: Folder that l2bt repository wrote.
        device: "cpu"; or "gpu" with --engine torch, or with --docker.
        engine: "openvino" on a CPU, the default; or "torch", which runs the exported network by
            PyTorch on either, in a repository filled with --torch-precision. The container runs
            TensorRT on a GPU.
        docker: Print the command that runs NVIDIA's container, instead of running a server.
        settings: Addresses, ports, TLS, the operator's token and the log.
        watch: How closely the server is watched.
        keeping: Which images are kept for review.
        recording: Where inspections are written down.
    """
    from triton_repo.server.docker import docker_command

    if docker:
        if engine is not None:
            raise OptionError(
                "--engine is for a server on this machine; the container has OpenVINO for a CPU "
                "and TensorRT for a GPU, chosen by --device"
            )
        if keeping.keep or recording.records is not None:
            raise OptionError(
                "--keep and --records are for a server on this machine; the container's repository "
                "is read-only, and it has no folder for what is kept"
            )
        print(docker_command(repository, device=device, settings=settings))
        return
    config_name = _config_name(device, engine)
    from runtime.products.store.product_store import ProductStore
    from triton_repo.configuration.check import check_repository
    from triton_repo.server.event_log import EventLog
    from triton_repo.server.leftovers import remove_leftovers
    from triton_repo.server.server import TritonServer
    from triton_repo.supervision.supervisor import Supervisor

    check_repository(repository, config_name=config_name)
    remove_leftovers(watch.state_path)
    if settings.token_path is None:
        settings = replace(settings, token_path=Path("tritonserver.token"))
    log = EventLog(watch.state_path)
    store = ProductStore.of(repository)
    environment = {**keeping.to_environment(), **recording.to_environment()}
    server = TritonServer(repository, settings, config_name=config_name, environment=environment)
    supervisor = Supervisor(server, store, watch, log)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    # A terminal that is closed ends what runs in it; to a service the same signal says "rotate".
    in_terminal = sys.stdin is not None and sys.stdin.isatty()
    hang_up = supervisor.stop if in_terminal else supervisor.rotate_log
    signal.signal(signal.SIGHUP, lambda *_: hang_up())
    log.write("starting", repository=str(repository), log=str(settings.log_path))
    supervisor.run()


def follow(
    source: str,
    out: Path = DEFAULT_REPOSITORY,
    *,
    once: bool = False,
    overwrite: bool = False,
    every_s: float = 10.0,
    s3: Annotated[S3Options, Parameter(name="*")] = S3Options(),
) -> None:
    """Keep a server's own copy of a model repository up with one that many servers share.

    The copy is whole at any moment. A product that is added or activated in the source is served
    by each server that follows it within seconds, without a restart.

    Args:
        source: A model repository in a folder, or s3://BUCKET/PREFIX.
        out: Folder for the copy, which a server serves.
        once: Take the copy, and end.
        overwrite: Take it anew where there is one already, as for another network.
        every_s: How often the source is looked at, in seconds.
        s3: How a bucket is reached.
    """
    import threading

    from triton_repo.configuration.following import RepositorySource, follow_until

    if every_s <= 0:
        raise OptionError(f"every_s is {every_s}; expected a positive number of seconds")
    found = RepositorySource(source, s3)
    if overwrite or not out.exists():
        found.copy(out, overwrite=overwrite)
        print(out, flush=True)
    elif once:
        print(f"{out}: {'took what was new' if found.follow(out) else 'nothing is new'}")
    if once:
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow_until(found, out, every_s=every_s, stop=stop)


def _config_name(device: str, engine: str | None) -> str:
    from triton_repo.configuration.build import CPU, TORCH

    if device not in TORCH:
        raise OptionError(f"device {device!r}: expected 'cpu' or 'gpu'")
    if engine == "torch":
        return TORCH[device]
    if device == "gpu":
        raise OptionError(
            "device 'gpu': the server from PyPI has no TensorRT backend; run NVIDIA's container, "
            "whose command --docker prints, or serve by PyTorch with --engine torch"
        )
    return CPU


def ping(
    address: str,
    *,
    product: str | None = None,
    timeout_s: float = 30.0,
    connection: Annotated[ConnectionOptions, Parameter(name="*")] = ConnectionOptions(),
) -> None:
    """See whether a server works, by having one pixel go the whole way; it is not counted.

    Args:
        address: host:port of its gRPC interface.
        product: Name of the product, where several are active.
        timeout_s: How long the answer may take, in seconds.
        connection: TLS and token; nothing is sent again.
    """
    from runtime.client.client import Client

    options = {**connection.arguments(), "patience_s": 0.0}
    with Client(address, transport="grpc", timeout_s=timeout_s, **options) as client:
        card = client.read_card(product=product)
    print(f"{address} works; asked about {card.product}")


def certificates(folder: Path, *, host: tuple[str, ...] = ("127.0.0.1", "localhost")) -> None:
    """Make certificates to try TLS with: an authority, a server's and a client's.

    Args:
        folder: Folder to write.
        host: Names and addresses by which clients reach the server; may be given several times.
    """
    from triton_repo.server.certificates import make_certificates

    make_certificates(folder, host)
    print(
        f"l2bt serve --tls-certificate {folder}/server.pem --tls-key {folder}/server.key "
        f"--tls-client-ca {folder}/ca.pem"
    )
    print(
        f"l2bt inspect IMAGES --server {host[0]}:8001 --tls-ca {folder}/ca.pem "
        f"--tls-certificate {folder}/client.pem --tls-key {folder}/client.key"
    )


def doctor(
    *models: Path,
    device: str = "any",
    engines: Path = ENGINES,
    repository: Path | None = None,
    station: Path | None = None,
) -> None:
    """Look over this machine: GPU, TensorRT, server, models, station; and say what to do.

    The exit status is 1 if something that is needed is missing.

    Args:
        models: Exported models to look at, and at their TensorRT engines.
        device: cpu or gpu, what shall run here; any, where either will do.
        engines: Folder of all TensorRT engines.
        repository: Model repository to look at.
        station: Station file; looks at its cameras, network, disk, whoever is told, and the clock.
    """
    from runtime.models.doctor import MISSING, check_machine, check_model, describe
    from triton_repo.server.doctor import check_models, check_proxy, check_server

    if device not in ("cpu", "gpu", "any"):
        raise OptionError(f"device {device!r}: expected 'cpu', 'gpu' or 'any'")
    in_process = repository is None
    checks = list(check_machine(device=device, in_process=in_process))
    if device != "gpu":
        checks += check_server()
        checks += check_proxy()
    for model in models:
        checks += check_model(model, device=device, engines=engines)
    if repository is not None:
        checks += check_models(repository, device=device)
    if station is not None:
        from runtime.station.doctor import check_station

        checks += check_station(station)
    print(describe(checks))
    if any(check.state == MISSING for check in checks):
        sys.exit(1)
