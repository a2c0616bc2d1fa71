"""The state of one camera: its counters once a second, and a level with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mbv2ssd_ros.frames import (
    BACKEND_ERROR,
    FrameCounts,
    INTERNAL_ERROR,
    SKIPPED,
    STALE,
    UNDECODABLE,
)
from mbv2ssd_ros.latency import Percentiles
from mbv2ssd_ros.ros.camera import Camera
from mbv2ssd_ros.ros.missing_images import large_images

OK, WARN, ERROR = 0, 1, 2  # as in diagnostic_msgs and mbv2ssd_msgs
LEVEL_NAMES = ('OK', 'WARN', 'ERROR')
NO_EFFECT = 'max_age_ms has no effect: '
# Drops that are a fault; the others are intended.
FAULTS = (STALE, UNDECODABLE, BACKEND_ERROR, INTERNAL_ERROR)


@dataclass(frozen=True)
class CameraReport:
    """One camera over the last period; counters since the activation."""

    name: str
    level: int
    reason: str  # empty when OK, except for a camera that is not subscribed
    silent: bool  # no image for longer than silence_timeout_s
    stuck: bool  # images, but no result for longer than that
    counts: FrameCounts
    input_rate_hz: float
    output_rate_hz: float
    spread: dict[str, Percentiles]  # by stage
    last_stamp: Any  # builtin_interfaces/Time of the newest image; None before the first
    stamps_not_increasing: int


class CameraMonitor:
    """Compares the counters of a camera with the previous period; times are monotonic seconds."""

    def __init__(self, camera: Camera, now: float, why_no_images: Callable[[], str],
                 mixed: Callable[[], str] = str) -> None:
        self._camera = camera
        self._why_no_images, self._mixed = why_no_images, mixed
        self._interval_s = 0.0  # between images that came in different periods
        self._last_arrival: float | None = None
        self._opened = now
        self._last_time = now
        self._last_progress = now
        self._last_counts = camera.counters.counts()

    def report(self, now: float, silence_timeout_s: float, clock_stopped: str = ''
               ) -> CameraReport:
        """
        Close the period.

        silence_timeout_s without an image or a result is an error. clock_stopped: why no image has
        an age although max_age_ms is set.
        """
        camera, counts = self._camera, self._camera.counters.counts()
        if camera.paused:
            self._opened, self._last_arrival, self._interval_s = now, None, 0.0
        elapsed = max(now - self._last_time, 1e-3)
        before, self._last_counts, self._last_time = self._last_counts, counts, now
        if not counts.in_flight or processed(counts) != processed(before):
            self._last_progress = now
        if camera.last_arrival and camera.last_arrival != self._last_arrival:
            if self._last_arrival:
                self._interval_s = (camera.last_arrival - self._last_arrival) / (
                    counts.received - before.received)
            self._last_arrival = camera.last_arrival
        stuck_s = now - self._last_progress
        silent_s = now - (camera.last_arrival or self._opened)
        stuck = stuck_s > silence_timeout_s
        # while an image is in progress the receiving thread may be busy
        silent = silent_s > silence_timeout_s and not counts.in_flight and not camera.paused
        if stuck:
            level, reason = ERROR, (
                f'no image was answered for {stuck_s:.0f} s: the inference engine hangs, or this '
                'machine is too slow for the model')
        elif silent and self._interval_s > silence_timeout_s and silent_s < 2 * self._interval_s:
            silent = False
            level, reason = WARN, (
                f'a slow camera: an image every {self._interval_s:.0f} s, silence_timeout_s is '
                f'{silence_timeout_s:g}; raise it to report silence only')
        elif silent:
            level, reason = ERROR, f'no image for {silent_s:.0f} s: {self._why_no_images()}'
        else:
            level, reason = judge_drops(before, counts, camera.last_error)
        if level == OK and (mixed := self._mixed()):
            level, reason = WARN, mixed
        spread = camera.latency.take()
        if level == OK:
            slowest_s = 1e-3 * spread['total'].p99_ms if 'total' in spread else 0.0
            level, reason = judge_skips(before, counts, slowest_s / elapsed)
        if level == OK:
            reason = camera.paused
        ahead_ms, camera.ahead_ms = camera.ahead_ms, 0.0
        if level == OK and counts.published > before.published:
            level, reason = judge_ages(ahead_ms, clock_stopped)
        return CameraReport(
            name=camera.params.name, level=level, reason=reason, silent=silent, stuck=stuck,
            counts=counts,
            input_rate_hz=(counts.received - before.received) / elapsed,
            output_rate_hz=(counts.published - before.published) / elapsed,
            spread=spread, last_stamp=camera.last_stamp,
            stamps_not_increasing=camera.stamps_not_increasing)


def processed(counts: FrameCounts) -> int:
    """Count the images with a result or a fault, without those dropped unprocessed."""
    return counts.published + sum(counts.dropped[reason] for reason in FAULTS)


def judge_drops(before: FrameCounts, counts: FrameCounts, last_error: str) -> tuple[int, str]:
    """Return level and reason: OK without a fault, WARN if some images had a result, or ERROR."""
    faults = {reason: count for reason in FAULTS
              if (count := counts.dropped[reason] - before.dropped[reason])}
    if not faults:
        return OK, ''
    published = counts.published - before.published
    listed = ', '.join(f'{count} {reason}' for reason, count in faults.items())
    if published:
        return WARN, f'{sum(faults.values())} images dropped ({listed}); the last: {last_error}'
    return ERROR, f'every image was dropped ({listed}); the last: {last_error}'


def judge_ages(ahead_ms: float, clock_stopped: str) -> tuple[int, str]:
    """Return WARN and why max_age_ms has no effect; else OK."""
    if clock_stopped:
        return WARN, NO_EFFECT + clock_stopped
    if ahead_ms:
        return WARN, (f'{NO_EFFECT}stamps lie {ahead_ms:.0f} ms in the future; is '
                      "the clock of the camera's computer synchronised?")
    return OK, ''


def judge_skips(before: FrameCounts, counts: FrameCounts, slowest_frame: float) -> tuple[int, str]:
    """
    Judge images that never reached the node: losses are a fault, skipping in an overload is not.

    slowest_frame is the share of the period that the slowest frame took. WARN, with a remedy, if
    a tenth of the images was lost although each was finished before the next was due.
    """
    skipped = counts.dropped[SKIPPED] - before.dropped[SKIPPED]
    received = counts.received - before.received
    if skipped <= 0.1 * received or slowest_frame * received >= 1:
        return OK, ''
    return WARN, (
        f'{skipped} of {received} images were lost on the way. Large images need more shared '
        f'memory in the process of the camera: {large_images()}')
