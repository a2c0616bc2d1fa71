"""How mAP is measured."""

from __future__ import annotations

from pydantic import Field

from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_train.config.section import Section


class EvaluationConfig(Section):
    """How mAP is measured; not how the robot shows boxes."""

    score_threshold: float = Field(0.02, ge=0, le=1, description='low: the curve has an end')
    nms_iou: float = Field(0.45, ge=0, le=1, description='of one class; above it the worse goes')
    max_detections: int = Field(200, ge=1, description='of an image')
    max_candidates: int = Field(400, ge=1, description='of an image, before NMS')

    def detection_settings(self) -> DetectionSettings:
        """Return the settings of the run time's selector."""
        return DetectionSettings(**self.model_dump())
