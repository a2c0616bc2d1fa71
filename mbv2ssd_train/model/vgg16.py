"""VGG16 as SSD300 uses it (arXiv:1512.02325), `features` under torchvision's key names."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from mbv2ssd_train.model.backbone import Backbone
from mbv2ssd_train.model.layers import initialise

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
_CONV4_END = 23  # `features` before this one give the finest map
_L2_NORM_SCALE = 20.0


class L2Norm(nn.Module):
    """Scale each cell's values to one length, which is learnt for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), _L2_NORM_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape, float32."""
        x = x.float()  # squares overflow float16
        # no sqrt: its gradient is infinite where a cell is all zero
        squares = (x * x).sum(dim=1, keepdim=True)
        return x * torch.rsqrt(squares + 1e-10) * self.scale


class VGG16(Backbone):
    """Five stages of convolutions, then the first two dense layers as dilated convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, (stage_channels, repeats) in enumerate(_STAGES):
            if stage:
                # the third rounds up: 75 cells become 38
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=stage == 3))
            for _ in range(repeats):
                layers += [nn.Conv2d(channels, stage_channels, 3, padding=1),
                           nn.ReLU(inplace=True)]
                channels = stage_channels
        self.features = nn.Sequential(*layers)
        self.l2_norm = L2Norm(512)
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.channels = (512, 1024)
        initialise(partial(nn.init.kaiming_normal_, mode='fan_out', nonlinearity='relu'),
                   self.features)
        initialise_xavier(self.fc6, self.fc7)

    def blocks(self) -> list[nn.Module]:
        """Return the five stages, then fc6 and fc7 as the sixth."""
        pools = [index for index, layer in enumerate(self.features)
                 if isinstance(layer, nn.MaxPool2d)]
        stages = [self.features[begin:end]
                  for begin, end in zip([0, *pools], [*pools, None], strict=True)]
        return [*stages, nn.Sequential(self.fc6, self.fc7)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised to conv4_3, L2-normalised, at stride 8, and fc7 at stride 16."""
        conv4 = self.features[:_CONV4_END](images)
        x = self.features[_CONV4_END:](conv4)
        x = F.max_pool2d(x, 3, 1, 1)
        x = F.relu(self.fc7(F.relu(self.fc6(x))))
        return [self.l2_norm(conv4), x]


def initialise_xavier(*parts: nn.Module) -> None:
    """Draw Xavier weights, as in the paper: they keep the variance of activations."""
    initialise(nn.init.xavier_uniform_, *parts)
