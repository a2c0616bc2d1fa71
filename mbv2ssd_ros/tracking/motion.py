"""Kalman filters of boxes that move at constant velocity; all boxes at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Standard deviations in units of the box: width for x and w, height for y and h.
_MEASURED = 0.05
_ACCELERATION = 2.0  # per second squared
_FIRST_VELOCITY = 2.0  # per second


def centres_sizes(boxes_xyxy: Array) -> Array:
    """Turn (N, 4) xyxy into (N, 4) cx, cy, w, h."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def corners(states: Array) -> Array:
    """Turn (N, 4) cx, cy, w, h into (N, 4) xyxy."""
    half = states[:, 2:] / 2
    return np.concatenate([states[:, :2] - half, states[:, :2] + half], axis=1)


@dataclass
class Motion:
    """
    Position and velocity of N boxes with their covariances, as a filter for each coordinate.

    White-noise acceleration (Bar-Shalom et al., Estimation with Applications to Tracking and
    Navigation, 6.2.2); noise is in proportion to the box, as in ByteTrack (arXiv:2110.06864).
    """

    position: Array  # (N, 4) cx, cy, w, h in pixels
    velocity: Array  # (N, 4) in pixels a second
    covariance: Array  # (3, N, 4): of position, of position and velocity, of velocity

    @classmethod
    def start(cls, measured: Array) -> Motion:
        """Begin at (N, 4) cx, cy, w, h with unknown velocity."""
        size = _size(measured)
        zero = np.zeros_like(measured)
        return cls(measured.copy(), zero,
                   np.stack([(_MEASURED * size) ** 2, zero, (_FIRST_VELOCITY * size) ** 2]))

    def predict(self, dt: float) -> None:
        """Advance all boxes by a time in seconds, in place."""
        place, both, speed = self.covariance
        noise = (_ACCELERATION * _size(self.position)) ** 2
        self.position = self.position + dt * self.velocity
        self.position[:, 2:] = np.maximum(self.position[:, 2:], 1.0)
        self.covariance = np.stack([
            place + 2 * dt * both + dt ** 2 * speed + noise * dt ** 4 / 4,
            both + dt * speed + noise * dt ** 3 / 2, speed + noise * dt ** 2])

    def correct(self, rows: NDArray[np.intp], measured: Array) -> None:
        """Take (M, 4) measurements of the boxes in M rows, in place."""
        place, both, speed = self.covariance[:, rows]
        spread = place + (_MEASURED * _size(measured)) ** 2
        error = measured - self.position[rows]
        self.position[rows] += place / spread * error
        self.velocity[rows] += both / spread * error
        self.covariance[:, rows] = (
            place - place ** 2 / spread, both - place * both / spread, speed - both ** 2 / spread)

    def restart(self, rows: NDArray[np.intp], before: Array, measured: Array, seconds: Array
                ) -> None:
        """
        Bridge (M,) seconds without a measurement by a straight line, in place.

        OC-SORT (arXiv:2203.14360), section 3.2: what was predicted in between is worth less than
        the two observations, `before` and `measured`, (M, 4).
        """
        size, dt = _size(measured), seconds[:, None]
        speed = 2 * (_MEASURED * size / dt) ** 2 + (_ACCELERATION * size * dt / 2) ** 2
        self.position[rows] = measured
        self.velocity[rows] = (measured - before) / dt
        self.covariance[:, rows] = np.stack(
            [(_MEASURED * size) ** 2, np.zeros_like(size), speed])

    def keep(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> None:
        """Drop the other boxes, in place."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self.covariance = self.covariance[:, rows]

    def append(self, other: Motion) -> None:
        """Add boxes behind these, in place."""
        self.position = np.concatenate([self.position, other.position])
        self.velocity = np.concatenate([self.velocity, other.velocity])
        self.covariance = np.concatenate([self.covariance, other.covariance], axis=1)


def _size(states: Array) -> Array:
    """Return (N, 4): width, height, width, height."""
    return states[:, [2, 3, 2, 3]]
