"""What the roofline benchmark found, as it stands in its result.json, and its table."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compute.operations import Operations
from benchmarks.machine.machine import Conditions
from benchmarks.machine.result_files import table
from benchmarks.machine.timing import Timing

_SCHEMA = "l2bt.roofline/1"


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """One network on one device in one precision, for one tile.

    Attributes:
        engine: What ran it.
        precision: Of its matrix products.
        threads: Of a CPU; None on a GPU.
        operations: What it has to compute and to move, in this precision.
        matrix_library: What multiplied the large matrices fastest.
        operations_per_s: How fast, at best.
        bytes_per_s: Of a large copy, read and written, at best.
        compute_ms: The operations at that rate.
        memory_ms: The least bytes at that speed.
        bound_ms: The longer of the two: no network of these operations is faster here.
        network: Its time, from host memory to host memory.
        share: The bound over its median.
    """

    engine: str
    precision: str
    threads: int | None
    operations: Operations
    matrix_library: str
    operations_per_s: float
    bytes_per_s: float
    compute_ms: float
    memory_ms: float
    bound_ms: float
    network: Timing
    share: float

    @classmethod
    def of(
        cls,
        *,
        engine: str,
        precision: str,
        threads: int | None,
        operations: Operations,
        matrix_library: str,
        operations_per_s: float,
        bytes_per_s: float,
        network: Timing,
    ) -> "Roofline":
        """Hold a network's time against its bound."""
        compute_ms = 1e3 * operations.matrix_operations / operations_per_s
        memory_ms = 1e3 * operations.least_bytes / bytes_per_s
        bound_ms = max(compute_ms, memory_ms)
        return cls(
            engine=engine,
            precision=precision,
            threads=threads,
            operations=operations,
            matrix_library=matrix_library,
            operations_per_s=operations_per_s,
            bytes_per_s=bytes_per_s,
            compute_ms=compute_ms,
            memory_ms=memory_ms,
            bound_ms=bound_ms,
            network=network,
            share=bound_ms / network.p50_ms,
        )


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A way to run the network that was not measured here.

    Attributes:
        device: "another CPU" or "GPU, Jetson".
        precision: Of its matrix products.
        reason: Why not.
        command: What measures it.
    """

    device: str
    precision: str
    reason: str
    command: str


@dataclass(frozen=True, kw_only=True)
class RooflineResult:
    """All ways that this machine has.

    Attributes:
        machine: What they ran on.
        conditions: The state that it was in.
        versions: Versions of the libraries.
        network: Teacher and tile size.
        rooflines: One a device and precision.
        unmeasured: Those that this machine does not have.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    network: str
    rooflines: tuple[Roofline, ...]
    unmeasured: tuple[Unmeasured, ...]
    schema: str = _SCHEMA


def to_markdown(result: RooflineResult) -> str:
    """All ways as a table; a cell is empty where nothing was measured."""
    reasons = dict.fromkeys(f"{one.device}: {one.reason}." for one in result.unmeasured)
    lines = [
        f"{result.network}, one tile.",
        to_table(result.rooflines, result.unmeasured).strip(),
        *reasons,
        f"{result.machine}; load {result.conditions.load_average:.1f} before.",
    ]
    return "\n\n".join(lines) + "\n"


def to_table(rooflines: Sequence[Roofline], unmeasured: Sequence[Unmeasured] = ()) -> str:
    """A row a way; those that were not measured have the command that does it, and no numbers."""
    head = ["run by", "operations", "least bytes", "matrix rate", "copy", "bound"]
    head += ["network, p50", "of the bound reached"]
    rows = [_row(one) for one in rooflines]
    rows += [
        [f"{one.device}, {one.precision}: `{one.command}`", *[""] * (len(head) - 1)]
        for one in unmeasured
    ]
    return table(head, rows)


def _row(one: Roofline) -> list[str]:
    threads = f", {one.threads} threads" if one.threads is not None else ""
    limit = "matrix rate" if one.compute_ms >= one.memory_ms else "copy"
    return [
        f"{one.engine}{threads}",
        f"{one.operations.matrix_operations / 1e9:,.1f} billion",
        f"{one.operations.least_bytes / 1e6:,.1f} MB",
        f"{one.operations_per_s / 1e9:,.0f} billion a second ({one.matrix_library})",
        f"{one.bytes_per_s / 1e9:,.1f} GB a second",
        f"{one.bound_ms:,.2f} ms ({limit})",
        f"{one.network.p50_ms:,.2f} ms",
        f"{100 * one.share:.0f} %",
    ]
