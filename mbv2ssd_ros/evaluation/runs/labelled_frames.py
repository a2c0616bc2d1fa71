"""
Frames of a bag as a data set to be corrected: images, COCO JSON, and a dataset.yaml for training.

    FOLDER/dataset.yaml
    FOLDER/images/SPLIT/front__image_raw-1700000000_123456789.jpg
    FOLDER/SPLIT.json

File names identify the frames of the bag, so that corrected labels are its ground truth too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import yaml

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.drawing import bgr_pixels
from mbv2ssd_ros.core.durable import partial_of
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.evaluation.bags.frame_names import frame_name
from mbv2ssd_ros.evaluation.bags.frames import BagFrame
from mbv2ssd_ros.evaluation.bags.message_types import COMPRESSED_IMAGE
from mbv2ssd_ros.evaluation.runs.outputs import write_text

DESCRIPTION = 'dataset.yaml'
FORMATS = ('jpg', 'png')
JPEG_QUALITY = 95
_HEADER_BYTES = 1 << 16  # of a JPEG, where EXIF is
_MAGIC = ((b'\xff\xd8', 'jpg'), (b'\x89PNG', 'png'), (b'RIFF', 'webp'))


class LabelledFrames:
    """Collects the frames of one split; `finish` makes them a data set."""

    def __init__(self, folder: Path, split: str, class_names: Sequence[str], image_format: str
                 ) -> None:
        """
        Make the folders of a new split of a data set, which may have others already.

        Label k is class_names[k - 1]; image_format is one of FORMATS, for raw images: compressed
        ones are copied. ConfigError: the data set has this split or other classes. DataError:
        the folder cannot be written.
        """
        self._folder, self._split, self._classes = folder, split, tuple(class_names)
        self._format = image_format
        self._splits = self._known_splits()
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self._images_folder = folder / 'images' / split
        self._partial = partial_of(self._images_folder)  # until it has its labels
        if self._images_folder.exists():
            raise ConfigError(f'{self._images_folder}: exists already; corrected labels may '
                              'belong to it. Choose another --split or --output')
        try:
            if self._partial.is_dir():  # of a run that was killed
                shutil.rmtree(self._partial)
            self._partial.mkdir(parents=True)
        except OSError as err:
            raise DataError(f'{folder}: cannot be made: {err}') from err

    def __len__(self) -> int:
        return len(self._images)

    @property
    def objects(self) -> int:
        """Boxes so far."""
        return len(self._annotations)

    def has(self, frame: BagFrame) -> bool:
        """Whether there is a frame of the same topic and stamp already."""
        return frame_name(frame.topic, frame.stamp_ns) in self._names

    def add(self, frame: BagFrame, image: SourceImage, detections: Detections) -> None:
        """
        Write the decoded image of a frame and keep its boxes, in pixels with 1-based labels.

        DataError: the image cannot be written.
        """
        name = frame_name(frame.topic, frame.stamp_ns)
        content, suffix = self._encoded(frame, image)
        path = self._partial / f'{name}.{suffix}'
        try:
            path.write_bytes(content)
        except OSError as err:
            raise DataError(f'{path}: cannot be written: {err}') from err
        self._names.add(name)
        height, width = image.size_hw
        self._images.append({
            'id': len(self._images) + 1, 'file_name': path.name, 'width': width,
            'height': height, 'stamp_ns': frame.stamp_ns, 'topic': frame.topic})
        for box, score, label in zip(
                detections.boxes_xyxy.tolist(), detections.scores.tolist(),
                detections.labels.tolist(), strict=True):
            self._add_box([round(side, 2) for side in box], score, label)

    def _add_box(self, box: list[float], score: float, label: int) -> None:
        x1, y1, x2, y2 = box
        width, height = round(x2 - x1, 2), round(y2 - y1, 2)
        if width > 0 and height > 0:
            self._annotations.append({
                'id': len(self._annotations) + 1, 'image_id': len(self._images),
                'category_id': label, 'bbox': [x1, y1, width, height],
                'area': round(width * height, 2), 'iscrowd': 0, 'segmentation': [],
                'score': round(score, 4)})

    def finish(self) -> None:
        """Write annotations and description; without labelled frames remove the folders."""
        if not self._images:  # else the next attempt would find the split
            for path in (self._partial, self._folder / 'images'):
                with suppress(OSError):  # of another split
                    path.rmdir()
            return
        annotations = f'{self._split}.json'
        write_text(self._folder / annotations, json.dumps({
            'info': {'description': 'labelled by a model, to be corrected'}, 'licenses': [],
            'images': self._images, 'annotations': self._annotations,
            'categories': [{'id': label, 'name': name, 'supercategory': ''}
                           for label, name in enumerate(self._classes, start=1)]}, indent=1)
            + '\n')
        try:
            self._partial.rename(self._images_folder)
        except OSError as err:
            raise DataError(f'{self._images_folder}: cannot be made: {err}') from err
        splits = {**self._splits, self._split: {
            'images': f'images/{self._split}', 'annotations': annotations}}
        write_text(self._folder / DESCRIPTION, yaml.safe_dump(
            {'classes': list(self._classes), 'splits': splits}, sort_keys=False))

    def _known_splits(self) -> dict[str, Any]:
        path = self._folder / DESCRIPTION
        if not path.is_file():
            return {}
        try:
            found = yaml.safe_load(path.read_text(encoding='utf-8'))
            classes, splits = found['classes'], dict(found['splits'])
        except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError) as err:
            raise DataError(f'{path}: expected classes and splits: {err!r}') from err
        if tuple(classes) != self._classes:
            raise ConfigError(f'{path}: has the classes {", ".join(map(str, classes))}, the model '
                              f'knows {", ".join(self._classes)}; choose another --output')
        if self._split in splits:
            raise ConfigError(f'{path}: has a split {self._split!r} already, which may be '
                              'corrected; choose another --split or --output')
        return splits

    def _encoded(self, frame: BagFrame, image: SourceImage) -> tuple[bytes, str]:
        """Return the bytes of an image file; as recorded where tools show the same pixels."""
        if frame.message.kind == COMPRESSED_IMAGE:
            content = bytes(np.asarray(frame.message.content.data))
            suffix = next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)
            # tools rotate an image by its EXIF, the detector and training do not
            if suffix and b'Exif\0' not in content[:_HEADER_BYTES]:
                return content, suffix
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if self._format == 'jpg' else []
        encoded = cv2.imencode(f'.{self._format}', bgr_pixels(image), options)[1]
        return encoded.tobytes(), self._format
