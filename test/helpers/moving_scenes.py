"""Sequences of moving boxes with known identities, and what a detector would find of them."""

from dataclasses import dataclass

import numpy as np

from mbv2ssd_ros.core.detections import Detections

SIZE_WH = (640, 480)
HIGH, LOW = 0.35, 0.1


@dataclass(frozen=True)
class Seen:
    """One frame that arrived: detections best first, and the object of each (-1: none)."""

    time_ns: int
    detections: Detections
    objects: np.ndarray
    truth: dict[int, np.ndarray]  # object -> its box xyxy, all that are in the picture

    @property
    def is_high(self):
        """Which detections are above the score threshold."""
        return self.detections.scores > HIGH


def moving_scene(seed, seconds=12.0, rate_hz=15.0, objects=8, jerks=2, lost_frames=0.1):
    """
    Draw a scene in which objects cross, are hidden for up to a second, and the camera jerks.

    Objects move in straight lines with slowly changing velocity and bounce off the borders. Boxes
    have noise of 3 % of their size; 3 % of the detections are missed and as many are false; what
    is half hidden has a low score, what is hidden is not found. A share of the frames is lost.
    """
    rng = np.random.default_rng(seed)
    size = rng.uniform(40, 110, (objects, 2))
    centre = rng.uniform(size, np.array(SIZE_WH) - size)
    speed = rng.uniform(-90, 90, (objects, 2))
    depth = rng.permutation(objects)  # the smallest is in front
    labels = rng.integers(1, 3, objects)
    hidden = [(rng.uniform(1, seconds - 2), rng.uniform(0.3, 1.0)) for _ in range(objects)]
    jerk_at = rng.uniform(1, seconds - 1, jerks)
    shift, frames, dt = np.zeros(2), [], 1 / rate_hz
    for step in range(int(seconds * rate_hz)):
        now = step * dt
        speed = speed + rng.normal(0, 40 * np.sqrt(dt), speed.shape)
        centre = centre + speed * dt
        out = (centre < size / 2) | (centre > np.array(SIZE_WH) - size / 2)
        speed = np.where(out, np.sign(np.array(SIZE_WH) / 2 - centre) * np.abs(speed), speed)
        if np.any((jerk_at >= now - dt) & (jerk_at < now)):
            shift = shift + rng.uniform(-25, 25, 2)
        boxes = np.concatenate([centre - size / 2, centre + size / 2], 1) + np.tile(shift, 2)
        seen = [number for number in range(objects)
                if not hidden[number][0] < now < sum(hidden[number])]
        if rng.random() >= lost_frames:
            frames.append(_detect(rng, round(1e9 * (now + 100)), boxes, seen, depth, labels))
    return frames


def _detect(rng, time_ns, boxes, seen, depth, labels):
    found = []
    for number in seen:
        covered = max((_covered(boxes[number], boxes[other]) for other in seen
                       if depth[other] < depth[number]), default=0.0)
        if covered > 0.7 or rng.random() < 0.03:
            continue
        score = rng.uniform(0.5, 0.95) if covered < 0.4 else rng.uniform(LOW, HIGH)
        size = boxes[number][2:] - boxes[number][:2]
        noise = rng.normal(0, 0.03, 4) * np.tile(size, 2)
        found.append((score, number, labels[number], boxes[number] + noise))
    for _ in range(rng.binomial(len(seen), 0.03)):
        corner, size = rng.uniform(0, 500, 2), rng.uniform(30, 90, 2)
        found.append((rng.uniform(LOW, 0.6), -1, rng.integers(1, 3), [*corner, *(corner + size)]))
    found.sort(key=lambda one: -one[0])
    scores, objects, kinds, corners = zip(*found) if found else ((), (), (), ())
    return Seen(time_ns, Detections(
        np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array(kinds, np.intp)), np.array(objects, int), {n: boxes[n] for n in seen})


def _covered(box, other):
    """Return the share of `box` that `other` covers."""
    width, height = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    area = np.prod(box[2:] - box[:2])
    return max(width, 0) * max(height, 0) / area


class GreedyTracker:
    """The baseline: each detection takes the track of its class with the largest IoU."""

    def __init__(self, least=0.2, buffer_s=1.0):
        self._least, self._buffer_s, self._last, self._next = least, buffer_s, {}, 1

    def update(self, detections, is_high, time_ns):
        ids = np.zeros(len(detections), int)
        self._last = {key: one for key, one in self._last.items()
                      if time_ns - one[2] <= 1e9 * self._buffer_s}
        free = set(self._last)
        for place in np.flatnonzero(is_high):
            box, label = detections.boxes_xyxy[place], detections.labels[place]
            best = max((key for key in free if self._last[key][1] == label),
                       key=lambda key: iou(self._last[key][0], box), default=None)
            if best is None or iou(self._last[best][0], box) <= self._least:
                best, self._next = self._next, self._next + 1
            free.discard(best)
            ids[place] = best
            self._last[best] = (box, label, time_ns)
        return ids


def iou(first, second):
    """IoU of two boxes, in plain numbers."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / (areas - shared)


def id_switches(frames, all_ids):
    """Count how often an object has another id than when it last had one."""
    last, switches = {}, 0
    for frame, ids in zip(frames, all_ids):
        for number, track in zip(frame.objects, ids):
            if number >= 0 and track:
                switches += last.get(number, track) != track
                last[number] = track
    return switches
