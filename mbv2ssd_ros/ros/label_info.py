"""Names and numbers of the classes, in detections and in vision_msgs/LabelInfo."""

from __future__ import annotations

from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionClass

from mbv2ssd_ros.core.contract import ModelContract


def class_ids(contract: ModelContract, kind: str) -> tuple[str, ...]:
    """Return class_id of each label in a detection; kind is name, or index for its column."""
    if kind == 'index':
        return tuple(map(str, range(len(contract.class_names))))
    return tuple(contract.class_names)


def label_info(contract: ModelContract, score_threshold: float, header: Header) -> LabelInfo:
    """
    Describe the object classes of a model; score_threshold is that of classes without one.

    class_id is the column in the model's scores, so the first is 1 where column 0 is background.
    """
    return LabelInfo(
        header=header, threshold=score_threshold,
        class_map=[
            VisionClass(class_id=column, class_name=name)
            for column, name in enumerate(contract.class_names)
            if column != contract.background_index])
