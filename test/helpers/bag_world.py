"""Small bags written in the test, with objects that the tiny model detects."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.evaluation.bags.detection_content import detections_content, header_content
from mbv2ssd_ros.evaluation.bags.message_types import (
    COMPRESSED_IMAGE,
    DETECTIONS,
    IMAGE,
    standard_types,
)

SECOND = 10 ** 9
START_NS = 1_700_000_000 * SECOND
SIZE_HW = (64, 96)  # twice the network input of the tiny model; not square
CAMERA, FRONT, REAR = '/camera/image_raw', '/front/image_raw', '/rear/image_raw'
RED, GREEN = (0, 0, 255), (0, 255, 0)  # BGR
NAMES = ('red', 'green')


def stamp(index, rate_hz=10):
    """Return the stamp of a frame, nanoseconds."""
    return START_NS + index * SECOND // rate_hz


def picture(*cells, size_hw=SIZE_HW):
    """
    Paint cells of the tiny model's 4 x 6 grid on black.

    Args:
        *cells: (row, column, BGR).
        size_hw: of the picture.
    """
    image = np.zeros((*size_hw, 3), np.uint8)
    height, width = size_hw[0] // 4, size_hw[1] // 6
    for row, column, colour in cells:
        image[row * height:(row + 1) * height, column * width:(column + 1) * width] = colour
    return image


def cell_xyxy(row, column, size_hw=SIZE_HW):
    """Return the box of a cell in pixels."""
    height, width = size_hw[0] / 4, size_hw[1] / 6
    return (column * width, row * height, (column + 1) * width, (row + 1) * height)


def raw(image, stamp_ns, encoding='bgr8', frame_id='cam'):
    """Return a sensor_msgs/Image."""
    height, width = image.shape[:2]
    return standard_types().types[IMAGE](
        header_content(stamp_ns, frame_id), height, width, encoding, 0, image.strides[0],
        image.reshape(-1))


def compressed(image, stamp_ns, suffix='.png', frame_id='cam'):
    """Return a sensor_msgs/CompressedImage."""
    data = cv2.imencode(suffix, image)[1].reshape(-1)
    return standard_types().types[COMPRESSED_IMAGE](
        header_content(stamp_ns, frame_id), suffix[1:], data)


def detections(found, stamp_ns, names=NAMES, frame_id='cam'):
    """Return a Detection2DArray; found: (label, score, xyxy)."""
    return detections_content(
        Detections(np.array([box for _, _, box in found], np.float32).reshape(-1, 4),
                   np.array([score for _, score, _ in found], np.float32),
                   np.array([label for label, _, _ in found], np.intp)),
        names, header_content(stamp_ns, frame_id))


def kind_of(message):
    """Return the type of a message."""
    return next(kind for kind in (IMAGE, COMPRESSED_IMAGE, DETECTIONS)
                if isinstance(message, standard_types().types[kind]))


def write_bag(path, messages, storage='mcap', mode=None):
    """
    Write a rosbag2.

    Args:
        path: of the folder.
        messages: (topic, time of recording in ns, message or (kind, bytes)).
        storage: mcap or sqlite3.
        mode: of zstd: file, message, storage, or None.
    """
    types = standard_types()
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if mode:
        writer.set_compression(CompressionMode[mode.upper()], CompressionFormat.ZSTD)
    connections = {}
    with writer:
        for topic, log_ns, message in messages:
            kind, data = message if isinstance(message, tuple) else (
                kind_of(message), None)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=types)
            if data is None:
                data = types.serialize_cdr(message, kind)
            writer.write(connections[topic], log_ns, data)
    return Path(path)


def write_ros1_bag(path, pictures, topic=CAMERA, compression=None):
    """Write a ROS 1 bag with raw images, a tenth of a second apart; compression: bz2 or lz4."""
    types = get_typestore(Stores.ROS1_NOETIC)
    header, time = types.types['std_msgs/msg/Header'], types.types['builtin_interfaces/msg/Time']
    writer = Writer1(path)
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression.upper()])
    with writer:
        connection = writer.add_connection(topic, IMAGE, typestore=types)
        for index, image in enumerate(pictures):
            when = stamp(index)
            content = types.types[IMAGE](
                header(index, time(when // SECOND, when % SECOND), 'cam'), *image.shape[:2],
                'bgr8', 0, image.strides[0], image.reshape(-1))
            writer.write(connection, when, types.serialize_ros1(content, IMAGE))
    return Path(path)


def images(pictures, topic=CAMERA, make=raw):
    """Return messages of pictures, a tenth of a second apart, recorded 3 ms after their stamps."""
    return [(topic, stamp(index) + 3_000_000, make(image, stamp(index)))
            for index, image in enumerate(pictures)]


def six_pictures():
    """Return pictures with nothing, one red, one green, or two objects."""
    return [picture(), picture((0, 0, RED)), picture((3, 5, GREEN)),
            picture((1, 2, RED), (2, 4, GREEN)), picture((0, 5, RED)), picture((3, 0, RED))]


SIX_OBJECTS = ((), ((1, 0, 0),), ((2, 3, 5),), ((1, 1, 2), (2, 2, 4)), ((1, 0, 5),),
               ((1, 3, 0),))  # label, row, column of what six_pictures show


def coco(entries, names=NAMES, size_hw=SIZE_HW):
    """
    Return COCO JSON.

    Args:
        entries: (file name or other keys of the image, objects as in SIX_OBJECTS).
        names: of the categories.
        size_hw: of the images.
    """
    images_, annotations = [], []
    for number, (entry, objects) in enumerate(entries, start=1):
        keys = entry if isinstance(entry, dict) else {'file_name': entry}
        images_.append({'id': number, 'file_name': '', 'width': size_hw[1],
                        'height': size_hw[0], **keys})
        for label, row, column in objects:
            x1, y1, x2, y2 = cell_xyxy(row, column, size_hw)
            annotations.append({'id': len(annotations) + 1, 'image_id': number,
                                'category_id': label, 'bbox': [x1, y1, x2 - x1, y2 - y1]})
    return {'images': images_, 'annotations': annotations,
            'categories': [{'id': k, 'name': name} for k, name in enumerate(names, start=1)]}


def contents(**fields):
    """Return something with attributes, for content of old message versions."""
    return SimpleNamespace(**fields)
