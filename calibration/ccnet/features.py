"""A frozen pose network's output on a data set, with the data set's truth: features, keypoints, raw scores, peaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from calibration.ccnet.altered_views import AlteredViews
from calibration.oks import falloff_px, keypoint_oks
from pose2d.datasets.coco import KeypointDataset
from pose2d.networks.base import NetworkOutput
from pose2d.poses import Poses2D

_WINDOW = 3
PEAK_STATISTICS = 3
"""Numbers per keypoint of `peak_statistics`."""


@dataclass(frozen=True)
class CachedFeatures:
    """A network's output for n persons, with the truth of their data set.

    Attributes:
        dataset: the persons, row by row.
        poses: keypoints in image pixels, raw scores, spreads, boxes.
        xy_fraction: keypoints as fractions of the crop's width and height.
        statistics: of each heatmap's peak, see `peak_statistics`; for regression networks the spread alone.
        scale: crop pixels per image pixel.
        feature: whole penultimate features as half floats, memory-mapped; a map or a vector for each person. None where
            the cache keeps only what branches read of maps (`calibration.ccnet.feature_parts`):
        mean, at_keypoints, coarse: of the maps; memory-mapped half floats, the mean single ones.
        network_hash: the network's identity.
        views: of the persons, where they were not seen as they are; `dataset` is theirs.
        size_wh: of the crops in pixels; None where that is not known.
        cell_px: side of a heatmap's cell in crop pixels; None without heatmaps.
    """

    dataset: KeypointDataset
    poses: Poses2D
    xy_fraction: Float[np.ndarray, "n k 2"]
    statistics: Float[np.ndarray, "n k s"]
    scale: Float[np.ndarray, " n"]
    feature: Shaped[np.ndarray, "n ..."] | None
    network_hash: str
    views: AlteredViews | None = None
    size_wh: tuple[int, int] | None = None
    cell_px: float | None = None
    mean: Float[np.ndarray, "n c"] | None = None
    at_keypoints: Float[np.ndarray, "n k c2"] | None = None
    coarse: Float[np.ndarray, "n c h2 w2"] | None = None

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def feature_parts(self) -> tuple[np.ndarray | None, ...]:
        """Whole features, means, values at keypoints and coarse maps, where the cache has them."""
        return self.feature, self.mean, self.at_keypoints, self.coarse

    @property
    def channels(self) -> int:
        """Of the penultimate feature."""
        known = self.mean if self.feature is None else self.feature
        assert known is not None  # a cache has one of the two
        return int(known.shape[1])

    @property
    def feature_is_map(self) -> bool:
        """Whether the penultimate feature is a map rather than a vector."""
        return self.feature is None or self.feature.ndim == 4

    @property
    def labelled(self) -> Bool[np.ndarray, "n k"]:
        """v_k of the OKS."""
        return self.dataset.labelled

    @property
    def label_known(self) -> Bool[np.ndarray, "n k"]:
        """Where `labelled` is what an annotator would have labelled."""
        return np.ones_like(self.labelled) if self.views is None else self.views.label_known

    @property
    def present(self) -> Bool[np.ndarray, "n k"]:
        """Which keypoints lie in the picture and the crop; meaningful only where `presence_known`."""
        return self.labelled if self.views is None else self.views.present

    @property
    def presence_known(self) -> Bool[np.ndarray, "n k"]:
        """Where `present` is known: an unlabelled keypoint may be hidden or out of the picture."""
        return self.labelled if self.views is None else self.views.presence_known

    def keypoint_oks(self) -> Float[np.ndarray, "n k"]:
        """OKS of every predicted keypoint (equation 6); 0 where unlabelled, where it means nothing."""
        distance = np.linalg.norm(self.poses.xy_px - self.dataset.xy_px, axis=-1)
        falloff = falloff_px(np.maximum(self.dataset.areas, 1.0)[:, None], self.dataset.skeleton.sigmas)
        return np.asarray(keypoint_oks(distance, falloff) * self.labelled)

    def instance_oks(self) -> Float[np.ndarray, " n"]:
        """OKS of every person over labelled keypoints (equation 7)."""
        count = np.maximum(self.labelled.sum(axis=1), 1)
        return np.asarray(self.keypoint_oks().sum(axis=1) / count)

    def select(self, rows: Int[np.ndarray, " m"]) -> CachedFeatures:
        """The persons in `rows` (features of neighbouring rows stay memory-mapped)."""
        contiguous = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        chosen = slice(rows[0], rows[-1] + 1) if contiguous else rows
        feature, mean, at_keypoints, coarse = (None if part is None else part[chosen] for part in self.feature_parts)
        return replace(
            self,
            dataset=self.dataset.select(rows),
            poses=self.poses.select(rows),
            xy_fraction=self.xy_fraction[rows],
            statistics=self.statistics[rows],
            scale=self.scale[rows],
            feature=feature,
            mean=mean,
            at_keypoints=at_keypoints,
            coarse=coarse,
            views=None if self.views is None else self.views.select(rows),
        )


def peak_statistics(output: NetworkOutput, size_wh: tuple[int, int]) -> Float[Tensor, "b k s"]:
    """How sharp and how lonely each keypoint's peak is: numbers that the maximum alone does not contain.

    From heatmaps: the standard deviation per axis of the map's positive part within 3 cells of the maximum, in cells;
    the largest value farther away, over the maximum; the logarithm of the mass of the positive part. From a
    regression network's spread: that, as a percentage of the crop's height, and zeros.

    Args:
        output: of the network.
        size_wh: of the crop in pixels.
    """
    maps = output.heatmaps
    if maps is None:
        spread = torch.zeros_like(output.raw_score) if output.sigma_px is None else output.sigma_px
        zero = 0.0 * spread
        return torch.stack([100.0 * spread / size_wh[1], zero, zero], dim=-1)
    positive = maps.float().clamp_min(0.0)
    height, width = maps.shape[2:]
    best, place = positive.flatten(2).max(dim=2)
    row, column = torch.div(place, width, rounding_mode="floor"), place % width
    step = torch.arange(-_WINDOW, _WINDOW + 1, device=maps.device)
    rows, columns = row[..., None] + step, column[..., None] + step
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    cells = (rows.clamp(0, height - 1) * width)[..., :, None] + columns.clamp(0, width - 1)[..., None, :]
    flat, near = positive.flatten(2), cells.flatten(2)
    local = flat.gather(2, near).unflatten(2, inside.shape[2:]) * inside
    mass = local.sum((2, 3)).clamp_min(1e-6)
    offset = step.float()
    mean_x, mean_y = (local.sum(2) * offset).sum(-1) / mass, (local.sum(3) * offset).sum(-1) / mass
    square = ((local.sum(2) + local.sum(3)) * offset**2).sum(-1) / mass - mean_x**2 - mean_y**2
    second = flat.scatter(2, near, 0.0).amax(dim=2) / best.clamp_min(1e-6)
    return torch.stack([(0.5 * square.clamp_min(0.0)).sqrt(), second, torch.log(flat.sum(2) + 1e-3)], dim=-1)
