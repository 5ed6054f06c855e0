"""What the regression families share: the raw prediction and its flip test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pose2d.networks.base import InputSpec, NetworkOutput, flip_permutation


@dataclass(frozen=True)
class RegressionPrediction:
    """A regression network's raw prediction.

    Attributes:
        xy: keypoints as fractions of the crop's width and height: crop pixel = fraction times W or H.
        sigma: spread on each axis, likewise as fractions; None where the family has none.
        score: the network's own score of each keypoint.
        feature: the penultimate feature.
    """

    xy: Float[Tensor, "b k 2"]
    sigma: Float[Tensor, "b k 2"] | None
    score: Float[Tensor, "b k"]
    feature: Float[Tensor, "b c h w"] | Float[Tensor, "b c"]


def mirror_back(raw: RegressionPrediction, flip_pairs: Sequence[tuple[int, int]], shift: float) -> RegressionPrediction:
    """The prediction for mirrored images in the frame of the images.

    Args:
        raw: prediction for mirrored images.
        flip_pairs: pairs of mirrored keypoints.
        shift: a mirrored fraction x is at ``1 - shift - x``; 1 / W is exact for pixel centres at whole numbers.
    """
    order = flip_permutation(raw.xy.shape[1], flip_pairs)
    x = 1.0 - shift - raw.xy[:, order, 0]
    return RegressionPrediction(
        torch.stack([x, raw.xy[:, order, 1]], dim=-1),
        None if raw.sigma is None else raw.sigma[:, order],
        raw.score[:, order],
        raw.feature,
    )


def average(a: RegressionPrediction, b: RegressionPrediction) -> RegressionPrediction:
    """Means of coordinates, spreads and scores; the feature is that of ``a``."""
    sigma = None if a.sigma is None or b.sigma is None else 0.5 * (a.sigma + b.sigma)
    return RegressionPrediction(0.5 * (a.xy + b.xy), sigma, 0.5 * (a.score + b.score), a.feature)


def decode_regression(raw: RegressionPrediction, spec: InputSpec) -> NetworkOutput:
    """Coordinates and spreads in crop pixels; one spread per keypoint, the root mean square of both axes' spreads."""
    size = torch.tensor(spec.size_wh, dtype=raw.xy.dtype, device=raw.xy.device)
    sigma_px = None if raw.sigma is None else (raw.sigma * size).square().mean(dim=-1).sqrt()
    return NetworkOutput(raw.xy * size, raw.score, sigma_px, raw.feature, None)
