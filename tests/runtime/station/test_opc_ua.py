"""OPC UA after OPC 40100-1, asked by asyncua's own client."""

import asyncio
import gzip
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asyncua", reason="needs asyncua (pip install '.[opc-ua]')")

from benchmarks.load.line.plant import free_port
from runtime.errors import OptionError
from runtime.station.settings.signal_settings import OpcUaSignal
from runtime.station.signals.opc_ua import OpcUa
from runtime.station.signals.vision_system import NODESET, OWN, VISION
from tests.parts.keys import make_certificate
from tests.parts.station import Commanded, outcome, run_alone

Asked = Callable[["Ua"], Awaitable[None]]


class Ua:
    """A client beside the server that it asks."""

    def __init__(self, server: OpcUa, client: Any, commanded: Commanded) -> None:
        self.server, self.client, self.commanded = server, client, commanded

    async def open(self) -> "Ua":
        await self.client.load_data_type_definitions()
        self.vision = await self.client.get_namespace_index(VISION)
        self.own = await self.client.get_namespace_index(OWN)
        self.system = await self.client.nodes.objects.get_child([f"{self.own}:press3"])
        return self

    async def node(self, path: str) -> Any:
        names = [name if ":" in name else f"{self.vision}:{name}" for name in path.split("/")]
        return await self.system.get_child(names)

    async def value(self, name: str) -> Any:
        return await (await self.node(f"{self.own}:{name}")).read_value()

    async def state(self, machine: str) -> str:
        found = await (await self.node(f"{machine}/0:CurrentState")).read_value()
        return str(found.Text)

    async def call(self, path: str, *arguments: Any) -> Any:
        where, _, method = path.rpartition("/")
        return await (await self.node(where)).call_method(f"{self.vision}:{method}", *arguments)


MODE = "VisionStateMachine/AutomaticModeStateMachine"


