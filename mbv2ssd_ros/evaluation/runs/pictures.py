"""Images of chosen frames, read from the bag a second time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.drawing import bgr_pixels
from mbv2ssd_ros.core.errors import DataError, UnsupportedImageError
from mbv2ssd_ros.evaluation.bags.frames import read_frames
from mbv2ssd_ros.evaluation.bags.reader import Bag
from mbv2ssd_ros.evaluation.report.pictures import reduced

GREY = np.full((30, 40, 3), 128, np.uint8)  # in place of a frame that the bag no longer has


def pictures(bag: Bag, topics: Sequence[str], numbers: Collection[int]
             ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """
    Yield number and (H, W, 3) BGR pixels of those chosen frames that can be decoded.

    topics must be those of the run that numbered the frames.
    """
    wanted = set(numbers)
    frames = read_frames(bag, topics)
    while wanted:
        try:
            frame = next(frames, None)
        except DataError:  # the run has reported it
            return
        if frame is None:
            return
        if frame.number in wanted:
            wanted.discard(frame.number)
            try:
                yield frame.number, bgr_pixels(frame.image())
            except UnsupportedImageError:
                continue


def reduced_pictures(bag: Bag, topics: Sequence[str], numbers: Collection[int]
                     ) -> dict[int, NDArray[np.uint8]]:
    """Return copies of some dozens of frames by number, (H, W, 3) BGR; see pictures."""
    return {number: reduced(pixels) for number, pixels in pictures(bag, topics, numbers)}
