"""Whether the server works, and whether parts have drifted, asked of its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import L2BTError
from triton_repo.console.repeated import Repeated
from triton_repo.products.state import read_metrics
from triton_repo.python_models.metrics import DRIFT

_EVERY_S = 1.0


@dataclass(frozen=True)
class ServerState:
    """What was seen at the latest look.

    Attributes:
        works: Whether it answers.
        words: In words, for people.
        drift: By product, the highest of its drift values; 1 raises it.
    """

    works: bool
    words: str
    drift: Mapping[str, float] = field(default_factory=dict)

    @property
    def drifted(self) -> tuple[str, ...]:
        """Products whose drift is raised."""
        return tuple(sorted(name for name, value in self.drift.items() if value >= 1))


class ServerWatch(Repeated):
    """Looks once a second, in a thread of its own; a context manager.

    Args:
        metrics: host:port of the server's metrics.
    """

    def __init__(self, metrics: str) -> None:
        super().__init__("server watch", self._watch)
        self._metrics = metrics
        self.state = ServerState(False, "not looked at yet")

    def _watch(self) -> float:
        self.state = self._look()
        return _EVERY_S

    def _look(self) -> ServerState:
        try:
            samples = read_metrics(self._metrics)
        except L2BTError:
            return ServerState(False, f"the server does not answer at {self._metrics}")
        drift: dict[str, float] = {}
        for sample in samples:
            if sample.name == DRIFT:
                product = sample.labels.get("product", "")
                drift[product] = max(drift.get(product, 0.0), sample.value)
        return ServerState(True, "the server works", drift)
