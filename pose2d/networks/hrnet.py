"""HRNet (Sun et al., CVPR 2019): parallel branches of four resolutions that exchange features all the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pose2d.networks.base import InputSpec
from pose2d.networks.heatmap import HeatmapNetwork, HeatmapPrediction
from pose2d.networks.resnet import BasicBlock, Bottleneck

HRNET_INPUT = InputSpec(colour="rgb")
_BLOCKS = 4
_MODULES = {2: 1, 3: 4, 4: 3}


def _conv_bn(channels_in: int, channels: int, kernel: int, stride: int, *after: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), *after)


def _fusion(source: int, target: int, channels: Sequence[int]) -> nn.Module:
    """From the branch ``source`` to the resolution and channels of the branch ``target``."""
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return _conv_bn(channels[source], channels[target], 1, 1, up)
    steps = [_conv_bn(channels[source], channels[source], 3, 2, nn.ReLU(inplace=True)) for _ in range(target - source)]
    steps[-1] = _conv_bn(channels[source], channels[target], 3, 2)
    return nn.Sequential(*steps)


class ExchangeModule(nn.Module):
    """Four residual blocks a branch, then every output sums all branches.

    Args:
        channels: of each branch, from the finest.
        outputs: how many branches are put out, from the finest.
    """

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c, c) for _ in range(_BLOCKS))) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_fusion(source, target, channels) for source in range(len(channels)))
            for target in range(outputs)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for layers in self.fuse_layers:
            assert isinstance(layers, nn.ModuleList)
            total = layers[0](maps[0])
            for layer, x in zip(layers[1:], maps[1:], strict=True):
                total = total + layer(x)
            fused.append(torch.relu(total))
        return fused


class HRNetBackbone(nn.Module):
    """The four-branch network under the official state-dict names, without a head.

    Args:
        width: channels of the finest branch (32 or 48); the others have 2, 4 and 8 times as many.
        all_scales: put out all four branches, as classification and regression need, or the finest only (pose_hrnet).
    """

    def __init__(self, width: int = 32, all_scales: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        shortcut = nn.Sequential(nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256))
        self.layer1 = nn.Sequential(Bottleneck(64, 64, 1, shortcut), *(Bottleneck(256, 64) for _ in range(3)))
        self.channels = tuple(width * 2**branch for branch in range(4))
        self.transition1 = self._transition([256], self.channels[:2])
        self.stage2 = self._stage(2, 2)
        self.transition2 = self._transition(self.channels[:2], self.channels[:3])
        self.stage3 = self._stage(3, 3)
        self.transition3 = self._transition(self.channels[:3], self.channels[:4])
        self.stage4 = self._stage(4, 4 if all_scales else 1)

    def _transition(self, before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
        """From the branches ``before`` to those ``after``, which has one more, grown from the coarsest."""
        layers: list[nn.Module] = []
        for channels_in, channels in zip(before, after, strict=False):
            same = channels_in == channels
            layers.append(nn.Identity() if same else _conv_bn(channels_in, channels, 3, 1, nn.ReLU(inplace=True)))
        layers.append(nn.Sequential(_conv_bn(before[-1], after[-1], 3, 2, nn.ReLU(inplace=True))))
        return nn.ModuleList(layers)

    def _stage(self, branches: int, outputs: int) -> nn.Sequential:
        channels = self.channels[:branches]
        modules = [ExchangeModule(channels, branches) for _ in range(_MODULES[branches] - 1)]
        return nn.Sequential(*modules, ExchangeModule(channels, outputs))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Feature maps at 1/4 of the images' size, and at 1/8, 1/16 and 1/32 with ``all_scales``."""
        x = torch.relu(self.bn1(self.conv1(images)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        maps = [x]
        for transition, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            maps = stage([layer(maps[min(b, len(maps) - 1)]) for b, layer in enumerate(transition)])
        return maps


class HRNet(HeatmapNetwork):
    """Heatmap network with the state dict of the official ``pose_hrnet``, ``backbone.`` before all but the head.

    Args:
        width: 32 or 48.
        num_keypoints: heatmaps.
        input_spec: how the input is made.
    """

    def __init__(self, width: int = 32, num_keypoints: int = 17, input_spec: InputSpec = HRNET_INPUT) -> None:
        super().__init__(num_keypoints, input_spec)
        self.backbone = HRNetBackbone(width)
        self.final_layer = nn.Conv2d(width, num_keypoints, 1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> HeatmapPrediction:
        """Heatmaps and the finest branch before them, both at a quarter of the images' size."""
        feature = self.backbone(images)[0]
        return HeatmapPrediction(self.final_layer(feature), feature)
