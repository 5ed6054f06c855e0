"""IPR, integral pose regression (Sun et al., ECCV 2018): coordinates as the expectation under a softmaxed heatmap.

The 2D network for COCO is mmpose's: the trunk of SBL, a softmax over each map, and optionally the debiasing of
Gu et al. (ICCV 2021). mmpose writes a score of one for every keypoint; here the score is the maximum of the softmaxed
map, which says something of the keypoint. These are the rows "const." and "Hm" of table 2 in "On the Calibration of
Human Pose Estimation". A softmaxed map sums to one, so its maximum is at most one and shows how wide it is: 1 / (2 pi
sigma^2) of a Gaussian of sigma cells. The network's own spread is the standard deviation under the softmax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pose2d.decoding import soft_argmax, unflip_heatmaps
from pose2d.networks.base import InputSpec, NetworkOutput, TorchPoseNetwork, flip_permutation
from pose2d.networks.regression import RegressionPrediction, average, decode_regression, mirror_back
from pose2d.networks.sbl import SBL

IPR_INPUT = InputSpec(size_wh=(256, 256), flip_shift=False)
"""mmpose's input; the flip test shifts coordinates by one input pixel, and the maps not at all."""


@dataclass(frozen=True)
class IntegralPrediction(RegressionPrediction):
    """A :class:`RegressionPrediction` with the maps that it is the expectation of.

    Attributes:
        probabilities: the softmaxed maps; each sums to one.
    """

    probabilities: Float[Tensor, "b k h w"]


class IPR(TorchPoseNetwork):
    """Integral regression on an SBL trunk.

    Args:
        trunk: gives the maps before the softmax.
        debias: remove the softmax's pull towards the middle.
        beta: factor on the maps.
        score: "maximum" of the softmaxed map, or "constant", mmpose's score of one.
    """

    last_entry = "trunk.final_layer.bias"

    def __init__(
        self,
        trunk: SBL,
        debias: bool = False,
        beta: float = 1.0,
        score: Literal["maximum", "constant"] = "maximum",
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.num_keypoints = trunk.num_keypoints
        self.input_spec: InputSpec = trunk.input_spec
        self.debias = debias
        self.beta = beta
        self.score = score
        self.cell_px = trunk.cell_px

    @property
    def output_choices(self) -> Mapping[str, str]:
        """Which score is given."""
        return {"score": self.score}

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> IntegralPrediction:
        """Coordinates, the spread under the softmax, scores, the trunk's penultimate map."""
        maps = self.trunk(images)
        xy, probabilities = soft_argmax(maps.heatmaps, self.beta, self.debias)
        return IntegralPrediction(xy, _spread(probabilities), self._scores(probabilities), maps.feature, probabilities)

    def _scores(self, probabilities: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k"]:
        maxima = probabilities.amax(dim=(2, 3))
        return maxima if self.score == "maximum" else torch.ones_like(maxima)

    def average_flipped(
        self, raw: IntegralPrediction, flipped: IntegralPrediction, flip_pairs: Sequence[tuple[int, int]]
    ) -> IntegralPrediction:
        """The flip test: means with the mirrored prediction mirrored back, of coordinates and of maps.

        The score is that of the averaged map, as in networks that give heatmaps.
        """
        mean = average(raw, mirror_back(flipped, flip_pairs, 1.0 / self.input_spec.size_wh[0]))
        order = flip_permutation(self.num_keypoints, flip_pairs)
        maps = unflip_heatmaps(flipped.probabilities, order, self.input_spec.flip_shift)
        maps = 0.5 * (raw.probabilities + maps)
        return replace(raw, xy=mean.xy, sigma=mean.sigma, score=self._scores(maps), probabilities=maps)

    def decode(self, raw: IntegralPrediction) -> NetworkOutput:
        """Coordinates and spreads in crop pixels; the maps are the softmaxed ones."""
        return replace(decode_regression(raw, self.input_spec), heatmaps=raw.probabilities)


def _spread(probabilities: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k 2"]:
    """Standard deviation on each axis, as fractions of the map's width and height."""
    deviations = []
    for marginal in (probabilities.sum(2), probabilities.sum(3)):
        cells = marginal.shape[-1]
        at = torch.arange(cells, device=marginal.device, dtype=marginal.dtype) / cells
        mean = (marginal * at).sum(-1, keepdim=True)
        deviations.append((marginal * (at - mean) ** 2).sum(-1).sqrt())
    return torch.stack(deviations, dim=-1)
