"""From detections to vision_msgs/Detection2DArray."""

from __future__ import annotations

from collections.abc import Sequence

from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from mbv2ssd_ros.core.detections import Detections


class DetectionMessages:
    """
    Makes detection messages from reused parts: 7 us for 10 detections instead of 85.

    A message is valid until the next call. So every thread that publishes has its own maker,
    publishes at once (publish serialises before it returns) and keeps no message.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = tuple(class_names)
        self._message = Detection2DArray()
        self._parts: list[Detection2D] = []

    def message(self, detections: Detections, header: Header) -> Detection2DArray:
        """Fill and return the message, always the same object; boxes in pixels, best first."""
        count = len(detections)
        while len(self._parts) < count:
            self._parts.append(Detection2D(results=[ObjectHypothesisWithPose()]))
        for part, (x1, y1, x2, y2), score, label in zip(
                self._parts, detections.boxes_xyxy.tolist(), detections.scores.tolist(),
                detections.labels.tolist(), strict=False):  # earlier frames left more parts
            part.header = header
            box = part.bbox
            box.center.position.x = 0.5 * (x1 + x2)
            box.center.position.y = 0.5 * (y1 + y2)
            box.size_x = x2 - x1
            box.size_y = y2 - y1
            hypothesis = part.results[0].hypothesis
            hypothesis.class_id = self._class_names[label]
            hypothesis.score = score
        self._message.header = header
        self._message.detections = self._parts[:count]
        return self._message
