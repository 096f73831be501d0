"""The station as a vision system of OPC 40100-1: states, methods, results and their events.

https://reference.opcfoundation.org/MachineVision/v100/docs/: the machine state is "Operational" and
its automatic mode "Ready" where sources wait for messages, "SingleExecution" while a frame is on
its way, and "ContinuousExecution" where none waits. What the station has no use for (recipes,
files, steps, halting it from afar) answers that it is not supported.
"""

import asyncio
import gzip
import logging
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import L2BTError
from runtime.extras import require
from runtime.station.parts.commands import Commands
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.signal_settings import OpcUaSignal
from runtime.station.signals.registers import VERDICTS

logger = logging.getLogger("l2bt.station")

NODESET = Path(__file__).parent / "nodesets" / "MachineVision.NodeSet2.xml.gz"
VISION = "http://opcfoundation.org/UA/MachineVision"
OWN = "urn:l2bt-edge:station"
_DONE, _REFUSED = 0, -1
# ResultStateDataType: what it says of a result that is there, and of one that is not.
_COMPLETED, _FAILED = 1, 4
_LATER_METHODS = (
    "VisionStateMachine/Halt",
    "VisionStateMachine/Reset",
    "VisionStateMachine/SelectModeAutomatic",
    "VisionStateMachine/AutomaticModeStateMachine/SimulationMode",
    "VisionStateMachine/AutomaticModeStateMachine/StartContinuous",
    "VisionStateMachine/AutomaticModeStateMachine/Abort",
    "VisionStateMachine/AutomaticModeStateMachine/Stop",
    "RecipeManagement/AddRecipe",
    "RecipeManagement/PrepareRecipe",
    "RecipeManagement/UnprepareRecipe",
    "RecipeManagement/UnprepareProduct",
    "ResultManagement/GetResultListFiltered",
    "ResultManagement/GetResultComponentsById",
)


