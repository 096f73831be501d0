"""What travels between client and server: names, requests, answers and errors, each way once.

Both sides may be of different versions. A field may be added at any time: whoever does not know it
ignores it. `WIRE_VERSION` rises when a request or an answer changes its meaning or loses a field.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from runtime.errors import (
    BadImageError,
    InputError,
    L2BTError,
    ModelError,
    ServerError,
    ServerUnavailableError,
    UnknownProductError,
)
from runtime.geometry.region import AnomalyMap, Region
from runtime.inspections.inspection import Inspection
from runtime.products.card import ProductCard

# A peer that names no version is from before there was one, and counts as version 0.
WIRE_VERSION = 1

# Inputs; a request has one of the two.
IMAGE = "image"  # (H, W, 3) uint8 RGB
ENCODED = "encoded"  # (1,) bytes of a JPEG, PNG, BMP, TIFF or WebP file

# Request parameters.
PRODUCT = "product"  # text; may be left out where one product alone is active
WANT_MAP = "want_map"  # bool; true if left out
WANT_CARD = "want_card"  # bool; false if left out; the answer is then the card alone
VERSION = "wire_version"  # whole number; 0 if left out

# Between the steps.
ASSIGNMENT = "assignment"  # (1,) int64: which version of which product, by its assignment's number
IMAGE_SIZE = "image_size"  # (2,) int32: height and width in px
STAMPS_NS = "stamps_ns"  # (3,) int64, monotonic clock: arrived, decoded, tiles cut

# Outputs.
SCORE = "score"  # (1,) float32
VERDICT = "verdict"  # (1,) text: "good", "defective", or "review" where a product asks for it
REGIONS = "regions"  # (R, 6) float64, columns as below
REGION_COLUMNS = ("x_px", "y_px", "width_px", "height_px", "area_px", "peak")
DETAILS = (
    "details"  # (1,) JSON: product, version, thresholds, mean residual, engine, times; or card
)
ANOMALY_MAP = "anomaly_map"  # (H, W) float32


def printable(request_id: str) -> str:
    """A request's id as the server's log has it: whatever a client sends, it stays in its line."""
    return "".join(char for char in request_id if char.isalnum() or char in "-_.")[:64]


# Errors ------------------------------------------------------------------------------------------

# Triton's errors carry a status and a text, so the code stands at the text's front. An error has
# the code of the first class here that it belongs to.
ERROR_CLASSES: dict[str, type[L2BTError]] = {
    "unknown_product": UnknownProductError,
    "bad_image": BadImageError,
    "bad_input": InputError,
    "unavailable": ServerUnavailableError,
    "failed": ServerError,
}
_CODED = re.compile(r"\[l2bt:([a-z0-9_]+)\] ")


def encode_error(error: L2BTError) -> str:
    """The text of an error for its way to the client: its code and its sentence."""
    codes = (code for code, kind in ERROR_CLASSES.items() if isinstance(error, kind))
    return f"[l2bt:{next(codes, 'failed')}] {error}"


def decode_error(text: str) -> tuple[type[L2BTError] | None, str]:
    """The class that an error's text names, None if it names none or an unknown one; its sentence.

    Servers from before there were codes name none, and a newer one may have codes of its own: its
    status then says what it is.
    """
    found = _CODED.match(text)
    if found is None:
        return None, text
    return ERROR_CLASSES.get(found[1]), text[found.end() :]


def without_codes(text: str) -> str:
    """A text that quotes a server's error, as it is shown to a reader."""
    return _CODED.sub("", text)


# Requests ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InspectionRequest:
    """Asks for an image's inspection.

    Attributes:
        product: Name of the product; None where the server holds one alone.
        want_map: Whether the answer carries the full-resolution map.
    """

    product: str | None = None
    want_map: bool = True

    def parameters(self) -> dict[str, Any]:
        """The request's parameters as Triton takes them."""
        return {WANT_MAP: self.want_map, **_common(self.product)}


@dataclass(frozen=True, kw_only=True)
class CardRequest:
    """Asks for a product's card.

    An ensemble's steps are fixed, so one black pixel goes the way of an image; nothing is judged.

    Attributes:
        product: Name of the product; None where the server holds one alone.
    """

    product: str | None = None

    def parameters(self) -> dict[str, Any]:
        """The request's parameters as Triton takes them."""
        return {WANT_MAP: False, WANT_CARD: True, **_common(self.product)}

    @staticmethod
    def pixel() -> npt.NDArray[np.uint8]:
        """The (1, 1, 3) image that goes with it."""
        return np.zeros((1, 1, 3), np.uint8)


def decode_request(parameters: str) -> InspectionRequest | CardRequest:
    """What a request asks for.

    Args:
        parameters: Its parameters as Triton hands them to a python model: JSON, or nothing.

    Raises:
        InputError: Its wire version is no whole number.
        ServerError: It comes from a newer client.
    """
    given: dict[str, Any] = msgspec.json.decode(parameters or "{}")
    version = given.get(VERSION, 0)
    if not isinstance(version, int):
        raise InputError(f"{VERSION} is {version!r}; expected a whole number, or leave it out")
    if version > WIRE_VERSION:
        raise ServerError(
            f"the client is newer (wire version {version}) than the server ({WIRE_VERSION}); "
            "update l2bt on the server, then fill its repository again with l2bt repository"
        )
    product = given.get(PRODUCT)
    name = None if product is None else str(product)
    if given.get(WANT_CARD, False):
        return CardRequest(product=name)
    return InspectionRequest(product=name, want_map=bool(given.get(WANT_MAP, True)))


