"""What travels between client and server comes back as it was, or as a sentence."""

import logging
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.client.failures import translate
from runtime.client.patience import with_patience
from runtime.client.wire import (
    DETAILS,
    ERROR_CLASSES,
    WIRE_VERSION,
    CardRequest,
    InspectionRequest,
    decode_card,
    decode_error,
    decode_inspection,
    decode_request,
    encode_card,
    encode_error,
    encode_inspection,
    without_codes,
)
from runtime.errors import (
    BadImageError,
    InputError,
    L2BTError,
    ModelError,
    ServerError,
    ServerUnavailableError,
    UnknownProductError,
)
from runtime.geometry.region import Region
from runtime.inspections.inspection import Inspection
from runtime.products.card import ProductCard


class TritonFailure:
    """What tritonclient raises, as far as it is read."""

    def __init__(self, status: str, message: str) -> None:
        self._status, self._message = status, message

    def status(self) -> str:
        return f"StatusCode.{self._status}"

    def message(self) -> str:
        return self._message


def translated(status: str, message: str, *, name: str = "image") -> L2BTError:
    failure = TritonFailure(status, message)
    return translate(failure, address="plant:8001", timeout_s=1, name=name)


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ERROR_CLASSES)
def test_each_error_has_a_code_and_each_code_its_error(code: str) -> None:
    text = encode_error(ERROR_CLASSES[code]("a sentence"))
    assert text == f"[l2bt:{code}] a sentence"
    assert decode_error(text) == (ERROR_CLASSES[code], "a sentence")


@pytest.mark.parametrize("kind", ERROR_CLASSES.values())
def test_a_coded_error_is_raised_as_its_class_and_without_its_code(kind: type[L2BTError]) -> None:
    found = translated("INTERNAL", f"in ensemble 'l2bt', {encode_error(kind('a sentence'))}")
    assert type(found) is kind
    assert "a sentence" in str(found)
    assert "[l2bt:" not in str(found)


def test_an_error_without_a_code_of_its_own_is_a_failure_of_the_server() -> None:
    assert decode_error(encode_error(ModelError("a sentence")))[0] is ServerError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("INVALID_ARGUMENT", BadImageError),
        ("UNAVAILABLE", ServerUnavailableError),
        ("INTERNAL", ServerError),
    ],
)
def test_an_unknown_code_leaves_the_word_to_the_status(status: str, kind: type) -> None:
    found = translated(status, "[l2bt:too_hot] the lamp is too hot")
    assert type(found) is kind
    assert "the lamp is too hot" in str(found)
    assert "too_hot" not in str(found)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("unknown product 'bolt'; this model knows: plate", UnknownProductError),
        ("no product is named; this model knows: bolt, plate", UnknownProductError),
        ("not a readable image", BadImageError),
    ],
)
def test_an_older_servers_error_without_a_code_becomes_its_class(message: str, kind: type) -> None:
    assert type(translated("INVALID_ARGUMENT", message)) is kind


def test_a_bad_files_name_stands_before_the_servers_sentence() -> None:
    message = encode_error(BadImageError("it is cut"))
    assert str(translated("INVALID_ARGUMENT", message, name="a.jpg")) == "a.jpg: it is cut"


def test_a_quoted_error_is_shown_without_its_code() -> None:
    assert without_codes('{"error":"in x, [l2bt:failed] it broke"}') == '{"error":"in x, it broke"}'


# Requests ----------------------------------------------------------------------------------------


@given(st.none() | st.text(min_size=1), st.booleans())
def test_a_request_comes_back_as_it_was(product: str | None, want_map: bool) -> None:
    asked: InspectionRequest | CardRequest
    for asked in (
        InspectionRequest(product=product, want_map=want_map),
        CardRequest(product=product),
    ):
        assert decode_request(msgspec.json.encode(asked.parameters()).decode()) == asked


def test_a_plain_triton_client_may_leave_all_parameters_out() -> None:
    assert decode_request("") == InspectionRequest(product=None, want_map=True)


def test_a_newer_clients_request_is_refused_with_what_to_do() -> None:
    with pytest.raises(ServerError, match="client is newer .* update l2bt on the server"):
        decode_request(f'{{"wire_version": {WIRE_VERSION + 1}}}')


def test_a_version_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="expected a whole number"):
        decode_request('{"wire_version": "new"}')


