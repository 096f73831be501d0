"""Keeping a server at work: `l2bt serve`.

What is dead is restarted, the smallest part first: a python model is unloaded and loaded again, and
if that does not help the server is restarted, with a growing pause. Nothing but its own orders ends
the supervisor once the server has started: neither a full disk nor a reader that went away.
"""

import os
import threading
import time
from contextlib import suppress

from runtime.errors import ModelError, ServerError
from runtime.products.store.product_store import ProductStore
from triton_repo.server.control import ServerControl
from triton_repo.server.event_log import EventLog, ServerState, now
from triton_repo.server.server import TritonServer
from triton_repo.supervision.model_processes import model_of, model_processes
from triton_repo.supervision.watch_settings import WatchSettings

_FIRST_PAUSE_S = 0.5
# A server that has worked for so long has no part in the next failure.
_FORGIVEN_AFTER_S = 60.0


class Supervisor:
    """Runs a server until it is told to stop.

    Args:
        server: What to run.
        store: Its products.
        settings: How closely it is watched.
        log: Takes the events.
    """

    def __init__(
        self, server: TritonServer, store: ProductStore, settings: WatchSettings, log: EventLog
    ) -> None:
        self._server = server
        self._store = store
        self._settings = settings
        self._log = log
        self._stop, self._wants_rotation = threading.Event(), threading.Event()
        self._trouble = ""
        self._recoveries = 0
        self._last_problem = ""
        self._pause_s = 0.0
        self._ready_since = 0.0
        self._expected: dict[str, int] = {}
        self._answers, self._asked_at = 0, 0.0
        self._control: ServerControl | None = None

    def stop(self) -> None:
        """Ask `run` to end, from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Start the server, keep it at work, and stop it when it is asked for.

        Raises:
            L2BTError: It cannot be started the first time; later it is tried again and again.
        """
        self._keep("starting", insist=True)
        try:
            self._start()
            while not self._stop.wait(self._settings.look_interval_s):
                self._look_and_go_on()
        finally:
            self._end()

    def rotate_log(self) -> None:
        """Ask `run` to rotate the server's log, from a signal handler or another thread."""
        self._wants_rotation.set()

    def _look_and_go_on(self) -> None:
        """Look, whatever comes of it: the server goes on where its supervisor has a trouble."""
        try:
            self._keep_log()
            self._look()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            if trouble != self._trouble:
                self._log.write("trouble", reason=trouble[-500:])
            self._trouble = trouble
        else:
            self._trouble = ""

    def _keep_log(self) -> None:
        if self._wants_rotation.is_set():
            self._wants_rotation.clear()
            self._server.log.rotate()
            self._log.write("log rotated")
        elif self._server.log.rotate_if_large():
            self._log.write("log rotated")

    def _start(self) -> None:
        self._server.start()
        self._control = self._server.control()
        self._expected = model_processes(self._server.pid)
        self._ready_since = self._asked_at = time.monotonic()
        self._answers = 0
        self._keep("ready")
        self._log.write(
            "ready",
            grpc=self._server.grpc_address,
            http=self._server.http_address,
            metrics=self._server.metrics_address,
            pid=self._server.pid,
        )

    def _look(self) -> None:
        status = self._server.poll()
        if status is not None:
            self._restart(f"tritonserver ended with status {status}")
            return
        dead = sorted(set(self._expected) - set(model_processes(self._server.pid)))
        if dead:
            self._recover_models(dead)
            return
        if time.monotonic() - self._asked_at >= self._settings.probe_interval_s:
            self._ask()

    def _recover_models(self, instances: list[str]) -> None:
        self._problem(f"died: {', '.join(instances)}")
        assert self._control is not None
        try:
            for model in sorted({model_of(instance) for instance in instances}):
                self._control.reload(
                    model,
                    unload_timeout_s=self._settings.unload_timeout_s,
                    load_timeout_s=self._settings.load_timeout_s,
                )
            self._probe()
        except ServerError as error:
            self._restart(str(error))
            return
        self._expected = model_processes(self._server.pid)
        self._ready_since = time.monotonic()
        self._keep("ready")
        self._log.write("recovered", models=instances)

    def _ask(self) -> None:
        """See whether the server works: by what it has answered, or else by a probe."""
        assert self._control is not None
        try:
            answers = self._control.answers_so_far()
        except ServerError:
            # It may be too busy to tell; the probe has more patience.
            answers = self._answers
        if answers == self._answers:
            try:
                self._probe()
            except ServerError as error:
                if not self._stop.is_set():
                    self._restart(str(error))
                return
        self._answers = answers
        self._asked_at = time.monotonic()

    def _probe(self) -> None:
        try:
            active = sorted(self._store.table().active)
        except ModelError as error:
            # Each request says so too; the server is not at fault, and works again with the table.
            self._log.write("damaged", reason=str(error))
            return
        # Without a product there is nothing that could be asked.
        if active:
            assert self._control is not None
            self._control.probe(active[0], timeout_s=self._settings.probe_timeout_s)

    def _restart(self, reason: str) -> None:
        self._problem(reason)
        self._control = None
        # It is ill: to ask it to end would wait for what it cannot finish.
        self._server.stop(patience_s=0)
        while not self._stop.is_set():
            try:
                self._start()
            except Exception as error:
                self._log.write("failed", reason=str(error)[-500:])
                self._pause()
            else:
                self._log.write("recovered", models=["tritonserver"])
                return

    def _problem(self, reason: str) -> None:
        self._recoveries += 1
        self._last_problem = reason
        self._keep("recovering")
        self._log.write("problem", reason=reason)
        if time.monotonic() - self._ready_since > _FORGIVEN_AFTER_S:
            self._pause_s = 0.0
        self._pause()

    def _pause(self) -> None:
        """Wait longer each time for what dies again and again; not at all the first time."""
        if self._pause_s:
            self._log.write("pause", seconds=self._pause_s)
            self._stop.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s or _FIRST_PAUSE_S, self._settings.most_pause_s)

    def _end(self) -> None:
        if self._control is not None and self._server.poll() is None:
            self._keep("stopping")
            self._log.write("stopping")
            with suppress(ServerError):
                if not self._control.drain(timeout_s=self._settings.drain_timeout_s):
                    self._log.write("not drained", after_s=self._settings.drain_timeout_s)
        self._server.stop()
        self._keep("stopped")
        self._log.write("stopped")

    def _keep(self, state: str, *, insist: bool = False) -> None:
        self._log.keep(
            ServerState(
                state=state,
                since=now(),
                supervisor_pid=os.getpid(),
                server_pid=self._server.pid if self._server.is_running else None,
                grpc=self._server.grpc_address,
                metrics=self._server.metrics_address,
                shared_memory_prefix=self._server.shared_memory_prefix,
                recoveries=self._recoveries,
                last_problem=self._last_problem,
            ),
            insist=insist,
        )
