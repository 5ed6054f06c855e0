"""ResNet backbones (He et al., CVPR 2016) under torchvision's names, without its pooling and classifier."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

Stride = Literal["pytorch", "caffe"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(x)) + shortcut)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut (ResNet-50 and deeper).

    `stride_on` names the convolution that strides: "pytorch" the 3x3 (torchvision), "caffe" the first 1x1 (original).
    Both have the same state dict, so weights of one load silently wrong into the other.
    """

    expansion = 4

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        stride_on: Stride = "pytorch",
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "caffe" else (1, stride)
        self.conv1 = nn.Conv2d(channels_in, channels, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return out


_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class ResNet(nn.Module):
    """ResNet of a given depth and width.

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: channels of the first stage; 64 is the published network.
        stride_on: where bottlenecks stride, see `Bottleneck`.
    """

    def __init__(self, depth: int = 50, width: int = 64, stride_on: Stride = "pytorch") -> None:
        super().__init__()
        self._stride_on: Stride = stride_on
        self._basic = depth < 50
        self._channels = width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        blocks = _STAGES[depth]
        self.layer1 = self._stage(width, blocks[0], 1)
        self.layer2 = self._stage(2 * width, blocks[1], 2)
        self.layer3 = self._stage(4 * width, blocks[2], 2)
        self.layer4 = self._stage(8 * width, blocks[3], 2)

    @property
    def out_channels(self) -> int:
        """Channels of the last stage's map."""
        return self._channels

    def _stage(self, channels: int, blocks: int, stride: int) -> nn.Sequential:
        expansion = BasicBlock.expansion if self._basic else Bottleneck.expansion
        downsample = None
        if stride != 1 or self._channels != channels * expansion:
            downsample = nn.Sequential(
                nn.Conv2d(self._channels, channels * expansion, 1, stride, bias=False),
                nn.BatchNorm2d(channels * expansion),
            )
        layers: list[nn.Module] = []
        for number in range(blocks):
            first = number == 0
            step, shortcut = (stride, downsample) if first else (1, None)
            if self._basic:
                layers.append(BasicBlock(self._channels, channels, step, shortcut))
            else:
                layers.append(Bottleneck(self._channels, channels, step, shortcut, self._stride_on))
            self._channels = channels * expansion
        return nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h32 w32"]:
        """Normalised images to the last stage's feature map, at 1/32 of their size."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        out: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return out
