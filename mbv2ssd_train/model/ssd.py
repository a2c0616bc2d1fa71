"""SSD (arXiv:1512.02325); with depthwise extras and heads SSDLite (arXiv:1801.04381, 6.2)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn, Tensor
from typing_extensions import Self

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.model import mobilenet_v2, mobilenet_v3
from mbv2ssd_train.model.backbone import Backbone, Taps
from mbv2ssd_train.model.extras import build_extras
from mbv2ssd_train.model.heads import build_heads, expect_no_object, flatten_predictions
from mbv2ssd_train.model.mobilenet_v2 import MobileNetV2
from mbv2ssd_train.model.mobilenet_v3 import initialise_normal, MobileNetV3Large
from mbv2ssd_train.model.neck import FPNLite
from mbv2ssd_train.model.vgg16 import initialise_xavier, VGG16


class SSD(nn.Module):
    """Images to raw predictions for each prior."""

    def __init__(self, config: ModelConfig, score_columns: int, sigmoid: bool = False) -> None:
        """
        Build the network with random weights.

        score_columns counts the classes, and the background where they share a softmax. Raises
        ConfigError if the input is too small for the last feature maps.
        """
        super().__init__()
        self.score_columns, self.sigmoid = score_columns, sigmoid
        self._frozen: list[nn.Module] = []  # their BatchNorms keep their statistics
        shapes = [len(level.shapes_wh) for level in config.prior_levels()]
        self.backbone = build_backbone(config)
        norm = self.backbone.norm
        channels = [*self.backbone.channels, *config.extra_channels]
        self.extras = build_extras(
            'ssd300' if config.backbone == 'vgg16' else config.extras,
            channels[config.backbone_maps - 1:], norm,
            config.stride2_padding == 'tensorflow_extras')
        self.neck: FPNLite | None = None
        if config.neck == 'fpn_lite':
            self.neck = FPNLite(self.backbone.channels, config.neck_channels, norm)
            channels[:config.backbone_maps] = self.neck.channels
        self.loc_heads = build_heads(config.head, channels, [4 * a for a in shapes], norm)
        self.conf_heads = build_heads(
            config.head, channels, [score_columns * a for a in shapes], norm)
        initialise = initialise_xavier if config.backbone == 'vgg16' else initialise_normal
        initialise(self.extras, self.loc_heads, self.conf_heads, *filter(None, [self.neck]))
        if sigmoid:
            expect_no_object(self.conf_heads)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised to loc (B, P, 4) and conf_logits (B, P, C)."""
        maps = self.backbone(images)
        last = maps[-1]
        if self.neck is not None:
            maps = self.neck(maps)
        for extra in self.extras:
            last = extra(last)
            maps.append(last)
        return (flatten_predictions(self.loc_heads, maps, 4),
                flatten_predictions(self.conf_heads, maps, self.score_columns))

    def freeze(self, blocks: int, batch_norm: bool) -> None:
        """
        Freeze the first `blocks` of the backbone: layers `features.*`, or the stages 1-6 of VGG16.

        With batch_norm, BatchNorms of the whole backbone keep their statistics; their scales and
        shifts learn, unless their block is frozen. ConfigError: the backbone has fewer blocks.
        """
        known = self.backbone.blocks()
        if not 0 <= blocks <= len(known):
            raise ConfigError(f'training.freeze_blocks is {blocks}; the backbone '
                              f'{type(self.backbone).__name__} has {len(known)} blocks')
        self.backbone.requires_grad_(True)  # undo an earlier freeze
        for block in known[:blocks]:
            block.requires_grad_(False)
        # frozen layers keep their statistics too
        self._frozen = [self.backbone] if batch_norm else known[:blocks]
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen BatchNorms stay in evaluation."""
        super().train(mode)
        for part in self._frozen:
            for module in part.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def build_backbone(config: ModelConfig) -> Backbone:
    """Build the backbone of a configuration, with random weights."""
    builders: dict[str, Callable[[], Backbone]] = {
        'mobilenet_v2': lambda: MobileNetV2(
            config.width_mult, config.stride2_padding != 'torch', config.min_depth,
            _taps(config, mobilenet_v2.TAPS_OF_STRIDE)),
        'mobilenet_v3_large': lambda: MobileNetV3Large(
            config.width_mult, config.reduced_tail, config.min_depth,
            _taps(config, mobilenet_v3.TAPS_OF_STRIDE)),
        'vgg16': VGG16}
    return builders[config.backbone]()


def _taps(config: ModelConfig, blocks: dict[int, tuple[int, ...]]) -> Taps:
    return Taps(blocks[config.first_stride], config.taps == 'expansion')
