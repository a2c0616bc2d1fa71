"""
Draw docs/detections.jpg: what the shipped models find in the demo images.

    python docs/detections.py [FILE]
"""

from __future__ import annotations

from pathlib import Path
import sys

import cv2

from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.drawing import draw_detections
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.shipped import find_model, shipped_path
from mbv2ssd_ros.tools.playing.contact_sheet import contact_sheet

SHOWN = {
    'mbv2_ssdlite_320_voc.onnx': (
        'images', ('dog', 'car', 'cat_lying', 'parrot', 'astronaut', 'cat_face')),
    'ssdlite_mobilenet_v2_coco.onnx': ('everyday', ('coffee', 'cocktail')),
}


def main() -> None:
    """Write the picture."""
    pictures = []
    for model, (folder, names) in SHOWN.items():
        detector = Detector(open_backend('onnxruntime', find_model(model), BackendOptions()))
        for name in names:
            image = cv2.imread(str(shipped_path(f'config/demo/{folder}/{name}.jpg')))
            found = detector.detect([SourceImage(image, 'bgr')])[0]
            classes = [detector.contract.class_names[label] for label in found.labels]
            caption = ', '.join(f'{one} {score:.2f}' for one, score in zip(classes, found.scores))
            pictures.append((caption, draw_detections(
                image, found.boxes_xyxy, found.scores, classes)))
    output = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_suffix('.jpg'))
    cv2.imwrite(str(output), contact_sheet(pictures), [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(output)


if __name__ == '__main__':
    main()
