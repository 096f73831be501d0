"""The reference: a product bundle run in PyTorch, behind the same interface as the detector."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from runtime.detector import EngineDetector
from runtime.engines.engine import Slots, slots_of
from runtime.errors import ModelError
from runtime.products.catalogue import SingleProduct
from train.fitting.features import TILES_AT_ONCE
from train.students.bundle import ProductBundle, open_bundle
from train.students.network import PatchMapNetwork
from train.teacher.teacher import load_teacher, settings_of


class ReferenceEngine:
    """Runs teacher and students in eager PyTorch."""

    def __init__(self, network: PatchMapNetwork, *, precision: str) -> None:
        self._network: PatchMapNetwork | None = network
        device = network.teacher.device
        self.description = f"pytorch {torch.__version__.split('+')[0]} {device} {precision}"

    @torch.inference_mode()
    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps.

        Raises:
            ModelError: A tile asks for another slot than 0: a bundle holds one product.
        """
        if slots_of(tiles, slots).any():
            raise ModelError("a product bundle holds one product, in slot 0")
        assert self._network is not None, "closed"
        patch_maps = []
        for start in range(0, len(tiles), TILES_AT_ONCE):
            batch = torch.tensor(
                tiles[start : start + TILES_AT_ONCE], device=self._network.teacher.device
            )
            patch_maps.append(self._network(batch).cpu().numpy())
        return np.concatenate(patch_maps)

    def close(self) -> None:
        """Drop the network."""
        self._network = None


class ReferenceDetector(EngineDetector):
    """A product bundle in PyTorch: what every other way of running it is held against.

    Args:
        bundle: Folder that `l2bt train` left.
        teacher_weights: The local file that it was trained with, if one was.
        device: "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".

    Raises:
        ModelError: The bundle is not whole, or its teacher cannot be had.
        OptionError: The device or the precision cannot be had.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        teacher_weights: Path | None = None,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        opened = open_bundle(Path(bundle))
        network = load_network(
            opened, teacher_weights=teacher_weights, device=device, precision=precision
        )
        super().__init__(ReferenceEngine(network, precision=precision), SingleProduct(opened.card))


def load_network(
    bundle: ProductBundle,
    *,
    teacher_weights: Path | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> PatchMapNetwork:
    """The whole network of a bundle: its teacher, loaded and checked, and its students.

    Raises:
        ModelError: The teacher's weights cannot be had, or are others than in training.
    """
    teacher = load_teacher(
        settings_of(
            bundle.card.teacher, weights=teacher_weights, device=device, teacher_precision=precision
        ),
        image_size=bundle.card.geometry.image_size,
        image_wh=bundle.card.geometry.image_wh,
        expected=bundle.card.teacher,
    )
    return PatchMapNetwork(teacher, bundle.students.to(teacher.device)).eval()
