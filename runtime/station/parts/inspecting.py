"""How frames are inspected: in process or by a server, against the product that they belong to."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from runtime.client.access import ConnectionOptions
from runtime.errors import OptionError, UnknownProductError
from runtime.extras import require
from runtime.images.decode import ImageArray, load_image
from runtime.inspections.inspection import Inspection
from runtime.opening import open_model
from runtime.station.parts.frame import Frame
from runtime.station.parts.pipeline import Inspect
from runtime.station.settings.source_settings import Source
from runtime.station.settings.station_settings import InspectionSettings

_READY_WITHIN_S = 20.0
_ANSWER_WITHIN_S = 10.0


class Inspectors:
    """What inspects; a context manager.

    Args:
        settings: The table [inspection].
        sources: Whose barcodes are read.

    Raises:
        L2BTError: The model cannot be opened, or no server answers.
    """

    def __init__(self, settings: InspectionSettings, sources: tuple[Source, ...]) -> None:
        self._settings = settings
        self._barcodes = {one.name: one.barcodes for one in sources if one.barcodes}
        if self._barcodes:
            require("zxingcpp")
        self._stack = ExitStack()
        self._opened: list[Any] = []
        try:
            for _ in range(settings.workers):
                self._opened.append(self._stack.enter_context(_open(settings)))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Inspectors":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def require(self, product: str | None) -> str:
        """The name of a product that is there.

        Args:
            product: Its name; None for the only one.

        Raises:
            UnknownProductError: It is not, or there are several and none is named.
            ServerError: The server cannot be asked.
        """
        return str(self._opened[0].read_card(product=product).product)

    def functions(self, *, want_map: Callable[[], bool]) -> list[Inspect]:
        """One function for each part that is inspected at the same time."""

        def function(opened: Any) -> Inspect:
            def inspect(frame: Frame) -> Inspection:
                image, product = frame.image, frame.product
                if frame.source in self._barcodes:
                    image = load_image(image)
                    product = product_by_code(image, self._barcodes[frame.source])
                inspection: Inspection = opened.inspect(image, product=product, want_map=want_map())
                return inspection

            return inspect

        return [function(opened) for opened in self._opened]


def product_by_code(image: ImageArray, products: dict[str, str]) -> str:
    """The product whose code is in an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        products: By the text of a barcode, a QR code or a data matrix.

    Raises:
        UnknownProductError: There is no code, or none of these, or of several products.
    """
    codes = read_codes(image)
    found = {products[code] for code in codes if code in products}
    if len(found) == 1:
        return found.pop()
    if len(found) > 1:
        raise UnknownProductError(
            f"codes of several products in one image: {', '.join(sorted(found))}"
        )
    seen = f"the codes {', '.join(sorted(codes))} belong to no product" if codes else "no code read"
    raise UnknownProductError(f"{seen}; expected one of {', '.join(sorted(products))}")


def read_codes(image: ImageArray) -> set[str]:
    """What all barcodes, QR codes and data matrices in an image say.

    Args:
        image: (H, W, 3) uint8 RGB.

    Raises:
        MissingExtraError: zxing-cpp is not installed.
    """
    # OpenCV's own reader found a clean EAN-13 at one in eight of the sizes that this one reads.
    zxing = require("zxingcpp")
    return {str(code.text) for code in zxing.read_barcodes(image) if code.text}


def _open(settings: InspectionSettings) -> Any:
    if settings.model is not None:
        return open_model(
            _there(settings.model),
            device=settings.device or "cpu",
            engine=settings.engine,
            precision=settings.precision,
        )
    from runtime.client.client import Client

    assert settings.server is not None
    deadline_s = None if settings.deadline_ms is None else settings.deadline_ms / 1e3
    connection = ConnectionOptions(
        # A part that is too late anyway is not asked about again.
        patience_s=settings.patience_s or deadline_s or ConnectionOptions().patience_s,
        tls_ca=settings.tls_ca,
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        token_path=settings.token_path,
    )
    client = Client(
        settings.server,
        transport=settings.transport or "auto",
        timeout_s=_ANSWER_WITHIN_S,
        **connection.arguments(),
    )
    try:
        client.wait_until_ready(_READY_WITHIN_S)
    except BaseException:
        client.close()
        raise
    return client


def _there(model: Path) -> Path:
    if not model.is_dir():
        raise OptionError(f"model {model} is no folder; expected what l2bt export left")
    return model
