"""A model and how it runs, as programs that read bags take it from the command line."""

from __future__ import annotations

from dataclasses import dataclass

from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.core.arguments import share, whole
from mbv2ssd_ros.core.detections import CURVE_MAX_DETECTIONS, DetectionSettings
from mbv2ssd_ros.tools.cli.settings import model_option, option


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A model and how it runs."""

    model: str = model_option()
    backend: str = option('--backend', default='auto', choices=BACKENDS,
                          help='what runs the model (default %(default)s)')
    threads: int = option('--threads', default=1, type=whole, metavar='N',
                          help='of one inference on a CPU (default %(default)s)')
    nms_iou: float = option('--nms-iou', default=DetectionSettings.nms_iou, type=share,
                            metavar='IOU', help='default %(default)s')
    max_detections: int = option('--max-detections', default=CURVE_MAX_DETECTIONS, type=whole,
                                 metavar='N', help='of a frame (default %(default)s)')
