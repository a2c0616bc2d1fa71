"""How mAP is measured."""

from __future__ import annotations

from pydantic import Field

from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_train.config.section import Section


class EvaluationConfig(Section):
    """How mAP is measured; not how the robot shows boxes."""

    score_threshold: float = Field(
        0.02, ge=0, le=1, description='low, so that the curve reaches its end')
    nms_iou: float = Field(
        0.45, ge=0, le=1, description='NMS threshold between boxes of one class')
    max_detections: int = Field(200, ge=1, description='limit for each image')
    max_candidates: int = Field(400, ge=1, description='limit for each image, before NMS')

    def detection_settings(self) -> DetectionSettings:
        """Return the settings of the run time's selector."""
        return DetectionSettings(**self.model_dump())
