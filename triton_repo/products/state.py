"""How a product does in a running server, read from its metrics endpoint."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.client.access import check_address
from runtime.errors import ServerUnavailableError
from runtime.extras import require
from runtime.feedback.keep_settings import DEFAULT_INBOXES
from runtime.products.card import ProductCard
from runtime.products.drift import DriftWatch
from triton_repo.products.drift_advice import advise
from triton_repo.python_models.metrics import (
    DRIFT,
    DRIFTS,
    INSPECTIONS,
    QUANTILES,
    REJECTS,
    REVIEWS,
    SCORE_QUANTILE,
)
from triton_repo.server.direct_http import open_directly

_TIMEOUT_S = 10


def read_metrics(address: str) -> list[Any]:
    """All samples at a metrics endpoint, as prometheus_client has them.

    Args:
        address: host:port.

    Raises:
        OptionError: The address is none.
        ServerUnavailableError: Nobody answers there, or with something else.
    """
    parser: Any = require("prometheus_client.parser")
    check_address(address, name="metrics address", port=8002)
    try:
        with open_directly(f"http://{address}/metrics", timeout_s=_TIMEOUT_S) as answer:
            text = answer.read().decode()
        families = list(parser.text_string_to_metric_families(text))
    except (OSError, ValueError) as error:
        raise ServerUnavailableError(
            f"{address} gives no metrics ({error}); is the server started (l2bt serve), and is "
            "this its metrics port?"
        ) from error
    return [sample for family in families for sample in family.samples]


def describe(
    samples: Iterable[Any],
    product: str,
    *,
    card: ProductCard | None,
    version: int | None,
    inboxes: Path = DEFAULT_INBOXES,
) -> str:
    """What a server's metrics say of the active version of a product, as text.

    Args:
        samples: What `read_metrics` gave.
        product: Its name.
        card: Its card; None if it is retired.
        version: Its active version.
        inboxes: Folder of all products' inboxes, whose images show what has changed.

    Raises:
        ModelError: The inbox is damaged.
    """
    wanted = {"product": product, "version": str(version)}
    own = [sample for sample in samples if wanted.items() <= dict(sample.labels).items()]
    inspections, rejects, reviews = (
        sum(sample.value for sample in own if sample.name == name)
        for name in (INSPECTIONS, REJECTS, REVIEWS)
    )
    if card is None or not inspections:
        return "this server has inspected no part with it yet"
    quantiles = ", ".join(
        f"{100 * quantile:g} % {_highest(own, SCORE_QUANTILE, quantile=f'{quantile:g}'):.4g}"
        for quantile in QUANTILES
    )
    for_review = (
        f"{reviews:.0f} for review ({reviews / inspections:.2%}), "
        if card.threshold.review_score is not None
        else ""
    )
    lines = [
        f"{inspections:.0f} inspections, {rejects:.0f} rejects ({rejects / inspections:.2%}), "
        f"{for_review}scores {quantiles}"
    ]
    reason = DriftWatch(card).reason
    drifts = {of: _highest(own, DRIFT, of=of) for of in DRIFTS}
    if reason:
        lines.append(f"drift cannot be told: {reason}")
    elif not any(drifts.values()):
        lines.append("drift: too few accepted parts yet")
    else:
        raised = [of for of, value in drifts.items() if value >= 1]
        found = ", ".join(f"{of} {value:.2f}" for of, value in drifts.items())
        lines.append(
            f"drift RAISED by {' and '.join(raised)} ({found}): parts are no longer like those of "
            "the calibration"
            if raised
            else f"drift: none ({found}; raised from 1 on)"
        )
        if raised:
            lines.append(advise(product, raised, version=version, inboxes=inboxes))
    return "\n".join(lines)


def _highest(samples: Iterable[Any], name: str, **labels: str) -> float:
    """Over all processes, which look at their own parts each."""
    return max(
        (
            sample.value
            for sample in samples
            if sample.name == name and labels.items() <= dict(sample.labels).items()
        ),
        default=0.0,
    )
