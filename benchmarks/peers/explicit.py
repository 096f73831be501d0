"""The pipeline as the paper describes it, step by step in eager PyTorch.

What ours composes into one matrix an axis is here what the paper says: the patch map is upsampled
to the side of the padded square, blurred eight times there, and cropped.
"""

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from benchmarks.compute.explicit_blur import blur_explicitly
from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray
from train.students.network import PatchMapNetwork

_TOP_FRACTION = 0.001


class ExplicitPipeline:
    """From an image to its score and map at the image's own resolution.

    Args:
        network: Teacher and students, on a CPU, in FP32.
    """

    def __init__(self, network: PatchMapNetwork) -> None:
        self._network = network

    @torch.inference_mode()
    def inspect(self, image: ImageArray) -> tuple[float, AnomalyMap]:
        """(H, W, 3) uint8 RGB to the score and the (H, W) float32 map."""
        height, width = image.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        edges = ((top, side - height - top), (left, side - width - left), (0, 0))
        square = Image.fromarray(np.pad(image, edges, mode="edge"))
        tile = np.array(square.resize(self._network.teacher.tile_wh, Image.Resampling.BICUBIC))
        patch_map = self._network(torch.from_numpy(tile)[None])[None]
        pixels = functional.interpolate(patch_map, size=(side, side), mode="bilinear")
        blurred = blur_explicitly(pixels)[0, 0]
        cropped = blurred[top : top + height, left : left + width].contiguous()
        highest = torch.topk(cropped.flatten(), max(1, int(cropped.numel() * _TOP_FRACTION)))
        return float(highest.values.mean()), cropped.numpy()


def at_original_size(anomaly_map: AnomalyMap, height: int, width: int) -> AnomalyMap:
    """The map of a padded square at the network's size, brought to the image's own.

    Args:
        anomaly_map: (S, S), or (H, W) already, which stays as it is.
        height: H of the image in px.
        width: W of the image in px.

    Returns:
        (H, W) float32: bilinear to the side of the padded square, and cropped.
    """
    if anomaly_map.shape == (height, width):
        return anomaly_map
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square: Tensor = functional.interpolate(
        torch.from_numpy(anomaly_map)[None, None], size=(side, side), mode="bilinear"
    )
    return square[0, 0, top : top + height, left : left + width].contiguous().numpy()
