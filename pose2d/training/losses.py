"""What each family of pose networks is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pose2d.errors import InputError
from pose2d.networks.heatmap import HeatmapPrediction
from pose2d.training.augmentation import TrainingCrops, target_heatmaps


@dataclass(frozen=True)
class Targets:
    """What the views of one batch show.

    Attributes:
        views: crops with keypoints.
        size_wh: of the crops.
        heatmap_sigma: standard deviation l~ of target heatmaps, in cells.
    """

    views: TrainingCrops
    size_wh: tuple[int, int]
    heatmap_sigma: float


PoseLoss = Callable[[nn.Module, Any, Targets], Float[Tensor, ""]]


def heatmap_loss(_network: nn.Module, raw: HeatmapPrediction, targets: Targets) -> Float[Tensor, ""]:
    """Mean squared error to Gaussian maps over labelled keypoints (equation 2)."""
    heatmaps = raw.heatmaps
    heatmap_wh = (heatmaps.shape[3], heatmaps.shape[2])
    maps, weights = target_heatmaps(
        targets.views.xy_px, targets.views.labelled, targets.size_wh, heatmap_wh, targets.heatmap_sigma
    )
    squares = (heatmaps - torch.from_numpy(maps)).square().mean(dim=(2, 3))
    return (squares * torch.from_numpy(weights)).mean()


def _fractions(targets: Targets) -> tuple[Tensor, Tensor]:
    """Keypoints as fractions of the crop, and weights: labelled and not far outside."""
    xy = targets.views.xy_px / np.array(targets.size_wh)
    weights = targets.views.labelled & (np.abs(xy - 0.5) < 1.0).all(axis=-1)
    xy = np.where(weights[..., None], xy, 0.5)
    return torch.from_numpy(xy.astype(np.float32)), torch.from_numpy(weights.astype(np.float32))


def density_loss(network: nn.Module, raw: Any, targets: Targets) -> Float[Tensor, ""]:
    """The network's own negative log-likelihood (equation 4)."""
    xy, weights = _fractions(targets)
    loss: Tensor = network.loss(raw, xy, weights)  # type: ignore[operator]
    return loss


def coordinate_loss(_network: nn.Module, raw: Any, targets: Targets) -> Float[Tensor, ""]:
    """Absolute error of coordinates (integral pose regression)."""
    xy, weights = _fractions(targets)
    loss: Tensor = ((raw.xy - xy).abs().sum(dim=-1) * weights).sum() / weights.sum().clamp_min(1.0)
    return loss


POSE_LOSSES: dict[str, PoseLoss] = {"sbl": heatmap_loss, "rle": density_loss, "ipr": coordinate_loss}
"""Loss by the family that a network's name begins with."""


def pose_loss(network_name: str) -> PoseLoss:
    """The loss of a network's family.

    Raises:
        InputError: networks of this family are not trained here.
    """
    family = network_name.split("-")[0]
    if family not in POSE_LOSSES:
        raise InputError(f"no loss for networks of the family {family!r}; trained here are {', '.join(POSE_LOSSES)}")
    return POSE_LOSSES[family]
