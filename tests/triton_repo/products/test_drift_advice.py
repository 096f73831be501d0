"""Where drift is raised, `l2bt product show` says what to do, and shows what has changed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.feedback.inbox import Inbox
from runtime.products.card import Calibration, Threshold
from tests.parts.small import make_card, png
from triton_repo.products.drift_advice import advise
from triton_repo.products.state import describe


def keep(inboxes: Path, kept: str, *, seed: int, version: int = 2, score: float = 0.8) -> Path:
    with Inbox(inboxes, "plate") as inbox:
        part = inbox.add(
            png(seed),
            name=f"{kept}-{seed}",
            review=None,
            who="server",
            score=score,
            threshold=1.0,
            version=version,
            kept=kept,  # type: ignore[arg-type]
        )
        return inbox.path(part)


@pytest.mark.parametrize(
    ("raised", "says", "is_silent_of"),
    [
        (["rejects"], "--good; l2bt learn", "--by-chance"),
        (["score"], "--by-chance; l2bt learn", "rejected"),
        (["residual"], "light, focus, position", "rejected"),
    ],
)
def test_the_advice_is_for_what_raised(
    tmp_path: Path, raised: list[str], says: str, is_silent_of: str
) -> None:
    found = advise("plate", raised, version=2, inboxes=tmp_path)
    assert says in found
    assert is_silent_of not in found


def test_the_newest_images_of_the_active_version_prove_it(tmp_path: Path) -> None:
    shown = [keep(tmp_path, "drifted", seed=seed) for seed in range(8)]
    other = keep(tmp_path, "drifted", seed=20, version=1)
    rejected = keep(tmp_path, "rejected", seed=21, score=1.5)
    found = advise("plate", ["score"], version=2, inboxes=tmp_path)
    assert [str(path) in found for path in shown] == 2 * [False] + 6 * [True]
    assert "80% of the threshold" in found
    assert str(other) not in found
    assert str(rejected) not in found
    assert str(rejected) in advise("plate", ["rejects"], version=2, inboxes=tmp_path)


def test_without_kept_images_it_says_how_a_server_keeps_them(tmp_path: Path) -> None:
    found = advise("plate", ["rejects", "score"], version=2, inboxes=tmp_path)
    assert "l2bt serve --keep rejected drifted" in found
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_raise_drift_come_with_the_advice(tmp_path: Path) -> None:
    labels = {"product": "plate", "version": "2"}
    samples = [
        SimpleNamespace(name="l2bt_inspections_total", labels=labels, value=300.0),
        SimpleNamespace(name="l2bt_drift", labels={**labels, "of": "score"}, value=1.4),
        SimpleNamespace(name="l2bt_drift", labels={**labels, "of": "rejects"}, value=0.2),
    ]
    scores = tuple(np.linspace(0.5, 1, 100))
    names = tuple(map(str, range(100)))
    card = make_card(
        threshold=Threshold(image_score=1.0, pixel_value=1.0, method="a test", good_images=100),
        calibration=Calibration(images=names, scores=scores, peaks=scores),
    )
    found = describe(samples, "plate", card=card, version=2, inboxes=tmp_path)
    assert "drift RAISED by score" in found
    assert "what to do:" in found