class Served:
    """A server in a thread of its own, which takes two seconds to start."""

    def __init__(self, **changes: Any) -> None:
        sources = changes.pop("sources", ("side",))
        self._listen = f"127.0.0.1:{free_port()}"
        settings = OpcUaSignal(
            **{"name": "ua", "listen": self._listen, "commands": True, **changes}
        )
        self.commanded = Commanded()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server = OpcUa(
            settings, station="press3", sources=sources, product="plate", commands=self.commanded
        )
        self._do(self._server.start())

    def ask(self, work: Asked) -> Commanded:
        """What was asked of the station, in the end."""
        self.commanded.products.clear()
        self.commanded.triggers.clear()
        self._do(self._ask(work))
        return self.commanded

    def end(self) -> None:
        self._do(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _ask(self, work: Asked) -> None:
        from asyncua import Client

        async with Client(f"opc.tcp://{self._listen}/", timeout=20) as client:
            await work(await Ua(self._server, client, self.commanded).open())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    found = Served()
    yield found
    found.end()


def asked(work: Asked, **changes: Any) -> Commanded:
    """Ask a server of its own."""
    found = Served(**changes)
    try:
        return found.ask(work)
    finally:
        found.end()


def struct(value: Any) -> Any:
    from asyncua import ua

    return ua.Variant(value, ua.VariantType.ExtensionObject)


async def start_job(at: Ua, part: str) -> Any:
    from asyncua import ua

    return await at.call(
        f"{MODE}/StartSingleJob",
        struct(ua.MeasIdDataType()),
        struct(ua.PartIdDataType(Id=part)),
        struct(ua.RecipeIdExternalDataType()),
        struct(ua.ProductIdDataType()),
        ua.Variant([], ua.VariantType.Variant, is_array=True),
    )


def test_a_result_is_shown_told_and_can_be_asked_for(served: Served) -> None:
    from asyncua import ua

    async def work(at: Ua) -> None:
        events: list[Any] = []

        class Handler:
            def event_notification(self, event: Any) -> None:
                events.append(event)

        subscription = await at.client.create_subscription(20, Handler())
        kind = await _event_type(at, "ResultReadyEventType")
        await subscription.subscribe_events(at.system, [kind])
        await at.server.show(outcome(7, part=9, request="A7"))
        for _ in range(200):
            await asyncio.sleep(0.02)
            if events:
                break
        (event,) = events
        assert (event.ResultId.Id, event.PartId.Id, event.JobId.Id) == ("7", "9", "A7")
        assert json.loads(event.ResultContent[0])["action"] == "reject"
        assert await at.value("LastAction") == "reject"
        assert await at.value("LastVerdict") == 3
        _, result, error = await at.call(
            "ResultManagement/GetResultById",
            struct(ua.ResultIdDataType(Id="7")),
            ua.Variant(0, ua.VariantType.Int32),
        )
        assert (result.ResultState, result.ProductId.Id, error) == (1, "plate", 0)

    served.ask(work)


def test_a_part_that_was_not_inspected_is_a_failed_result(served: Served) -> None:
    from asyncua import ua

    async def work(at: Ua) -> None:
        await at.server.show(outcome(1, verdict="not inspected", score=None, threshold=None))
        _, result, _ = await at.call(
            "ResultManagement/GetResultById",
            struct(ua.ResultIdDataType(Id="1")),
            ua.Variant(0, ua.VariantType.Int32),
        )
        assert result.ResultState == 4

    served.ask(work)


def test_a_changeover_is_prepare_product(served: Served) -> None:
    from asyncua import ua

    async def work(at: Ua) -> None:
        answers = [
            (
                await at.call(
                    "RecipeManagement/PrepareProduct", struct(ua.ProductIdDataType(Id=name))
                )
            )
            for name in ("bolt", "nut")
        ]
        assert [error for _, error in answers] == [0, -1]
        assert await at.value("Product") == "bolt"

    assert served.ask(work).products == ["bolt"]


def test_a_single_job_takes_a_frame_and_ends_with_its_result(served: Served) -> None:
    async def work(at: Ua) -> None:
        assert await at.state("VisionStateMachine") == "Operational"
        assert await at.state(MODE) == "Ready"
        job, error = await start_job(at, "A7")
        assert (job.Id, error) == ("A7", 0)
        assert await at.state(MODE) == "SingleExecution"
        await at.server.show(outcome(1, request="A7"))
        assert await at.state(MODE) == "Ready"

    assert served.ask(work).triggers == [("", "A7")]


def test_a_station_that_waits_for_nobody_executes_continuously() -> None:
    async def work(at: Ua) -> None:
        assert await at.state(MODE) == "ContinuousExecution"

    asked(work, sources=())


def test_a_source_that_is_away_is_the_state_error(served: Served) -> None:
    async def work(at: Ua) -> None:
        for away, wanted in (("it is unplugged", "Error"), ("", "Operational")):
            at.server.show_state(
                json.dumps({"product": "plate", "sources": {"side": away}}).encode()
            )
            await asyncio.sleep(0.3)
            assert await at.state("VisionStateMachine") == wanted

    served.ask(work)


def test_commands_are_refused_where_the_file_does_not_allow_them() -> None:
    from asyncua import ua

    async def work(at: Ua) -> None:
        _, error = await at.call(
            "RecipeManagement/PrepareProduct", struct(ua.ProductIdDataType(Id="bolt"))
        )
        assert error == -1

    assert asked(work, commands=False).products == []


def test_what_the_station_has_no_use_for_is_said_to_be_unsupported(served: Served) -> None:
    from asyncua import ua

    async def work(at: Ua) -> None:
        with pytest.raises(ua.UaStatusCodeError, match="NotSupported"):
            await at.call("VisionStateMachine/Halt", ua.Variant(0, ua.VariantType.Int32), "why")

    served.ask(work)


def test_nobody_writes_what_the_station_shows(served: Served) -> None:
    from asyncua import ua

    async def work(at: Ua) -> None:
        with pytest.raises(ua.UaStatusCodeError, match="Denied"):
            await (await at.node(f"{at.own}:LastAction")).write_value("accept")

    served.ask(work)


def test_no_more_clients_come_in_than_the_file_says() -> None:
    from asyncua import Client

    async def work(at: Ua) -> None:
        with pytest.raises((ConnectionError, asyncio.TimeoutError)):
            await Client(at.client.server_url.geturl(), timeout=2).connect()

    asked(work, sessions=1)


def test_a_taken_port_is_refused() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        server = OpcUa(
            OpcUaSignal(name="ua", listen=listen),
            station="press3",
            sources=(),
            product=None,
            commands=Commanded(),
        )
        with pytest.raises(OptionError, match="is the port taken"):
            run_alone(server.start())


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    settings = OpcUaSignal(
        name="ua", certificate=tmp_path / "server.pem", key=tmp_path / "server.key"
    )
    with pytest.raises(OptionError, match=r"server\.pem is no file"):
        OpcUa(settings, station="press3", sources=(), product=None, commands=Commanded())


def test_the_model_is_the_opc_foundations_own() -> None:
    digest = hashlib.sha256(gzip.decompress(NODESET.read_bytes())).hexdigest()
    assert digest in (NODESET.parent / "README.md").read_text()


async def _event_type(at: Ua, name: str) -> Any:
    from asyncua import ua

    async def find(node: Any) -> Any:
        for child in await node.get_children(refs=ua.ObjectIds.HasSubtype):
            if (await child.read_browse_name()).Name == name:
                return child
            if (found := await find(child)) is not None:
                return found
        return None

    return await find(at.client.get_node(ua.ObjectIds.BaseEventType))


def test_a_closed_server_lets_in_who_encrypts_and_shows_the_password(tmp_path: Path) -> None:
    from asyncua import Client
    from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

    certificate, key = make_certificate(tmp_path, "server", OWN)
    own_certificate, made = make_certificate(tmp_path, "client", "urn:client")
    # The client goes by the name of the file.
    own_key = made.rename(tmp_path / "client-key.pem")
    (tmp_path / "password").write_text("open sesame\n")
    listen = f"127.0.0.1:{free_port()}"
    settings = OpcUaSignal(
        name="ua",
        listen=listen,
        certificate=certificate,
        key=key,
        user="plc",
        password_file=tmp_path / "password",
    )

    async def come(password: str | None, *, encrypts: bool = True) -> bool:
        client = Client(f"opc.tcp://{listen}/", timeout=10)
        client.application_uri = "urn:client"
        if encrypts:
            await client.set_security(
                SecurityPolicyBasic256Sha256, str(own_certificate), str(own_key)
            )
        if password is not None:
            client.set_user("plc")
            client.set_password(password)
        try:
            async with client:
                own = await client.get_namespace_index(OWN)
                await client.nodes.objects.get_child([f"{own}:press3"])
        except Exception:
            return False
        return True

    async def run() -> list[bool]:
        server = OpcUa(
            settings, station="press3", sources=(), product="plate", commands=Commanded()
        )
        await server.start()
        try:
            return [
                await come("open sesame"),
                await come("wrong"),
                await come(None),
                await come("open sesame", encrypts=False),
            ]
        finally:
            await server.stop()

    assert run_alone(run()) == [True, False, False, False]
