"""The images of a live run, accounted for from the camera through the node to a subscriber."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.frames import DROP_REASONS


@dataclass(frozen=True)
class NodeCounts:
    """The counters of one camera as the node publishes them on /diagnostics."""

    received: int
    published: int
    in_flight: int
    dropped: dict[str, int]  # by reason, those that happened

    @classmethod
    def from_values(cls, values: Mapping[str, str]) -> NodeCounts:
        """
        Parse the diagnostic status of a camera.

        Raises DataError when a figure is missing, or they do not add up.
        """
        try:
            counts = cls(
                int(values['received']), int(values['published']), int(values['in_flight']),
                {reason: count for reason in DROP_REASONS
                 if (count := int(values[f'dropped.{reason}']))})
        except (KeyError, ValueError) as err:
            raise DataError(f'/diagnostics: a camera has no usable figure ({err}); is the node '
                            'of the same version?') from err
        if counts.received != counts.published + counts.in_flight + sum(counts.dropped.values()):
            raise DataError(f'/diagnostics: the counters of a camera do not add up: {counts}')
        return counts


@dataclass(frozen=True)
class CameraOutcome:
    """One camera after a run."""

    name: str
    image_topic: str
    detections_topic: str
    sent: int  # images
    counts: NodeCounts
    arrived: int  # detection messages, at a subscriber
    latency_ms: dict[str, float] | None  # p50, p95, p99 from publishing to arrival, where known

    @property
    def lost_before_node(self) -> int:
        """Images that the node never counted; below 0 when there was another publisher."""
        return self.sent - self.counts.received

    @property
    def lost_after_node(self) -> int:
        """Detection messages that did not arrive."""
        return self.counts.published - self.arrived

    @property
    def answered(self) -> float:
        """Share of the images whose detections arrived; 1 when none was sent."""
        return self.arrived / self.sent if self.sent else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        return {
            'image_topic': self.image_topic, 'detections_topic': self.detections_topic,
            'sent': self.sent, 'lost_before_node': self.lost_before_node,
            'received': self.counts.received, 'dropped': self.counts.dropped,
            'in_flight': self.counts.in_flight, 'published': self.counts.published,
            'lost_after_node': self.lost_after_node, 'arrived': self.arrived,
            'answered': round(self.answered, 6), 'latency_ms': self.latency_ms}


def table(outcomes: Sequence[CameraOutcome]) -> str:
    """Format outcomes as lines."""
    width = max(len('camera'), *(len(outcome.name) for outcome in outcomes))
    lines = [f'{"camera":{width}} {"sent":>7} {"lost before":>12} {"received":>9} '
             f'{"dropped":>8} {"published":>10} {"lost after":>11} {"arrived":>8} {"answered":>9}']
    for outcome in outcomes:
        counts = outcome.counts
        lines.append(
            f'{outcome.name:{width}} {outcome.sent:7} {outcome.lost_before_node:12} '
            f'{counts.received:9} {sum(counts.dropped.values()):8} {counts.published:10} '
            f'{outcome.lost_after_node:11} {outcome.arrived:8} {100 * outcome.answered:7.1f} %')
    for outcome in outcomes:
        if outcome.counts.dropped:
            reasons = ', '.join(f'{count} {reason}'
                                for reason, count in outcome.counts.dropped.items())
            lines.append(f'{outcome.name}: dropped {reasons}')
        if outcome.latency_ms:
            spread = ', '.join(f'{name} {value:.1f}' for name, value in outcome.latency_ms.items())
            lines.append(f'{outcome.name}: image published until detections arrived, ms: {spread}')
    return '\n'.join(lines)
