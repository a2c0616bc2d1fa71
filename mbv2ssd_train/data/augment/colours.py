"""Photometric changes of SSD's augmentation, as one matrix for each image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_train.config import AugmentConfig

_LUMA = np.array([0.299, 0.587, 0.114])  # of RGB

Floats = NDArray[np.float64]


def colour_changes(config: AugmentConfig, amounts: Floats, chances: Floats
                   ) -> NDArray[np.float32]:
    """
    Draw changes of brightness, contrast, saturation and hue: (B, 3, 4), [RGB 1] to RGB of 0-255.

    All four are linear in the colour, so they multiply into one matrix. amounts and chances are
    (B, 4) in [0, 1): how much, from most down to most up, and whether at all.
    """
    strengths = np.array([config.brightness, config.contrast, config.saturation,
                          config.hue_degrees])
    chosen = chances < config.photometric
    brightness, contrast, saturation, hue = (
        (2 * amounts - 1) * strengths * chosen).T[..., None, None]
    grey = (1 + saturation) * np.eye(3) - saturation * np.tile(_LUMA, (3, 1))
    colours = grey @ _hue_turns(hue) * (1 + contrast)
    shift = np.broadcast_to(255 * brightness, (len(amounts), 3, 1))
    return np.concatenate([colours, shift], axis=2).astype(np.float32)


def _hue_turns(degrees: Floats) -> Floats:
    """Rotate colours about the grey axis (Rodrigues' formula); (B, 1, 1) to (B, 3, 3)."""
    angle, axis = np.deg2rad(degrees), np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (np.cos(angle) * np.eye(3) + np.sin(angle) * cross
            + (1 - np.cos(angle)) * np.outer(axis, axis))
