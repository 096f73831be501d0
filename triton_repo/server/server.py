"""Running the real tritonserver on this machine."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OptionError, ServerError
from runtime.products.store.product_store import ENSEMBLE
from triton_repo.configuration.build import CPU
from triton_repo.configuration.check import check_repository
from triton_repo.server.access import ServerTls, operator_token, restriction_flags
from triton_repo.server.control import ServerControl
from triton_repo.server.home import check_stub, prepare_home, server_environment
from triton_repo.server.hosts import LOOPBACK, ListeningHost
from triton_repo.server.leftovers import remove_shared_memory
from triton_repo.server.server_log import ServerLog

_STOP_SECONDS = 25
_LARGEST_PORT = 65535
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How the server listens.

    Attributes:
        host: Address of all three ports, IPv4 or IPv6, or a name of this machine; loopback unless
            chosen otherwise.
        grpc_port: Port for clients; 0 takes a free one.
        http_port: Port for HTTP and health.
        metrics_port: Port for Prometheus metrics.
        tls_certificate: The server's certificate, PEM; with it the gRPC port wants TLS, and HTTP
            and metrics, which have none, stay on loopback.
        tls_key: Its private key, PEM.
        tls_client_ca: Certificate of the authority whose clients are let in, PEM; any client if
            left out.
        token_path: File with the operator's token, made if it is not there; by default one that
            nobody else knows.
        startup_timeout_s: How long loading may take, in seconds.
        log_path: Where the server's log goes; it is appended to, and above 64 MiB moved to a file
            with .1 behind its name.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token_path: Path | None = None
    startup_timeout_s: float = 120
    log_path: Path = Path("tritonserver.log")

    @classmethod
    def on_free_ports(cls, log_path: Path) -> "ServerSettings":
        """Three free ports of loopback, for a server beside others."""
        return cls(grpc_port=0, http_port=0, metrics_port=0, log_path=log_path)

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise OptionError("tls_certificate and tls_key belong together; give both")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise OptionError("tls_client_ca belongs to tls_certificate, which is missing")
        for name in ("grpc_port", "http_port", "metrics_port"):
            port = getattr(self, name)
            if not 0 <= port <= _LARGEST_PORT:
                raise OptionError(f"{name} is {port}; expected 1 to {_LARGEST_PORT}, or 0 for free")
        if not 0 < self.startup_timeout_s < float("inf"):
            raise OptionError(
                f"startup_timeout_s is {self.startup_timeout_s}; expected a positive number"
            )

    @property
    def tls(self) -> ServerTls | None:
        """TLS at the gRPC port.

        Raises:
            OptionError: A file is missing.
        """
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return ServerTls(
            certificate=self.tls_certificate, key=self.tls_key, client_ca=self.tls_client_ca
        )

    @property
    def listens_at(self) -> ListeningHost:
        """Where clients reach it.

        Raises:
            OptionError: The host's name has no address.
        """
        return ListeningHost.of(self.host)

    @property
    def local_host(self) -> ListeningHost:
        """Where HTTP and metrics listen."""
        return self.listens_at if self.tls_certificate is None else LOOPBACK


class TritonServer:
    """A tritonserver process that serves one repository; a context manager.

    Example:
        >>> with TritonServer(Path("triton_repo/models")) as server:
        ...     client = Client(server.grpc_address)

    Args:
        repository: What `l2bt repository` wrote.
        settings: How it listens.
        config_name: Which of the models' configurations it loads; None for the production one.
        backends: A backend directory instead of the one with the Python backend alone.
        environment: Further environment variables of its processes.
    """

    def __init__(
        self,
        repository: Path,
        settings: ServerSettings | None = None,
        *,
        config_name: str | None = CPU,
        backends: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._repository = repository.resolve()
        self._config_name = config_name
        self._backends = backends
        self._environment = dict(environment or {})
        self._settings = settings or ServerSettings()
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = _ports(self._settings)
        self._token = operator_token(self._settings.token_path)
        self.log = ServerLog(self._settings.log_path)
        self.shared_memory_prefix = f"l2bt{os.getpid()}_{self._ports[0]}_"

    @property
    def grpc_address(self) -> str:
        """host:port for `Client`."""
        return f"{self._settings.listens_at.in_address}:{self._ports[0]}"

    @property
    def http_address(self) -> str:
        """host:port of the HTTP interface."""
        return f"{self._settings.local_host.in_address}:{self._ports[1]}"

    @property
    def metrics_address(self) -> str:
        """host:port of the Prometheus metrics."""
        return f"{self._settings.local_host.in_address}:{self._ports[2]}"

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            ServerError: It is not running.
        """
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def control(self) -> ServerControl:
        """A way to ask it with the operator's rights."""
        host = self._settings.local_host.reached_at
        return ServerControl(f"{host.in_address}:{self._ports[1]}", self._token)

    def start(self) -> None:
        """Start the server and wait until its models are ready.

        Raises:
            ModelError: The repository does not hold together.
            OptionError: The server cannot run on this machine.
            ServerError: It ended, or was not ready in time; the message has the end of its log.
        """
        check_repository(self._repository, config_name=self._config_name)
        self._check_ports()
        home = prepare_home()
        environment = {**server_environment(), **self._environment}
        check_stub(home, environment)
        if " " in str(self._repository):
            raise OptionError(f"{self._repository} has a space, with which Triton hangs; move it")
        if os.fsencode(self._repository) != str(self._repository).encode(errors="replace"):
            raise OptionError(
                f"{str(self._repository)!r} is no UTF-8 text, and Triton's python models start in "
                "no such folder; move it"
            )
        command = [
            str(home.server),
            f"--model-repository={self._repository}",
            f"--backend-directory={self._backends or home.backends}",
            # Only what the ensemble needs is loaded, whatever else lies in the folder.
            "--model-control-mode=explicit",
            f"--load-model={ENSEMBLE}",
            *([f"--model-config-name={self._config_name}"] if self._config_name else []),
            "--disable-auto-complete-config",
            *self._network_flags(),
            "--allow-gpu-metrics=false",
            "--pinned-memory-pool-byte-size=0",
            "--exit-timeout-secs=10",
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory_prefix}",
            "--backend-config=python,shm-default-byte-size=16777216",
            "--backend-config=python,shm-growth-byte-size=16777216",
        ]
        with self.log.open() as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_this_process(),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def poll(self) -> int | None:
        """Its exit status if it ended by itself; None while it runs or was not started."""
        return self._process.poll() if self._process is not None else None

    def stop(self, *, patience_s: float = _STOP_SECONDS) -> None:
        """Ask the server to end, and make it end if it does not within `patience_s` seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            if patience_s > 0:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # Stubs may outlive a server that failed; they are in its process group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        remove_shared_memory(self.shared_memory_prefix)

    def __enter__(self) -> "TritonServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _network_flags(self) -> list[str]:
        settings = self._settings
        listens_at, local = settings.listens_at, settings.local_host
        hosts = {
            "grpc": listens_at.in_address,
            "http": local.for_http,
            "metrics": local.for_http,
        }
        flags = [
            flag
            for (name, host), port in zip(hosts.items(), self._ports, strict=True)
            for flag in (f"--{name}-address={host}", f"--{name}-port={port}")
        ]
        flags += restriction_flags(self._token, is_loopback=listens_at.is_loopback)
        return flags + (settings.tls.flags() if settings.tls is not None else [])

    def _check_ports(self) -> None:
        # Otherwise the server that holds the port would answer for this one.
        for port in self._ports:
            try:
                self._settings.listens_at.bind(port).close()
            except OSError as error:
                raise OptionError(
                    f"port {port} on {self._settings.host} cannot be had ({error.strerror}): "
                    "another server may be running, or the address is not this machine's; end it, "
                    "or choose ports with --grpc-port, --http-port and --metrics-port (0 takes "
                    "free ones)"
                ) from error

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + self._settings.startup_timeout_s
        control = self.control()
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise ServerError(
                    f"tritonserver ended with status {self._process.returncode}:\n{self.log.end()}"
                )
            if control.is_ready():
                return
            time.sleep(0.05)
        raise ServerError(
            f"tritonserver was not ready after {self._settings.startup_timeout_s:g} s:\n"
            f"{self.log.end()}"
        )


def _die_with_this_process() -> Callable[[], None] | None:
    """What makes the server end when this process is killed, and could not end it itself.

    Linux tells it of the end of the thread that started it, so only the main thread may ask for it.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    library = ctypes.CDLL(None)
    return lambda: library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ports(settings: ServerSettings) -> tuple[int, int, int]:
    """The three ports, free ones where 0 is asked for."""
    wished = (settings.grpc_port, settings.http_port, settings.metrics_port)
    with ExitStack() as stack:
        try:
            sockets = [
                stack.enter_context(settings.listens_at.bind(0)) for port in wished if port == 0
            ]
        except OSError as error:
            raise OptionError(
                f"no port on {settings.host} can be had ({error.strerror}); is this an address of "
                "this machine?"
            ) from error
        found = [free.getsockname()[1] for free in sockets]
    grpc, http, metrics = (port or found.pop() for port in wished)
    return grpc, http, metrics
