"""
What one model file finds in some images, on the processor that runs this program.

    answers.py MODEL OUTPUT.npz IMAGE...

test_machines.py runs it on processors that QEMU imitates. Prints the features that numpy finds in
the processor, and the seconds that it took, as JSON.
"""

import json
from pathlib import Path
import sys
import time

import cv2
import numpy as np

from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector


class KeptScores:
    """A backend that keeps the scores of every image."""

    def __init__(self, backend):
        self._backend, self.scores = backend, []

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def infer(self, images):
        """Run the network."""
        outputs = self._backend.infer(images)
        self.scores.append(outputs[1][0].copy())
        return outputs


def features():
    """Return numpy's names of what this processor has; numpy asks the processor itself."""
    core = np._core if hasattr(np, '_core') else np.core  # numpy 2 or 1
    return [name for name, present in core._multiarray_umath.__cpu_features__.items() if present]


def main(model, output, images):
    """Answer, and write the answers."""
    backend = KeptScores(open_backend('onnxruntime', model, BackendOptions()))
    detector = Detector(backend)
    found = [detector.detect([SourceImage(cv2.imread(path), 'bgr')])[0] for path in images]
    np.savez(output, scores=np.stack(backend.scores),  # (images, P, C)
             images=np.repeat(np.arange(len(found)), [len(one) for one in found]),
             boxes_xyxy=np.concatenate([one.boxes_xyxy for one in found]),
             labels=np.concatenate([one.labels for one in found]),
             confidences=np.concatenate([one.scores for one in found]))
    return {'precision': backend.contract.precision, 'features': features(),
            'cpu_s': time.process_time()}


if __name__ == '__main__':
    try:
        print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])))
    except Mbv2SsdError as err:
        sys.exit(f'refused: {err}')
