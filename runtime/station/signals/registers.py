"""What a controller reads of a station: the words of Modbus's four tables.

Numbers of 32 bits take two registers, the higher word first. LINE.md has the table for controllers.
"""

import struct
from collections import deque
from dataclasses import dataclass, field

from runtime.station.parts.counters import Timing
from runtime.station.parts.outcome import Outcome

VERDICTS = {"good": 1, "review": 2, "defective": 3, "not inspected": 4}
ACTIONS = {"accept": 1, "review": 2, "reject": 3}
INPUT_REGISTERS = 200
HISTORY_FROM, HISTORY_LENGTH, HISTORY_STEP = 100, 16, 6
_COUNTERS_FROM = 20
_LARGEST_WORD = 0xFFFF


@dataclass(frozen=True, kw_only=True)
class StationCounts:
    """What controllers expect to be counted, since the station's start.

    Attributes:
        triggers: Parts that came.
        good: Accepted.
        review: For review.
        defective: Rejected for a defect.
        not_inspected: In time, or at all.
        trigger_errors: Of those, without an image.
        latency: From trigger to outcome; None before the first.
    """

    triggers: int = 0
    good: int = 0
    review: int = 0
    defective: int = 0
    not_inspected: int = 0
    trigger_errors: int = 0
    latency: Timing | None = None


@dataclass
class Registers:
    """The tables' content.

    Attributes:
        last: The last outcome.
        counts: What is counted.
        product: Number of the product in force; 0 for one without.
        answer: To the last command: 0 none, 1 done, 2 refused.
        heartbeat: Goes up by one a second.
        is_running: Whether all sources are there.
    """

    last: Outcome | None = None
    counts: StationCounts = field(default_factory=StationCounts)
    product: int = 0
    answer: int = 0
    heartbeat: int = 0
    is_running: bool = True
    _history: deque[Outcome] = field(default_factory=lambda: deque(maxlen=HISTORY_LENGTH))

    def show(self, outcome: Outcome) -> None:
        """Take an outcome for the last one."""
        self.last = outcome
        self._history.appendleft(outcome)

    def discrete_inputs(self) -> list[bool]:
        """Accept, reject, review; the strobe, which turns with each outcome; running."""
        action = "" if self.last is None else self.last.action
        strobe = self.last is not None and self.last.sequence % 2 == 1
        return [
            *(action == name for name in ("accept", "reject", "review")),
            strobe,
            self.is_running,
        ]

    def input_registers(self) -> list[int]:
        """The last outcome, the counters, and the last sixteen outcomes."""
        words = [0] * INPUT_REGISTERS
        if (last := self.last) is not None:
            words[:11] = [
                *_long(last.sequence),
                VERDICTS[last.verdict],
                ACTIONS[last.action],
                *_long(last.part),
                *_real(last.score),
                *_real(last.threshold),
                min(round(last.latency_ms), _LARGEST_WORD),
            ]
        words[11:15] = [
            self.product,
            self.heartbeat & _LARGEST_WORD,
            int(self.is_running),
            self.answer,
        ]
        counts = self.counts
        numbers = (
            *(counts.triggers, counts.good, counts.review, counts.defective),
            *(counts.not_inspected, counts.trigger_errors),
        )
        counted = [word for number in numbers for word in _long(number)]
        if (latency := counts.latency) is not None:
            for ms in (latency.min_ms, latency.mean_ms, latency.max_ms):
                counted += _real(ms)
        words[_COUNTERS_FROM : _COUNTERS_FROM + len(counted)] = counted
        for place, outcome in enumerate(self._history):
            start = HISTORY_FROM + place * HISTORY_STEP
            words[start : start + HISTORY_STEP] = [
                *_long(outcome.sequence),
                VERDICTS[outcome.verdict],
                ACTIONS[outcome.action],
                *_long(outcome.part),
            ]
        return words


def _long(number: int) -> list[int]:
    return [(number >> 16) & _LARGEST_WORD, number & _LARGEST_WORD]


def _real(number: float | None) -> list[int]:
    """A float of 32 bits; 0 where there is none."""
    return list(struct.unpack(">HH", struct.pack(">f", number or 0.0)))
