"""The four forms of CCNet's branch, what they read, and features read at the keypoints.

Each form has two parts: `condense` keeps of a batch what the trained layers read, which is small and the same in every
epoch; `forward` turns that into numbers for each keypoint: logits of confidence and visibility, three for losses that
learn a variance or evidence, and a presence's logit where the branch has one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from calibration.ccnet.feature_parts import MOST_LOCAL_CHANNELS, FeatureParts
from calibration.ccnet.features import PEAK_STATISTICS
from calibration.ccnet.options import Head

EXTRA = 3
"""Outputs per keypoint beside confidence, visibility and presence."""


@dataclass(frozen=True)
class BranchInputs:
    """What a branch may read of a batch; all from the frozen network's output and the box.

    Attributes:
        feature: what is known of the penultimate feature.
        raw_score: of each keypoint.
        xy_fraction: keypoints as fractions of the crop.
        statistics: of each heatmap's peak (`calibration.ccnet.features.peak_statistics`).
        box: logarithms of the box's width and height in image pixels.
    """

    feature: FeatureParts
    raw_score: Float[Tensor, "b k"]
    xy_fraction: Float[Tensor, "b k 2"]
    statistics: Float[Tensor, "b k s"]
    box: Float[Tensor, "b 2"]

    def __len__(self) -> int:
        return len(self.raw_score)


class Standard(nn.Module):
    """Subtracts a mean and divides by a spread that it took from its first input after being armed."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.armed = False

    def forward(self, x: Tensor) -> Tensor:
        if self.armed:
            flat = x.flatten(0, -2)
            self.mean.copy_(flat.mean(dim=0))
            self.std.copy_(flat.std(dim=0, correction=0).clamp_min(1e-3))
            self.armed = False
        return ((x - self.mean) / self.std).clamp(-6.0, 6.0)


@dataclass(frozen=True)
class BranchShape:
    """What a branch reads and how much it outputs.

    Attributes:
        channels: of the penultimate feature.
        feature_is_map: whether that is a map rather than a vector.
        keypoints: of the skeleton.
        outputs: for each keypoint.
    """

    channels: int
    feature_is_map: bool
    keypoints: int
    outputs: int


