"""Images that come at a fixed rate whatever becomes of those before, as from a line that goes on.

One thread sends, and gRPC's own takes the answers, so that the load costs little of the processor
that the server needs. Every request ends as one of `OUTCOMES`; nothing is sent again.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.workload.question import Question
from runtime.client.access import Priority
from runtime.client.client import PRIORITIES
from runtime.client.failures import translate
from runtime.client.wire import DETAILS, ENCODED, PRODUCT, REGIONS, SCORE, WANT_MAP
from runtime.errors import DeadlineExceededError
from runtime.extras import require
from runtime.products.store.product_store import ENSEMBLE

IN_TIME, LATE, REFUSED, LOST, WRONG = "in time", "late", "refused", "lost", "wrong"
OUTCOMES = (IN_TIME, LATE, REFUSED, LOST, WRONG)
_FULL_QUEUE = "maximum queue size"
# What has waited longer than its deadline, or than the repository allows, leaves the queue.
_WAITED_TOO_LONG = "timeout expired"
_GRACE_S = 30.0
_MOST_REQUESTS = 100_000


@dataclass(frozen=True, kw_only=True)
class Load:
    """What became of the images of one stretch of time.

    Attributes:
        offered_hz: Images a second that were really sent.
        sent: Images.
        counts: By outcome; together they are `sent`.
        goodput_hz: Right answers within the deadline, a second of sending.
        latencies_ms: By outcome, each one's time.
        client_cpu: Share of one core that this process took.
        problems: What the lost ones got, each sentence once.
    """

    offered_hz: float
    sent: int
    counts: dict[str, int]
    goodput_hz: float
    latencies_ms: dict[str, list[float]]
    client_cpu: float
    problems: tuple[str, ...]


@dataclass(kw_only=True)
class _Tally:
    """Outcomes as they come, from gRPC's threads."""

    expected: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Event = field(default_factory=threading.Event)
    latencies_ms: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in OUTCOMES}
    )
    problems: set[str] = field(default_factory=set)

    def add(self, outcome: str, latency_ms: float, problem: str) -> None:
        with self.lock:
            self.latencies_ms[outcome].append(latency_ms)
            if problem:
                self.problems.add(problem)
            if sum(map(len, self.latencies_ms.values())) == self.expected:
                self.done.set()


class OpenLoop:
    """A sender of images at a fixed rate; a context manager.

    Args:
        address: host:port of the server's gRPC interface.
        questions: What is sent, in turn.
        deadline_s: Seconds within which an answer is of use; the server is told, and drops from its
            queues what has not been begun by then.
        priority: "line" or "batch".
    """

    def __init__(
        self,
        address: str,
        questions: Sequence[Question],
        *,
        deadline_s: float,
        priority: Priority = "line",
    ) -> None:
        self._grpc: Any = require("tritonclient.grpc")
        self._address, self._deadline_s = address, deadline_s
        self._priority = PRIORITIES[priority]
        self._client: Any = self._grpc.InferenceServerClient(address)
        self._outputs = [
            self._grpc.InferRequestedOutput(name) for name in (SCORE, REGIONS, DETAILS)
        ]
        self._questions = [(question, self._input(question)) for question in questions]

    def __enter__(self) -> "OpenLoop":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def run(self, rate_hz: float, period_s: float) -> Load:
        """Send for a while, and wait until each request has come to its end.

        Raises:
            ValueError: That would be less than one image, or too many.
            TimeoutError: A request came to no end.
        """
        count = round(rate_hz * period_s)
        if not 1 <= count <= _MOST_REQUESTS:
            raise ValueError(f"{count} images; expected 1 to {_MOST_REQUESTS}")
        tally = _Tally(expected=count)
        begun, begun_cpu = perf_counter(), process_time()
        for number in range(count):
            time.sleep(max(0.0, begun + number / rate_hz - perf_counter()))
            self._send(number, tally)
        sending_s = max(perf_counter() - begun, count / rate_hz)
        if not tally.done.wait(self._deadline_s + _GRACE_S):
            raise TimeoutError(f"requests to {self._address} came to no end")
        counts = {name: len(found) for name, found in tally.latencies_ms.items()}
        return Load(
            offered_hz=count / sending_s,
            sent=count,
            counts=counts,
            goodput_hz=counts[IN_TIME] / sending_s,
            latencies_ms=tally.latencies_ms,
            client_cpu=(process_time() - begun_cpu) / (perf_counter() - begun),
            problems=tuple(sorted(tally.problems)),
        )

    def _send(self, number: int, tally: _Tally) -> None:
        question, image = self._questions[number % len(self._questions)]
        start = perf_counter()

        def finish(result: Any, error: Any) -> None:
            latency_s = perf_counter() - start
            outcome, problem = (
                self._judge(question, result, latency_s)
                if error is None
                else self._judge_error(error, latency_s)
            )
            tally.add(outcome, 1e3 * latency_s, problem)

        self._client.async_infer(
            ENSEMBLE,
            [image],
            finish,
            outputs=self._outputs,
            parameters={WANT_MAP: False, PRODUCT: question.product},
            priority=self._priority,
            timeout=round(self._deadline_s * 1e6),
            client_timeout=self._deadline_s,
        )

    def _judge(self, question: Question, result: Any, latency_s: float) -> tuple[str, str]:
        """The outcome of an answer, and a sentence if that is no good one."""
        try:
            score = float(result.as_numpy(SCORE)[0])
        except (TypeError, IndexError, ValueError) as problem:
            return LOST, f"an answer without a score: {problem}"
        if not question.is_right(score):
            return WRONG, f"{question.product}: {score} instead of {question.score}"
        return (IN_TIME if latency_s <= self._deadline_s else LATE), ""

    def _judge_error(self, error: Any, latency_s: float) -> tuple[str, str]:
        """The outcome of a failure, and a sentence if it is none that overload explains."""
        message = str(error.message())
        if _FULL_QUEUE in message or _WAITED_TOO_LONG in message:
            return (REFUSED if latency_s <= self._deadline_s else LATE), ""
        found = translate(error, address=self._address, timeout_s=self._deadline_s, name="image")
        if isinstance(found, DeadlineExceededError):
            return LATE, ""
        return LOST, str(found)

    def _input(self, question: Question) -> Any:
        assert isinstance(question.image, bytes), "the line's files are sent, not pixels"
        encoded = self._grpc.InferInput(ENCODED, [1], "BYTES")
        encoded.set_data_from_numpy(np.array([question.image], dtype=object))
        return encoded
