"""The configuration of augmentation."""

from __future__ import annotations

from pydantic import Field

from mbv2ssd_train.config.section import Section, Share, Side


class AugmentConfig(Section):
    """SSD's augmentation (arXiv:1512.02325, section 2.2); 0 switches a step off."""

    flip: float = Field(0.5, ge=0, le=1, description='share of images mirrored')
    expand: float = Field(0.5, ge=0, le=1, description='share of images zoomed out')
    expand_max: float = Field(4.0, ge=1, description='largest side of expand, in image sides')
    crop: float = Field(0.857, ge=0, le=1, description='share of images cropped; SSD: 6 of 7')
    crop_min_scale: float = Field(0.3, gt=0, le=1, description='smallest side of a crop')
    crop_ious: tuple[Share, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9, 0.0), min_length=1,
        description='minimum IoU of a crop with an object; one value is drawn for each crop')
    brightness: float = Field(0.125, ge=0, le=1, description='largest change, as a share of white')
    contrast: float = Field(0.5, ge=0, le=1, description='largest relative change')
    saturation: float = Field(0.5, ge=0, le=1, description='largest relative change')
    hue_degrees: float = Field(18.0, ge=0, le=180, description='largest rotation of the hue')
    photometric: float = Field(0.5, ge=0, le=1, description='probability of each colour change')
    input_sizes_hw: tuple[tuple[Side, Side], ...] = Field(
        (), description='input sizes of multi-scale training, one drawn for each batch; empty: '
        'always model.input_size_hw')
    plain_fraction: Share = Field(
        0.0, description='share of epochs at the end in which images are only flipped, for long '
        'runs with strong augmentation')
    min_box_px: float = Field(
        2.0, ge=0, description='boxes with a smaller side are dropped; pixels of the network '
        'input')

    def in_epoch(self, epoch: int, epochs: int) -> AugmentConfig:
        """Return the augmentation of a 0-based epoch."""
        if epoch < epochs - round(epochs * self.plain_fraction):
            return self
        return self.model_copy(update={'expand': 0.0, 'crop': 0.0, 'photometric': 0.0})