class Branch(nn.Module, ABC):
    """One form of the branch; `forward` maps condensed inputs to outputs (b, keypoints, outputs).

    Args:
        shape: of inputs and outputs.
    """

    in_half: ClassVar[frozenset[int]] = frozenset()
    """Which of the condensed inputs are large: training keeps these as half floats, as a feature cache does."""

    def __init__(self, shape: BranchShape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        """What of the inputs `forward` reads; small, and the same in every epoch."""

    def per_keypoint(self, outputs: Float[Tensor, "b ko"]) -> Float[Tensor, "b k o"]:
        """A layer's outputs by keypoint."""
        result: Tensor = outputs.unflatten(1, (self.shape.keypoints, self.shape.outputs))
        return result


class _Linear(Branch):
    """Global average pooling, one linear layer (the paper's supplement, B)."""

    def __init__(self, shape: BranchShape) -> None:
        super().__init__(shape)
        self.standard = Standard(shape.channels)
        self.linear = nn.Linear(shape.channels, shape.outputs * shape.keypoints)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        return (inputs.feature.mean(),)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.per_keypoint(self.linear(self.standard(pooled)))


class _Convolutional(Branch):
    """Average pooling, 1x1 to 16 and 64 channels, two 3x3 of 64, global average pooling, one linear layer.

    0.077 to 0.081 M parameters for the published features of 32 to 256 channels. Of a vector it makes a 1x1 map.
    """

    in_half = frozenset((0,))

    def __init__(self, shape: BranchShape) -> None:
        super().__init__(shape)
        self.standard = Standard(shape.channels)
        self.layers = nn.Sequential(
            nn.Conv2d(shape.channels, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 64, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.linear = nn.Linear(64, shape.outputs * shape.keypoints)

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        return (inputs.feature.coarse(),)

    def forward(self, feature: Tensor) -> Tensor:
        feature = self.standard(feature.float().movedim(1, -1)).movedim(-1, 1)
        return self.per_keypoint(self.linear(self.layers(feature).mean(dim=(2, 3))))


class _Scores(Branch):
    """The control: a perceptron on the raw scores."""

    def __init__(self, shape: BranchShape) -> None:
        super().__init__(shape)
        self.standard = Standard(shape.keypoints)
        self.layers = nn.Sequential(
            nn.Linear(shape.keypoints, 64),
            nn.GELU(),
            nn.Linear(64, 64),
            nn.GELU(),
            nn.Linear(64, shape.outputs * shape.keypoints),
        )

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        return (inputs.raw_score,)

    def forward(self, raw_score: Tensor) -> Tensor:
        return self.per_keypoint(self.layers(self.standard(raw_score)))


class _Local(Branch):
    """Features at each keypoint, its peak, its place and the box's size; one code for the whole person beside."""

    in_half = frozenset((2,))
    local_channels = 8
    code = 16
    hidden = 32
    dropout = 0.4

    def __init__(self, shape: BranchShape) -> None:
        super().__init__(shape)
        channels, keypoints, outputs = shape.channels, shape.keypoints, shape.outputs
        own = 1 + PEAK_STATISTICS + 2 + 1
        # So that three members stay at 0.08 M parameters, wide features get one number per keypoint, and those of
        # regression networks (2048 channels and more, where nothing is local) a narrow code alone.
        local_channels = self.local_channels if channels <= 64 else 1
        hidden = self.hidden if channels <= 512 else max(16384 // channels, 4)
        self._is_map = shape.feature_is_map and channels <= MOST_LOCAL_CHANNELS
        whole = channels + keypoints * (1 + PEAK_STATISTICS + 2) + 2
        self.whole_standard = Standard(whole)
        self.own_standard = Standard(own)
        self.whole = nn.Sequential(
            nn.Linear(whole, hidden),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(hidden, self.code),
            nn.GELU(),
        )
        self.names = nn.Parameter(0.1 * torch.randn(keypoints, 8))
        width = own + self.code + 8
        if self._is_map:
            self.local_standard = Standard(2 * channels)
            self.local = nn.Parameter(torch.randn(keypoints, 2 * channels, local_channels) / (2 * channels) ** 0.5)
            width += local_channels
        self.head = nn.Sequential(
            nn.Linear(width, self.hidden), nn.GELU(), nn.Dropout(self.dropout), nn.Linear(self.hidden, outputs)
        )
        self.bias = nn.Parameter(torch.zeros(keypoints, outputs))

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        score, xy, peak = inputs.raw_score[..., None], inputs.xy_fraction, inputs.statistics
        person = torch.cat([inputs.feature.mean(), score.flatten(1), peak.flatten(1), xy.flatten(1), inputs.box], 1)
        border = torch.minimum(xy, 1.0 - xy).amin(dim=-1, keepdim=True)
        own = torch.cat([score, peak, xy, border], dim=-1)
        return (person, own, inputs.feature.at_keypoints(xy)) if self._is_map else (person, own)

    def forward(self, person: Tensor, own: Tensor, local: Tensor | None = None) -> Tensor:
        code = self.whole(self.whole_standard(person))
        nothing = 0.0 * own[..., :1]  # brings both to (b, k, .); sizes would be constants in an exported graph
        parts = [
            self.own_standard(own),
            code[:, None] + nothing,
            self.names + nothing,
        ]
        if local is not None:
            local = self.local_standard(local.float())
            parts.append(functional.gelu(torch.einsum("bkc,kcd->bkd", local, self.local)))
        result: Tensor = self.head(torch.cat(parts, dim=-1)) + self.bias
        return result


BRANCHES: dict[Head, type[Branch]] = {
    "linear": _Linear,
    "conv": _Convolutional,
    "local": _Local,
    "scores": _Scores,
}
"""Forms of the branch by name."""
HEADS: tuple[Head, ...] = tuple(BRANCHES)
