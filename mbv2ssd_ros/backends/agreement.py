"""
Compare the outputs of two programs for the same model, prior by prior.

TensorRT has had versions that built wrong engines without an error, so a new one is compared with
ONNX Runtime, on the GPU it was built for, before use; an export is compared with PyTorch.
mbv2ssd_train/export/agreement.py compares detections: of models that differ by design.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.output_summary import Infer, Outputs

_MIN_IMAGES = 4
_SEED = 5
_GRIDS = (3, 9, 27, 81)  # blobs of many sizes, as in photographs


@dataclass(frozen=True)
class Difference:
    """The largest and the mean absolute difference of two pairs of outputs."""

    box_max: float
    box_mean: float
    score_max: float
    score_mean: float

    def __str__(self) -> str:
        return (f'boxes differ by {self.box_max:.2g} at most and {self.box_mean:.2g} on average, '
                f'scores by {self.score_max:.2g} and {self.score_mean:.2g}')

    def within(self, limit: Difference) -> bool:
        """Compare each figure with its limit; NaN is never within one."""
        return (self.box_max <= limit.box_max and self.box_mean <= limit.box_mean
                and self.score_max <= limit.score_max and self.score_mean <= limit.score_mean)


# A few times what rounding alone does to the images below, on the shipped model: fp16 simulated
# in ONNX Runtime (box 7e-3 / 1.3e-4, score 4e-3 / 1e-6), int8 with its kernels fused and not
# (6e-2 / 4e-4, 9e-2 / 2e-4). Two different images differ by 6e-3 in the mean of the boxes.
LIMITS = {
    'fp32': Difference(box_max=2e-3, box_mean=1e-4, score_max=2e-3, score_mean=1e-4),
    'fp16': Difference(box_max=3e-2, box_mean=1e-3, score_max=3e-2, score_mean=1e-3),
    'int8': Difference(box_max=2e-1, box_mean=2e-3, score_max=3e-1, score_mean=2e-3),
}


def fixed_images(count: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Make (count, H, W, 3) uint8 images of blobs, the same on every machine."""
    rng = np.random.default_rng(_SEED)
    images = np.zeros((count, *size_hw, 3), np.uint8)
    for image in images:
        blobs = np.zeros((*size_hw, 3), np.float32)
        for cells in _GRIDS:
            grid = rng.random((cells, cells, 3), dtype=np.float32) / np.float32(cells ** 0.5)
            blobs += cv2.resize(grid, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        low, high = blobs.min(), blobs.max()
        image[...] = 255 * (blobs - low) / (high - low)
    return images


def compare(infer: Infer, reference: Infer, batch_sizes: Sequence[int],
            size_hw: tuple[int, int]) -> Difference:
    """Return the largest differences on fixed images, for batches of every size."""
    return compare_on(
        fixed_images(max(_MIN_IMAGES, *batch_sizes), size_hw), infer, reference, batch_sizes)


def compare_on(images: NDArray[np.uint8], infer: Infer, reference: Infer,
               batch_sizes: Sequence[int]) -> Difference:
    """As compare, on images (N, H, W, 3) of which there are as many as the largest batch has."""
    expected = [tuple(output.copy() for output in reference(image[None])) for image in images]
    found = []
    for size in batch_sizes:
        for start in range(0, len(images) - size + 1, size):
            chosen = slice(start, start + size)
            boxes, scores = (np.concatenate(parts) for parts in zip(*expected[chosen]))
            found.append(_difference(infer(images[chosen]), (boxes, scores)))
    # numpy's max keeps a NaN, Python's may not
    return Difference(*np.max([dataclasses.astuple(one) for one in found], axis=0).tolist())


def _difference(found: Outputs, expected: Outputs) -> Difference:
    boxes, scores = (np.abs(one - other) for one, other in zip(found, expected))
    return Difference(float(boxes.max()), float(boxes.mean()),
                      float(scores.max()), float(scores.mean()))


def check_agreement(difference: Difference, precision: str, source: str) -> None:
    """Raise BackendError for a difference that rounding does not explain."""
    if not difference.within(LIMITS[precision]):
        raise BackendError(
            f'{source}: TensorRT built an engine that disagrees with ONNX Runtime: '
            f'{difference}; {precision} allows {LIMITS[precision]}. It is not used. Try '
            'another precision, or `backend: onnxruntime` (docs/jetson.md)')
