"""Convert detections to vision_msgs/Detection2DArray."""

from __future__ import annotations

from collections.abc import Sequence

from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from mbv2ssd_ros.core.detections import Detections


class DetectionMessages:
    """Makes detection messages, where the bytes of `DetectionBytes` cannot be used."""

    def __init__(self, class_ids: Sequence[str]) -> None:
        self._class_ids = tuple(class_ids)

    def message(self, detections: Detections, header: Header) -> Detection2DArray:
        """Make a message; boxes in pixels, best first."""
        message = Detection2DArray(header=header)
        for (x1, y1, x2, y2), score, label, track in zip(
                detections.boxes_xyxy.tolist(), detections.scores.tolist(),
                detections.labels.tolist(), detections.track_names(), strict=True):
            part = Detection2D(header=header, results=[ObjectHypothesisWithPose()], id=track)
            part.bbox.center.position.x = 0.5 * (x1 + x2)
            part.bbox.center.position.y = 0.5 * (y1 + y2)
            part.bbox.size_x = x2 - x1
            part.bbox.size_y = y2 - y1
            part.results[0].hypothesis.class_id = self._class_ids[label]
            part.results[0].hypothesis.score = score
            message.detections.append(part)
        return message
