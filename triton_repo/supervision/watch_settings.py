"""How closely a server is watched."""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """How closely a server is watched.

    Attributes:
        look_interval_s: Seconds between two looks at the processes.
        probe_interval_s: Seconds after which a server that has answered nothing is asked.
        probe_timeout_s: How long that answer may take; longer than the largest image.
        unload_timeout_s: How long a dead model may take to go before the server is restarted.
        load_timeout_s: How long it may take to come back before the server is restarted.
        drain_timeout_s: How long requests under way are waited for at the end.
        most_pause_s: The longest pause before what dies again and again is restarted. The first
            time there is none, the second half a second.
        state_path: File that says what is going on.
    """

    look_interval_s: float = 0.25
    probe_interval_s: float = 5.0
    probe_timeout_s: float = 60.0
    unload_timeout_s: float = 2.5
    load_timeout_s: float = 60.0
    drain_timeout_s: float = 30.0
    most_pause_s: float = 30.0
    state_path: Path = Path("tritonserver.state.json")

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not value > 0:
                raise OptionError(f"{name} is {value}; expected a positive number of seconds")