def _common(product: str | None) -> dict[str, Any]:
    return {VERSION: WIRE_VERSION, **({PRODUCT: product} if product else {})}


# Answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Details:
    """What `DETAILS` holds of an inspection; the attributes are those of `Inspection`."""

    product: str
    version: int | None
    threshold: float
    pixel_threshold: float
    mean_residual: float
    engine: str
    stage_ms: dict[str, float]
    review_threshold: float | None = None
    wire_version: int = 0


@dataclass(frozen=True, kw_only=True)
class CardAnswer:
    """What `DETAILS` holds for a `CardRequest`.

    Attributes:
        card: The card, as JSON of its own.
        version: The product's version; None for a bundle, which has none.
        wire_version: The server's.
    """

    card: str
    version: int | None = None
    wire_version: int = 0


def encode_inspection(inspection: Inspection) -> dict[str, npt.NDArray[Any]]:
    """An inspection as the ensemble's outputs; the map is among them if the inspection has it."""
    names = (name for name in Details.__dataclass_fields__ if name != VERSION)
    details = Details(
        **{name: getattr(inspection, name) for name in names}, wire_version=WIRE_VERSION
    )
    rows = [[getattr(region, name) for name in REGION_COLUMNS] for region in inspection.regions]
    outputs: dict[str, npt.NDArray[Any]] = {
        SCORE: np.array([inspection.score], np.float32),
        VERDICT: _text(inspection.verdict.encode()),
        REGIONS: np.array(rows, np.float64).reshape(-1, len(REGION_COLUMNS)),
        DETAILS: _text(msgspec.json.encode(details)),
    }
    if inspection.anomaly_map is not None:
        outputs[ANOMALY_MAP] = np.ascontiguousarray(inspection.anomaly_map)
    return outputs


def decode_inspection(
    output: Callable[[str], Any],
    *,
    anomaly_map: AnomalyMap | None,
    transport: str,
    request_id: str,
    total_ms: float,
) -> Inspection:
    """The inspection that `encode_inspection` wrote.

    Args:
        output: Gives an output by its name, None if it is not there. The map is not asked for.
        anomaly_map: The map, which may have come another way.
        transport: How image and answer travelled.
        request_id: The request's.
        total_ms: Time from the image to the answer; what the server did not use is "transport".

    Raises:
        ServerError: The server is of another version, and its answer cannot be read.
    """
    details = _decode(output(DETAILS), Details)
    score, table = output(SCORE), output(REGIONS)
    shape = (-1, len(REGION_COLUMNS))
    if score is None or table is None or np.shape(table)[1:] != shape[1:]:
        raise _other_version(details.wire_version, "its score or its regions are missing")
    counts = REGION_COLUMNS[:-1]
    regions = tuple(
        Region(
            **{name: int(value) for name, value in zip(counts, row[:-1], strict=True)},
            peak=float(row[-1]),
        )
        for row in table
    )
    stage_ms = dict(details.stage_ms)
    stage_ms["transport"] = total_ms - sum(stage_ms.values())
    stage_ms["total"] = total_ms
    return Inspection(
        product=details.product,
        version=details.version,
        score=float(score[0]),
        threshold=details.threshold,
        review_threshold=details.review_threshold,
        pixel_threshold=details.pixel_threshold,
        mean_residual=details.mean_residual,
        regions=regions,
        anomaly_map=anomaly_map,
        engine=details.engine,
        transport=transport,
        request_id=request_id,
        stage_ms=stage_ms,
    )


def encode_card(card: ProductCard, version: int | None) -> dict[str, npt.NDArray[Any]]:
    """The answer to a `CardRequest` as the ensemble's outputs."""
    answer = CardAnswer(card=card.to_json(), version=version, wire_version=WIRE_VERSION)
    return {DETAILS: _text(msgspec.json.encode(answer))}


def decode_card(output: Callable[[str], Any]) -> ProductCard:
    """The card that `encode_card` wrote.

    Raises:
        ServerError: The server is of another version, and its answer cannot be read.
    """
    answer = _decode(output(DETAILS), CardAnswer)
    try:
        return ProductCard.from_json(answer.card)
    except ModelError as error:
        raise _other_version(answer.wire_version, str(error)) from error


Answer = TypeVar("Answer")


class _Version(msgspec.Struct):
    wire_version: int = 0


def _decode(texts: Any, kind: type[Answer]) -> Answer:
    content = b"{}" if texts is None or not len(texts) else texts[0]
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            version = msgspec.json.decode(content, type=_Version).wire_version
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ServerError(f"the server's answer is not readable: {error}") from error
        raise _other_version(version, str(error)) from error


def _other_version(version: int, problem: str) -> ServerError:
    if version < WIRE_VERSION:
        return ServerError(
            f"the server is older (wire version {version}) than this client ({WIRE_VERSION}), and "
            f"its answer cannot be read ({problem}); update l2bt on the server, then fill its "
            "repository again with l2bt repository"
        )
    if version > WIRE_VERSION:
        return ServerError(
            f"this client is older (wire version {WIRE_VERSION}) than the server ({version}), "
            f"whose answer it cannot read ({problem}); update l2bt on this machine"
        )
    return ServerError(
        f"the server's answer cannot be read, though both are of wire version {version} "
        f"({problem}); install the same l2bt on both machines"
    )


def _text(content: bytes) -> npt.NDArray[Any]:
    return np.array([content], dtype=object)
