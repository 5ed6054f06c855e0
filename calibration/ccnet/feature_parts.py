"""What branches read of a penultimate feature: its mean, its values at the keypoints, a coarse map.

A branch never reads a feature map itself, so a cache that keeps these three of it serves every form of the branch, at a
hundredth of the size (`at_keypoints`) or a quarter (`coarse`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pose2d.errors import InputError

MOST_LOCAL_CHANNELS = 512
"""Of wider maps no branch reads values at the keypoints."""
_CONTEXT_CELLS = 5


@dataclass(frozen=True)
class FeatureParts:
    """What is known of a batch's penultimate features: all of them, or what was kept.

    Attributes:
        whole: a map or a vector for each person.
        kept_mean: over the map.
        kept_at_keypoints: see `features_at`.
        kept_coarse: means of 2 x 2 cells.
    """

    whole: Float[Tensor, "b c h w"] | Float[Tensor, "b c"] | None = None
    kept_mean: Float[Tensor, "b c"] | None = None
    kept_at_keypoints: Float[Tensor, "b k c2"] | None = None
    kept_coarse: Float[Tensor, "b c h2 w2"] | None = None

    def mean(self) -> Float[Tensor, "b c"]:
        """The mean over the map; a vector as it is."""
        if self.whole is None:
            return _kept(self.kept_mean)
        return self.whole.mean(dim=(2, 3)) if self.whole.ndim == 4 else self.whole

    def at_keypoints(self, xy_fraction: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k c2"]:
        """The map at each keypoint.

        Args:
            xy_fraction: keypoints as fractions of the crop, the same ones as where the values were kept.
        """
        return _kept(self.kept_at_keypoints) if self.whole is None else features_at(self.whole, xy_fraction)

    def coarse(self) -> Float[Tensor, "b c h2 w2"]:
        """Means of 2 x 2 cells; of a vector a map of one cell."""
        if self.whole is None:
            return _kept(self.kept_coarse)
        maps = self.whole if self.whole.ndim == 4 else self.whole[..., None, None]
        return functional.avg_pool2d(maps, 2) if min(maps.shape[2:]) > 1 else maps


def _kept(part: Tensor | None) -> Tensor:
    if part is None:
        raise InputError("this feature cache does not keep what the branch reads: make it for that form of the branch")
    return part


def features_at(feature: Float[Tensor, "b c h w"], xy_fraction: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k c2"]:
    """Features at each keypoint, bilinear: those of the map and those of its 5 x 5 means (cells beyond it left out).

    Both are weighted sums of the cells near the keypoint, so these alone are read: the map itself is neither copied nor
    averaged, in whatever order it lies in memory.
    """
    columns, across = _axis_weights(xy_fraction[..., 0], int(feature.shape[3]))
    rows, down = _axis_weights(xy_fraction[..., 1], int(feature.shape[2]))
    person = torch.arange(feature.shape[0], device=feature.device)[:, None, None, None]
    near = feature.movedim(1, -1)[person, rows[..., :, None], columns[..., None, :]]
    weight = down[..., :, None] * across[..., None, :]
    return torch.matmul(weight.flatten(3), near.flatten(2, 3)).flatten(2)


def _axis_weights(fraction: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The cells (b, k, n) near keypoints on one axis; weights (b, k, 2, n) of interpolation and of windowed means."""
    at = (fraction * (cells - 1)).clamp(0, cells - 1)[..., None]
    reach = _CONTEXT_CELLS // 2
    count = min(2 * reach + 2, cells)
    first = (at.floor().long() - reach).clamp(0, cells - count)
    near = first + torch.arange(count, device=fraction.device)
    point = (1.0 - (at - near).abs()).clamp_min(0.0)
    distance = (near[..., :, None] - near[..., None, :]).abs()
    # A mean's weight is one over the number of cells of its window that lie on the map.
    size = (near + reach).clamp_max(cells - 1) - (near - reach).clamp_min(0) + 1
    window = (distance <= reach) * (point / size)[..., :, None]
    return near, torch.stack([point, window.sum(dim=-2)], dim=2)
