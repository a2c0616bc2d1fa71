"""Detections written as a bag of one mcap file, for Foxglove and for `ros2 bag play`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.durable import partial_of
from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.evaluation.bags.detection_content import detections_content, header_content
from mbv2ssd_ros.evaluation.bags.message_types import (
    COMPRESSED_IMAGE,
    DETECTIONS,
    rosbags_library,
    standard_types,
)
from mbv2ssd_ros.evaluation.frame_record import FrameRecord

FILE_NAME = 'detections.mcap'
JPEG_QUALITY = 80


class DetectionsWriter:
    """Writes detections and, where wanted, annotated images of several cameras."""

    def __init__(self, writer: Any, topics: Sequence[str], class_names: Sequence[str],
                 annotated: bool) -> None:
        """Add the topics to an open writer of rosbags; see detections_bag."""
        self._writer, self._class_names = writer, tuple(class_names)
        types, names = standard_types(), detection_topics(topics)
        self._detections = {
            topic: writer.add_connection(names[topic], DETECTIONS, typestore=types)
            for topic in topics}
        self._images = {
            topic: writer.add_connection(f'{names[topic]}/debug_image/compressed',
                                         COMPRESSED_IMAGE, typestore=types)
            for topic in topics if annotated}

    def write(self, record: FrameRecord, detections: Detections,
              annotated_bgr: NDArray[np.uint8] | None = None) -> None:
        """Write one frame with the header of its image, at the time when that was recorded."""
        types, header = standard_types(), header_content(record.header_ns, record.frame_id)
        content = detections_content(detections, self._class_names, header)
        self._writer.write(self._detections[record.topic], record.log_ns,
                           types.serialize_cdr(content, DETECTIONS))
        if annotated_bgr is None:
            return
        encoded = cv2.imencode('.jpg', annotated_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        image = types.types[COMPRESSED_IMAGE](header, 'bgr8; jpeg compressed bgr8',
                                              encoded.reshape(-1))
        self._writer.write(self._images[record.topic], record.log_ns,
                           types.serialize_cdr(image, COMPRESSED_IMAGE))


def detection_topics(topics: Sequence[str]) -> dict[str, str]:
    """
    Name the topics of detections as the node's default configuration does.

    /front/image_raw and /front/image_raw/compressed give /front/detections; where two cameras
    would get the same name, the topic itself is put in front of /detections.
    """
    names = {topic: f'{topic.removesuffix("/compressed").rpartition("/")[0]}/detections'
             for topic in topics}
    if len(set(names.values())) < len(names):
        return {topic: f'{topic}/detections' for topic in topics}
    return names


@contextmanager
def detections_bag(folder: Path, topics: Sequence[str], class_names: Sequence[str],
                   annotated: bool = False) -> Iterator[DetectionsWriter]:
    """
    Write `detections.mcap`, which appears when it is complete; DataError where that fails.

    topics are of images; label k is class_names[k - 1]; annotated: with images.
    """
    rosbag2 = rosbags_library().rosbag2
    partial = partial_of(folder / FILE_NAME)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with rosbag2.Writer(partial, version=9,
                            storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
            yield DetectionsWriter(writer, topics, class_names, annotated)
        (partial / f'{partial.name}.mcap').replace(folder / FILE_NAME)
    except OSError as err:
        raise DataError(f'{folder / FILE_NAME}: cannot be written: {err}') from err
    finally:
        shutil.rmtree(partial, ignore_errors=True)
