"""RLE (Li et al., ICCV 2021): coordinates and their spread by direct regression, trained with a learned density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pose2d.networks.base import IMAGENET_MEAN, IMAGENET_STD, InputSpec, NetworkOutput, TorchPoseNetwork
from pose2d.networks.flow import RealNVP
from pose2d.networks.hrnet import HRNetBackbone
from pose2d.networks.regression import RegressionPrediction, average, decode_regression, mirror_back
from pose2d.networks.resnet import Bottleneck, ResNet

RLE_INPUT = InputSpec(mean=(0.406, 0.457, 0.480), std=(1.0, 1.0, 1.0))
"""The official code subtracts these means (not ImageNet's) from RGB, and divides by nothing."""


class NormedLinear(nn.Module):
    """A linear layer whose product with the input, before the bias, is divided by the input's length.

    Args:
        channels_in: of the feature.
        channels: of the output.
        normed: divide by the input's length.
    """

    def __init__(self, channels_in: int, channels: int, normed: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, channels)
        nn.init.xavier_uniform_(self.linear.weight, gain=0.01)
        self.normed = normed

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b d"]:
        product = x @ self.linear.weight.t()
        if self.normed:
            product = product / x.norm(dim=-1, keepdim=True)
        return product + self.linear.bias


class HRNetClassifierBackbone(HRNetBackbone):
    """HRNet with the head of the authors' image classification network (HRNet-W*-C), up to its 2048 channels.

    The parameters of the paper's table 2 (39.3 M and 75.6 M) tell that this is the backbone that RLE takes.

    Args:
        width: 32 or 48.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, all_scales=True)
        head = (32, 64, 128, 256)
        self.incre_modules = nn.ModuleList(
            nn.Sequential(_widening(channels, planes)) for channels, planes in zip(self.channels, head, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4 * planes, 8 * planes, 3, 2, 1), nn.BatchNorm2d(8 * planes), nn.ReLU(inplace=True))
            for planes in head[:3]
        )
        self.final_layer = nn.Sequential(nn.Conv2d(1024, 2048, 1), nn.BatchNorm2d(2048), nn.ReLU(inplace=True))
        self.out_channels = 2048

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048 h32 w32"]:  # type: ignore[override]
        """The feature map at 1/32 of the images' size."""
        maps = super().forward(images)
        x = self.incre_modules[0](maps[0])
        for down, widen, finer in zip(self.downsamp_modules, self.incre_modules[1:], maps[1:], strict=True):
            x = widen(finer) + down(x)
        out: Tensor = self.final_layer(x)
        return out


def _widening(channels: int, planes: int) -> Bottleneck:
    shortcut = nn.Sequential(nn.Conv2d(channels, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes))
    return Bottleneck(channels, planes, 1, shortcut)


class RLE(TorchPoseNetwork):
    """Regression network under the official state-dict names (``preact``, ``fc_coord``, ``fc_sigma``, ``flow``).

    Args:
        backbone: a :class:`ResNet` or :class:`HRNetClassifierBackbone`.
        num_keypoints: keypoints.
        input_spec: how the input is made.
    """

    instance_score = "mean-and-maximum"
    last_entry = "fc_coord.linear.bias"

    def __init__(
        self, backbone: ResNet | HRNetClassifierBackbone, num_keypoints: int = 17, input_spec: InputSpec = RLE_INPUT
    ) -> None:
        super().__init__()
        self.num_keypoints = num_keypoints
        self.input_spec = input_spec
        self.preact = backbone
        self.fc_coord = NormedLinear(backbone.out_channels, 2 * num_keypoints, normed=True)
        self.fc_sigma = NormedLinear(backbone.out_channels, 2 * num_keypoints, normed=False)
        self.flow = RealNVP()
        self._origin = 0.5

    def adopt_layout(self, layout: str) -> None:
        """mmpose's RLE has ImageNet's statistics, no division by the feature's length, and coordinates that begin at
        the crop's corner instead of its middle."""
        if layout != "RLE (mmpose)":
            return
        self.input_spec = replace(self.input_spec, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        self.fc_coord.normed = False
        self._origin = 0.0

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> RegressionPrediction:
        """Coordinates, spreads (sigmoid) and scores, one minus the mean spread (equation 3); the backbone's map."""
        feature = self.preact(images)
        pooled = feature.mean((2, 3))
        xy = self.fc_coord(pooled).unflatten(1, (self.num_keypoints, 2)) + self._origin
        sigma = torch.sigmoid(self.fc_sigma(pooled)).unflatten(1, (self.num_keypoints, 2))
        return RegressionPrediction(xy, sigma, 1.0 - sigma.mean(dim=-1), feature)

    def loss(
        self, raw: RegressionPrediction, xy: Float[Tensor, "b k 2"], weight: Float[Tensor, "b k"]
    ) -> Float[Tensor, ""]:
        """Negative log-likelihood of true keypoints, summed over keypoints and axes, mean over the batch.

        The density of the normalised error is the flow's times a base density, as in the official code's residual
        form (whose base takes |error| / (sqrt(2) sigma)).

        Args:
            raw: prediction.
            xy: true keypoints as fractions of the crop's width and height.
            weight: one for keypoints that count, zero for others.
        """
        assert raw.sigma is not None
        error = raw.xy - xy
        flow = self.flow.log_prob((error / raw.sigma).flatten(0, 1)).view(*error.shape[:2], 1)
        base = torch.log(raw.sigma * math.sqrt(2.0 * math.pi)) + error.abs() / (math.sqrt(2.0) * raw.sigma + 1e-9)
        return ((torch.log(raw.sigma) - flow + base) * weight[..., None]).sum() / len(weight)

    def average_flipped(
        self, raw: RegressionPrediction, flipped: RegressionPrediction, flip_pairs: Sequence[tuple[int, int]]
    ) -> RegressionPrediction:
        """The flip test: means with the mirrored prediction mirrored back."""
        return average(raw, mirror_back(flipped, flip_pairs, 1.0 / self.input_spec.size_wh[0]))

    def decode(self, raw: RegressionPrediction) -> NetworkOutput:
        """Coordinates and spreads in crop pixels."""
        return decode_regression(raw, self.input_spec)