# Answers -----------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**31)
regions = st.builds(
    Region,
    x_px=counts,
    y_px=counts,
    width_px=counts,
    height_px=counts,
    area_px=counts,
    peak=numbers,
)
inspections = st.builds(
    Inspection,
    product=st.text(),
    version=st.none() | st.integers(1, 2**31),
    score=st.floats(allow_nan=False, allow_infinity=False, width=32),
    threshold=numbers,
    pixel_threshold=numbers,
    mean_residual=numbers,
    regions=st.lists(regions, max_size=4).map(tuple),
    anomaly_map=st.none(),
    engine=st.text(),
    transport=st.just("grpc"),
    request_id=st.just("one"),
    stage_ms=st.just({"decode": 1.0, "network": 2.0}),
    review_threshold=st.none() | numbers,
)
AN_INSPECTION = Inspection(
    product="plate",
    version=3,
    score=0.5,
    threshold=0.25,
    pixel_threshold=0.75,
    mean_residual=0.125,
    regions=(),
    anomaly_map=None,
    engine="an engine",
    transport="grpc",
    request_id="one",
    stage_ms={"decode": 1.0, "network": 2.0},
)


def decoded(outputs: dict[str, Any]) -> Inspection:
    return decode_inspection(
        outputs.get, anomaly_map=None, transport="grpc", request_id="one", total_ms=4.0
    )


def with_details(outputs: dict[str, Any], drop: str = "", **changes: object) -> dict[str, Any]:
    details = {**msgspec.json.decode(outputs[DETAILS][0]), **changes}
    details.pop(drop, None)
    return {**outputs, DETAILS: np.array([msgspec.json.encode(details)], dtype=object)}


@given(inspections)
def test_an_inspection_comes_back_as_it_was_with_the_time_on_the_way(found: Inspection) -> None:
    stages = {"decode": 1.0, "network": 2.0, "transport": 1.0, "total": 4.0}
    assert decoded(encode_inspection(found)) == replace(found, stage_ms=stages)


@pytest.mark.parametrize(
    ("score", "review_threshold", "verdict"),
    [
        (0.1, None, "good"),
        (0.25, None, "good"),
        (0.3, None, "defective"),
        (0.1, 0.2, "good"),
        (0.2, 0.2, "good"),
        (0.21, 0.2, "review"),
        (0.25, 0.2, "review"),
        (0.26, 0.2, "defective"),
    ],
)
def test_between_two_thresholds_a_part_is_for_review_on_both_sides(
    score: float, review_threshold: float | None, verdict: str
) -> None:
    found = replace(AN_INSPECTION, score=score, review_threshold=review_threshold)
    outputs = encode_inspection(found)
    assert found.verdict == verdict
    assert outputs["verdict"][0] == verdict.encode()
    assert found.is_defective == (verdict == "defective")


def test_a_server_that_knows_no_review_gives_none() -> None:
    older = with_details(encode_inspection(AN_INSPECTION), drop="review_threshold")
    assert decoded(older).review_threshold is None


def test_what_a_newer_server_adds_is_ignored() -> None:
    outputs = encode_inspection(AN_INSPECTION)
    newer = with_details(outputs, wire_version=WIRE_VERSION + 1, lamp="new")
    assert decoded(newer) == decoded(outputs)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (0, "the server is older .*`engine`.*update l2bt on the server"),
        (WIRE_VERSION, "both are of wire version .*`engine`.*the same l2bt on both"),
        (WIRE_VERSION + 1, "this client is older .*`engine`.*update l2bt on this machine"),
    ],
)
def test_an_answer_that_lacks_a_field_says_who_is_older(version: int, sentence: str) -> None:
    outputs = encode_inspection(AN_INSPECTION)
    with pytest.raises(ServerError, match=sentence):
        decoded(with_details(outputs, drop="engine", wire_version=version))


def test_an_answer_without_a_score_is_a_servers_failure() -> None:
    outputs = encode_inspection(AN_INSPECTION)
    del outputs["score"]
    with pytest.raises(ServerError, match="score or its regions are missing"):
        decoded(outputs)


def test_details_that_are_no_json_are_a_servers_failure() -> None:
    outputs = {**encode_inspection(AN_INSPECTION), DETAILS: np.array([b"\xff"], dtype=object)}
    with pytest.raises(ServerError, match="not readable"):
        decoded(outputs)


def test_a_card_comes_back_as_it_was(card: ProductCard) -> None:
    assert decode_card(encode_card(card, 3).get) == card


def test_a_server_that_tells_no_card_is_older(card: ProductCard) -> None:
    old = {DETAILS: np.array([b'{"product": "plate"}'], dtype=object)}
    with pytest.raises(ServerError, match="the server is older .*`card`"):
        decode_card(old.get)


# What the logger is told -------------------------------------------------------------------------


def test_a_request_that_is_sent_again_is_told_to_the_logger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [ServerUnavailableError("starting")]

    def ask() -> str:
        if failures:
            raise failures.pop()
        return "an answer"

    with caplog.at_level(logging.INFO, logger="l2bt.client"):
        with_patience(ask, patience_s=30)
    assert [record.name for record in caplog.records] == ["l2bt.client"]
    assert "starting" in caplog.text