class VisionSystem:
    """The object of a station in a server's address space.

    Args:
        server: asyncua's, with its model not yet loaded.
        settings: The signal's.
        station: The station's name.
        sources: Names of the sources that take messages.
        product: The one in force.
        commands: What clients may ask for.
    """

    def __init__(
        self,
        server: Any,
        settings: OpcUaSignal,
        *,
        station: str,
        sources: tuple[str, ...],
        product: str | None,
        commands: Commands,
    ) -> None:
        self._server = server
        self._settings = settings
        self._station = station
        self._sources = sources
        self._product = product or ""
        self._commands = commands
        self._ua = require("asyncua").ua
        self._results: OrderedDict[str, Any] = OrderedDict()
        self._jobs = 0
        self._waiting: set[str] = set()

    async def build(self) -> None:
        """Load the model and make the object."""
        server, ua = self._server, self._ua
        await server.import_xml(xmlstring=gzip.decompress(NODESET.read_bytes()).decode())
        await server.load_data_type_definitions()
        self._vision = await server.get_namespace_index(VISION)
        own = await server.register_namespace(OWN)
        kind = await server.nodes.base_object_type.get_child([f"{self._vision}:VisionSystemType"])
        self._object = await server.nodes.objects.add_object(
            own, self._station, objecttype=kind.nodeid
        )
        machines = await server.nodes.base_object_type.get_child(
            ["0:StateMachineType", "0:FiniteStateMachineType"]
        )
        self._states = {}
        for machine, names in (
            ("VisionStateMachineType", ("Operational", "Error")),
            (
                "VisionAutomaticModeStateMachineType",
                ("Ready", "SingleExecution", "ContinuousExecution"),
            ),
        ):
            found = await machines.get_child([f"{self._vision}:{machine}"])
            for name in names:
                self._states[name] = await found.get_child([f"{self._vision}:{name}"])
        self._machine = await self._node("VisionStateMachine")
        self._mode = await self._node("VisionStateMachine/AutomaticModeStateMachine")
        own_variables = {
            "Product": ua.Variant(self._product, ua.VariantType.String),
            "LastOutcome": ua.Variant("", ua.VariantType.String),
            "LastVerdict": ua.Variant(0, ua.VariantType.UInt16),
            "LastAction": ua.Variant("", ua.VariantType.String),
            "LastPart": ua.Variant(0, ua.VariantType.UInt32),
            "State": ua.Variant("", ua.VariantType.String),
        }
        self._variables = {
            name: await self._object.add_variable(own, name, value)
            for name, value in own_variables.items()
        }
        await self._link()
        await self._enter(self._machine, "Operational")
        await self._enter(self._mode, self._usual_mode)
        ready = await self._event_type("ResultReadyEventType")
        self._ready = await server.get_event_generator(ready, self._object)
        prepared = await self._event_type("RecipePreparedEventType")
        self._prepared = await server.get_event_generator(prepared, self._object)

    async def show(self, outcome: Outcome) -> None:
        """Show an outcome, and tell who subscribed to events."""
        ua = self._ua
        content = msgspec.json.encode(outcome).decode()
        for name, value, kind in (
            ("LastOutcome", content, ua.VariantType.String),
            ("LastVerdict", VERDICTS[outcome.verdict], ua.VariantType.UInt16),
            ("LastAction", outcome.action, ua.VariantType.String),
            ("LastPart", outcome.part, ua.VariantType.UInt32),
        ):
            await self._variables[name].write_value(ua.Variant(value, kind))
        result = self._result_of(outcome, content)
        self._results[result.ResultId.Id] = result
        while len(self._results) > self._settings.results:
            self._results.popitem(last=False)
        event = self._ready.event
        for name, kind in (
            ("ResultId", None),
            ("JobId", None),
            ("PartId", None),
            ("ProductId", None),
            ("InternalRecipeId", None),
            ("InternalConfigurationId", None),
            ("ProcessingTimes", None),
            ("CreationTime", None),
            ("IsPartial", None),
            ("IsSimulated", None),
            ("ResultState", ua.VariantType.Int32),
        ):
            value = getattr(result, name)
            setattr(event, name, value if kind is None else ua.Variant(int(value), kind))
        event.ResultContent = ua.Variant([content], ua.VariantType.String, is_array=True)
        await self._ready.trigger(message=f"part {outcome.part}: {outcome.verdict}")
        if outcome.source in self._sources:
            self._waiting.discard(outcome.request)
            if not self._waiting:
                await self._enter(self._mode, self._usual_mode)

    async def show_state(self, state: bytes) -> None:
        """Show the station's state, as JSON."""
        found = msgspec.json.decode(state)
        await self._variables["State"].write_value(state.decode())
        product = found["product"] or ""
        if product != self._product:
            self._product = product
            await self._variables["Product"].write_value(product)
        is_whole = not any(found["sources"].values())
        await self._enter(self._machine, "Operational" if is_whole else "Error")

    @property
    def _usual_mode(self) -> str:
        return "Ready" if self._sources else "ContinuousExecution"

    async def _link(self) -> None:
        ua = self._ua
        for path, function in (
            ("RecipeManagement/PrepareProduct", self._prepare_product),
            ("VisionStateMachine/AutomaticModeStateMachine/StartSingleJob", self._start_job),
            ("ResultManagement/GetResultById", self._result_by_id),
            ("ResultManagement/ReleaseResultHandle", self._release),
        ):
            self._server.link_method(await self._node(path), function)

        async def unsupported(*_: Any) -> Any:
            return ua.StatusCode(ua.StatusCodes.BadNotSupported)

        for path in _LATER_METHODS:
            self._server.link_method(await self._node(path), unsupported)

    async def _prepare_product(self, _: Any, product: Any) -> Any:
        """The changeover."""
        ua = self._ua
        named = product.Value.Id
        error = await self._obeyed(self._commands.change_product, named)
        recipe = ua.RecipeIdInternalDataType(Id=named)
        if not error:
            self._product = named
            await self._variables["Product"].write_value(named)
            event = self._prepared.event
            event.InternalId = recipe
            event.ProductId = ua.ProductIdDataType(Id=named)
            await self._prepared.trigger(message=f"product {named}")
        return [
            ua.Variant(recipe, ua.VariantType.ExtensionObject),
            ua.Variant(_REFUSED if error else _DONE, ua.VariantType.Int32),
        ]

    async def _start_job(self, _: Any, *arguments: Any) -> Any:
        """Have a source take a frame; the job is that part."""
        ua = self._ua
        part = arguments[1].Value
        self._jobs += 1
        job = (part.Id if part is not None else "") or f"job-{self._jobs}"
        parameters = arguments[4].Value if len(arguments) > 4 else None
        first = parameters[0] if parameters else ""
        source = str(getattr(first, "Value", first) or "")
        self._waiting.add(job)
        await self._enter(self._mode, "SingleExecution")
        error = await self._obeyed(self._trigger, source, job)
        if error:
            self._waiting.discard(job)
            if not self._waiting:
                await self._enter(self._mode, self._usual_mode)
        return [
            ua.Variant(ua.JobIdDataType(Id=job), ua.VariantType.ExtensionObject),
            ua.Variant(_REFUSED if error else _DONE, ua.VariantType.Int32),
        ]

    def _trigger(self, source: str, job: str) -> None:
        self._commands.trigger(source, request=job)

    async def _result_by_id(self, _: Any, identity: Any, timeout: Any) -> Any:
        ua = self._ua
        result = self._results.get(identity.Value.Id)
        if result is None:
            return ua.StatusCode(ua.StatusCodes.BadNotFound)
        return [
            ua.Variant(0, ua.VariantType.UInt32),
            ua.Variant(result, ua.VariantType.ExtensionObject),
            ua.Variant(_DONE, ua.VariantType.Int32),
        ]

    async def _release(self, _: Any, handle: Any) -> Any:
        # Results are kept by their number, and no handle is given out.
        return [self._ua.Variant(_DONE, self._ua.VariantType.Int32)]

    async def _obeyed(self, command: Any, *arguments: str) -> str:
        if not self._settings.commands:
            error = "commands = true is not in the station file"
        else:
            try:
                await asyncio.to_thread(command, *arguments)
                return ""
            except L2BTError as refused:
                error = str(refused)
        logger.warning("signal %s: a command is refused: %s", self._settings.name, error)
        return error

    def _result_of(self, outcome: Outcome, content: str) -> Any:
        ua = self._ua
        began = datetime.fromtimestamp(outcome.at_s, timezone.utc)
        ended = began + timedelta(milliseconds=outcome.latency_ms)
        is_inspected = outcome.verdict != "not inspected"
        return ua.ResultDataType(
            ResultId=ua.ResultIdDataType(Id=str(outcome.sequence)),
            HasTransferableDataOnFile=False,
            IsPartial=False,
            IsSimulated=False,
            ResultState=ua.ResultStateDataType(_COMPLETED if is_inspected else _FAILED),
            PartId=ua.PartIdDataType(Id=str(outcome.part)),
            InternalRecipeId=ua.RecipeIdInternalDataType(
                Id=outcome.product, Version=str(outcome.version or "")
            ),
            ProductId=ua.ProductIdDataType(Id=outcome.product),
            InternalConfigurationId=ua.ConfigurationIdDataType(Id=self._station),
            JobId=ua.JobIdDataType(Id=outcome.request or str(outcome.part)),
            CreationTime=ended,
            ProcessingTimes=ua.ProcessingTimesDataType(
                StartTime=began, EndTime=ended, ProcessingDuration=outcome.inspected_ms
            ),
            ResultContent=[ua.Variant(content, ua.VariantType.String)],
        )

    async def _enter(self, machine: Any, state: str) -> None:
        ua = self._ua
        current = await machine.get_child(["0:CurrentState"])
        await current.write_value(ua.Variant(ua.LocalizedText(state), ua.VariantType.LocalizedText))
        identity = await current.get_child(["0:Id"])
        await identity.write_value(ua.Variant(self._states[state].nodeid, ua.VariantType.NodeId))

    async def _node(self, path: str) -> Any:
        return await self._object.get_child([f"{self._vision}:{name}" for name in path.split("/")])

    async def _event_type(self, name: str) -> Any:
        async def find(node: Any) -> Any:
            for child in await node.get_children(refs=self._ua.ObjectIds.HasSubtype):
                if (await child.read_browse_name()).Name == name:
                    return child
                if (found := await find(child)) is not None:
                    return found
            return None

        return await find(self._server.get_node(self._ua.ObjectIds.BaseEventType))
