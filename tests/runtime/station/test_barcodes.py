"""The product is read from a barcode, or the part is not inspected."""

from pathlib import Path

import pytest

from benchmarks.load.line.plant import wait_for
from runtime.errors import UnknownProductError
from runtime.models.exported_model import ExportedModel
from runtime.station.parts.inspecting import product_by_code, read_codes
from tests.parts.small import png
from tests.parts.station import (
    ean13,
    lines_of,
    running,
    station_text,
    write_station,
)

CODES = '[[sources]]\nkind = "folder"\nname = "in"\nfolder = "incoming"\nbarcodes = {codes}\n'


def test_the_product_is_read_from_the_barcode(tmp_path: Path, tiny_exported: ExportedModel) -> None:
    import cv2

    (tmp_path / "incoming").mkdir()
    codes = CODES.format(codes='{ "4006381333931" = "plate" }')
    with running(write_station(tmp_path, station_text(tiny_exported.folder, codes))):
        for name, code in (("known", "4006381333931"), ("unknown", "5901234123457")):
            cv2.imwrite(str(tmp_path / "incoming" / f"{name}.png"), ean13(code))
        (tmp_path / "incoming" / "none.png").write_bytes(png(1))
        wait_for(lambda: len(lines_of(tmp_path)) == 3, "three outcomes")
    told = {line["frame_id"]: line for line in lines_of(tmp_path)}
    assert told["known.png"]["product"] == "plate"
    assert told["known.png"]["score"] is not None
    assert "5901234123457 belong to no product" in told["unknown.png"]["reason"]
    assert "no code read" in told["none.png"]["reason"]
    assert told["none.png"]["action"] == "reject"


def test_qr_codes_are_read_too() -> None:
    import cv2
    import numpy as np

    code = cv2.QRCodeEncoder.create().encode("bolt-M8")
    image = np.repeat(
        np.kron(np.pad(code, 4, constant_values=255), np.ones((8, 8), np.uint8))[..., None],
        3,
        axis=2,
    )
    assert read_codes(image) == {"bolt-M8"}
    assert product_by_code(image, {"bolt-M8": "bolt"}) == "bolt"


def test_codes_of_two_products_in_one_image_decide_nothing() -> None:
    import numpy as np

    both = np.concatenate([ean13("4006381333931"), ean13("5901234123457")])
    with pytest.raises(UnknownProductError, match="several products"):
        product_by_code(both, {"4006381333931": "bolt", "5901234123457": "nut"})
