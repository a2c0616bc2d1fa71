"""
Ids for the detections of one camera.

Association in two stages by score after ByteTrack (arXiv:2110.06864), recovery by the last
observation after OC-SORT (arXiv:2203.14360). Time is that of the images, so that dropped frames
and changing rates do not break tracks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.boxes import iou_matrix
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.tracking.assignment import assign
from mbv2ssd_ros.tracking.motion import centres_sizes, corners, Motion

_LEAST_IOU = 0.2  # of a detection and the predicted box
_LEAST_IOU_LOW = 0.4  # of a detection with a low score
_LEAST_IOU_LAST = 0.1  # of boxes grown by half and the last observation
_GROWN = 0.5
NO_ID = 0


@dataclass(frozen=True)
class TrackSettings:
    """How tracks begin and end."""

    buffer_s: float = 1.0  # a track that was not seen for longer ends
    min_hits: int = 2  # detections until a track has an id

    def __post_init__(self) -> None:
        if not self.buffer_s > 0:
            raise ConfigError(f'track_buffer_s is {self.buffer_s}, expected a positive number')
        if self.min_hits < 1:
            raise ConfigError(f'track_min_hits is {self.min_hits}, expected at least 1')


class Tracker:
    """
    The tracks of one camera, for one thread at a time.

    Ids count from 1 and are never given twice. When time jumps back, or forward by more than the
    buffer, all tracks end.
    """

    def __init__(self, settings: TrackSettings | None = None) -> None:
        self.settings = settings or TrackSettings()
        self._last_id = NO_ID
        self.clear()

    def clear(self) -> None:
        """End all tracks; ids go on."""
        self._last_ns: int | None = None
        self._motion = Motion.start(np.empty((0, 4)))
        self._labels = np.empty(0, np.intp)
        self._ids = np.empty(0, np.int64)  # NO_ID until min_hits
        self._hits = np.empty(0, np.int64)
        self._seen_s = np.empty(0)  # since the last observation
        self._observed = np.empty((0, 4))  # the last observation, cx, cy, w, h
        self._newest = np.empty(0, bool)  # seen in the newest frame

    def update(self, detections: Detections, is_high: NDArray[np.bool_], time_ns: int
               ) -> NDArray[np.int64]:
        """
        Take the detections of the next image; return (K,) ids, NO_ID for those without.

        Detections have boxes in pixels; those that are not `is_high`, (K,), prolong tracks and
        begin none.
        """
        self._advance(time_ns)
        measured = centres_sizes(detections.boxes_xyxy.astype(np.float64))
        track_of = np.full(len(detections), -1)
        same = self._labels[:, None] == detections.labels
        overlap = same * iou_matrix(corners(self._motion.position), corners(measured))
        _pair(track_of, overlap * is_high, _LEAST_IOU)
        if not is_high.all():
            _pair(track_of, overlap * self._newest[:, None] * ~is_high, _LEAST_IOU_LOW)
        if (track_of < 0)[is_high].any() and len(self._ids):
            last = iou_matrix(corners(_grow(self._observed)), corners(_grow(measured)))
            _pair(track_of, last * same * is_high, _LEAST_IOU_LAST)
        self._observe(track_of, measured)
        begun = np.flatnonzero(is_high & (track_of < 0))
        if len(begun):
            track_of[begun] = len(self._ids) + np.arange(len(begun))
            self._begin(measured[begun], detections.labels[begun])
        self._confirm()
        # the last one is for those without a track
        ids: NDArray[np.int64] = np.append(self._ids, NO_ID)[track_of]
        self._forget()
        return ids

    def _advance(self, time_ns: int) -> None:
        seconds = 0.0 if self._last_ns is None else 1e-9 * (time_ns - self._last_ns)
        if seconds < 0 or seconds > self.settings.buffer_s:
            self.clear()
            seconds = 0.0
        self._last_ns = time_ns
        self._seen_s = self._seen_s + seconds
        self._motion.predict(seconds)

    def _observe(self, track_of: NDArray[np.intp], measured: NDArray[np.float64]) -> None:
        found = np.flatnonzero(track_of >= 0)
        rows, boxes = track_of[found], measured[found]
        gap = ~self._newest[rows] & (self._seen_s[rows] > 0)
        if gap.any():
            self._motion.restart(rows[gap], self._observed[rows[gap]], boxes[gap],
                                 self._seen_s[rows[gap]])
        self._motion.correct(rows[~gap], boxes[~gap])
        self._newest[:] = False
        self._newest[rows] = True
        self._seen_s[rows], self._observed[rows] = 0.0, boxes
        self._hits[rows] += 1

    def _begin(self, measured: NDArray[np.float64], labels: NDArray[np.intp]) -> None:
        count = len(measured)
        self._motion.append(Motion.start(measured))
        self._labels = np.concatenate([self._labels, labels])
        self._ids = np.concatenate([self._ids, np.full(count, NO_ID)])
        self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])
        self._seen_s = np.concatenate([self._seen_s, np.zeros(count)])
        self._observed = np.concatenate([self._observed, measured])
        self._newest = np.concatenate([self._newest, np.ones(count, bool)])

    def _confirm(self) -> None:
        ready = np.flatnonzero((self._ids == NO_ID) & (self._hits >= self.settings.min_hits))
        self._ids[ready] = self._last_id + 1 + np.arange(len(ready))
        self._last_id += len(ready)

    def _forget(self) -> None:
        """Drop tracks whose time is over, and those that were not seen again before their id."""
        kept = (self._seen_s <= self.settings.buffer_s) & ((self._ids != NO_ID) | self._newest)
        if not kept.all():
            self._motion.keep(kept)
            self._labels, self._ids = self._labels[kept], self._ids[kept]
            self._hits, self._seen_s = self._hits[kept], self._seen_s[kept]
            self._observed, self._newest = self._observed[kept], self._newest[kept]


def _pair(track_of: NDArray[np.intp], gain: NDArray[np.float64], least: float) -> None:
    """Pair free tracks, the rows, with free detections by their (N, K) gain, in place."""
    taken = track_of >= 0
    if taken.any():
        gain = gain * ~taken
        gain[track_of[taken]] = 0.0
    for track, found in assign(gain, least):
        track_of[found] = track


def _grow(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Enlarge cx, cy, w, h: what a jerk of the camera moved still overlaps (arXiv:2211.14317)."""
    grown: NDArray[np.float64] = boxes * np.array([1, 1, 1 + _GROWN, 1 + _GROWN])
    return grown
