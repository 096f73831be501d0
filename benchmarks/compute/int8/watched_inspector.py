"""An inspector whose answers are looked at on their way: how well they find defects."""

from collections.abc import Sequence

from benchmarks.compute.int8.results import Quality
from benchmarks.evaluation.metrics.image_metrics import measure_images
from benchmarks.evaluation.metrics.pixel_metrics import PixelEvaluator
from runtime.images.decode import ImageLike
from runtime.inspections.inspection import Inspection, Inspector
from runtime.products.card import ProductCard
from train.data.dataset import Sample


class WatchedInspector(Inspector):
    """Counts the maps that an inspector gives for a test set.

    Args:
        inspector: What inspects.
        samples: The images that it will be asked for, in this order, each once.
    """

    def __init__(self, inspector: Inspector, samples: Sequence[Sample]) -> None:
        self._inspector = inspector
        self._samples = iter(samples)
        self._pixels = PixelEvaluator(
            good_images=sum(not sample.is_defective for sample in samples)
        )
        self._scores: list[float] = []
        self._labels: list[bool] = []

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        """Inspect the next image, and count its map."""
        sample = next(self._samples)
        found = self._inspector.inspect(image, product=product, want_map=want_map)
        self._scores.append(found.score)
        self._labels.append(sample.is_defective)
        if found.anomaly_map is None:
            return found
        size = found.anomaly_map.shape
        mask, area = sample.mask(*size), self.read_card(product=product).area
        if mask is not None:
            self._pixels.add(
                sample.name,
                found.anomaly_map,
                mask,
                is_defective=sample.is_defective,
                ignored=area.ignored(*size) if area is not None else None,
            )
        return found

    def read_card(self, *, product: str | None = None) -> ProductCard:
        """The inspector's card."""
        return self._inspector.read_card(product=product)

    def quality(self) -> Quality:
        """Over the images that got an answer."""
        images, pixels = measure_images(self._scores, self._labels), self._pixels.result()
        aupro = pixels.metrics.overlap.aupro["exact"] if pixels is not None else {}
        return Quality(
            image_auroc=images.auroc if images is not None else None,
            aupro_30=aupro.get("30%"),
            aupro_1=aupro.get("1%"),
        )
