"""
Print what models find in pictures, as JSON: for each model and picture its detections.

.ci/versions runs this with one set of library versions after another and compares. Usage:
answers.py PICTURES MODEL..., with a folder of pictures and ONNX files that have a contract.
"""

import json
from pathlib import Path
import sys

import cv2

from mbv2ssd_ros.backends.opening import open_backend
from mbv2ssd_ros.backends.options import BackendOptions
from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector


def main(folder, *models):
    """Print the answers; a model that does not load gives its error instead."""
    pictures = {path.name: cv2.imread(str(path)) for path in sorted(Path(folder).glob('*.jpg'))}
    answers = {}
    for model in models:
        try:
            detector = Detector(open_backend('onnxruntime', model, BackendOptions()))
            answers[Path(model).name] = {
                name: found(detector, picture) for name, picture in pictures.items()}
        except Mbv2SsdError as err:
            answers[Path(model).name] = str(err)
    print(json.dumps(answers))


def found(detector, picture):
    """Return class name, score and box in pixels of each detection."""
    result, = detector.detect([SourceImage(picture, 'bgr')])
    names = [detector.contract.class_names[label] for label in result.labels]
    return [[name, float(score), *map(float, box)]
            for name, score, box in zip(names, result.scores, result.boxes_xyxy)]


if __name__ == '__main__':
    main(*sys.argv[1:])
