"""Closed-form rescoring: the network's own spread, put in the form of expected OKS (equation 12; the paper's table 1).

First sigma_k in image pixels, from what the network predicts: the heatmap's maximum (equation 17 inverted), a Gaussian
fitted to the heatmap (equation 15), or a likelihood network's sigma (equation 18). Then the ideal confidence
l_k^2 / (l_k^2 + sigma_k^2) with l_k = 2 sigma_k^COCO sqrt(area), for a mean, a predicted or the true area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calibration.oks import expected_oks, falloff_px
from calibration.theory import sigma_from_heatmap_confidence, sigma_from_heatmap_width

_FIT_RADIUS = 3.0
"""The Gaussian is fitted to cells within so many target spreads of the keypoint."""
_FIT_FLOOR = 0.05
"""and above this share of the map's maximum: the logarithm of what is nearly nothing is noise."""


def sigma_px_from_maximum(
    maximum: Float[np.ndarray, "n k"], target_cells: float, cell_px: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """Spread in image pixels from heatmap maxima: sigma^2 = l~^2 (1 / s - 1) (equation 17 inverted).

    Args:
        maximum: of each heatmap; 1 and more means no spread at all, 0 and less an infinite one.
        target_cells: spread l~ of the rendered targets in heatmap cells (2 at 256x192, 3 at 384x288).
        cell_px: side of a heatmap cell in image pixels, for each person.
    """
    return np.asarray(sigma_from_heatmap_confidence(np.clip(maximum, 0, 1), target_cells) * cell_px[:, None])


def sigma_px_from_heatmaps(
    heatmaps: Float[np.ndarray, "n k h w"],
    xy_cells: Float[np.ndarray, "n k 2"],
    target_cells: float,
    cell_px: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n k"]:
    """Spread in image pixels from the width of each heatmap: sigma^2 = width^2 - l~^2 (equation 15).

    Args:
        heatmaps: as the network gives them.
        xy_cells: each keypoint in heatmap cells, the centre of the first cell at (0, 0).
        target_cells: spread l~ of the rendered targets in heatmap cells.
        cell_px: side of a heatmap cell in image pixels, for each person.
    """
    width = heatmap_width(heatmaps, xy_cells, _FIT_RADIUS * target_cells)
    return np.asarray(sigma_from_heatmap_width(width, target_cells) * cell_px[:, None])


def heatmap_width(
    heatmaps: Float[np.ndarray, "n k h w"], xy_cells: Float[np.ndarray, "n k 2"], radius_cells: float
) -> Float[np.ndarray, "n k"]:
    """Standard deviation, in cells, of an isotropic Gaussian of free amplitude around each keypoint.

    log H = log a - r^2 / (2 w^2) is a straight line in r^2; it is fitted by least squares with weights H^2, which undo
    what the logarithm does to the noise (Guo, 2011). Infinite where the map does not fall off around the keypoint.
    """
    rows, columns = np.mgrid[: heatmaps.shape[2], : heatmaps.shape[3]].astype(float)
    squared = (columns - xy_cells[..., 0, None, None]) ** 2 + (rows - xy_cells[..., 1, None, None]) ** 2
    peak = heatmaps.max(axis=(2, 3), keepdims=True)
    used = (squared <= radius_cells**2) & (heatmaps > _FIT_FLOOR * np.maximum(peak, 1e-12))
    weight = np.where(used, heatmaps, 0.0) ** 2
    logarithm = np.log(np.where(used, heatmaps, 1.0))
    total = np.maximum(weight.sum(axis=(2, 3)), 1e-300)[..., None, None]
    squared_offset = squared - (weight * squared).sum(axis=(2, 3), keepdims=True) / total
    covariance = (weight * squared_offset * logarithm).sum(axis=(2, 3))
    variance = (weight * squared_offset**2).sum(axis=(2, 3))
    slope = np.divide(covariance, variance, out=np.zeros_like(covariance), where=variance > 0)
    falls = slope < 0
    return np.where(falls, np.sqrt(1 / (-2 * np.where(falls, slope, -1.0))), np.inf)


def sigma_px_from_regression(
    sigma: Float[np.ndarray, "n k 2"], crop_px: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n k"]:
    """Spread in image pixels from a likelihood network's sigma per axis (equation 18): the root of the mean variance.

    Args:
        sigma: per axis, as a fraction of the crop's width and height (RLE, Poseur).
        crop_px: width and height of each crop in image pixels.
    """
    return np.asarray(np.sqrt(np.mean((sigma * crop_px[:, None]) ** 2, axis=2)))


def rescore(
    sigma_px: Float[np.ndarray, "n k"], area_px2: Float[np.ndarray, " n"], oks_sigmas: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "n k"]:
    """Ideal keypoint confidence l_k^2 / (l_k^2 + sigma_k^2) (equation 12), 0 for an infinite spread.

    Args:
        sigma_px: spread per axis in image pixels.
        area_px2: of each person in image pixels squared.
        oks_sigmas: COCO's per-keypoint sigmas.
    """
    falloff = np.broadcast_to(falloff_px(area_px2[:, None], oks_sigmas), sigma_px.shape)
    finite = np.isfinite(sigma_px)
    return np.where(finite, expected_oks(np.where(finite, sigma_px, 0.0), falloff), 0.0)


@dataclass(frozen=True)
class AreaRegressor:
    """Predicts a person's area from the network's pooled penultimate features, as a share of the crop's.

    Attributes:
        weight, bias: of log(area / crop area).
    """

    weight: Float[np.ndarray, " c"]
    bias: float

    @classmethod
    def fit(
        cls, feature: Float[np.ndarray, "n c"], area_px2: Float[np.ndarray, " n"], crop_px2: Float[np.ndarray, " n"]
    ) -> AreaRegressor:
        """Ridge regression (scikit-learn) on standardised features; fit it on the network's training set."""
        from sklearn.linear_model import RidgeCV

        mean, spread = feature.mean(axis=0), np.maximum(feature.std(axis=0), 1e-12)
        line = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit((feature - mean) / spread, np.log(area_px2 / crop_px2))
        weight = line.coef_ / spread
        return cls(weight, float(line.intercept_ - weight @ mean))

    def predict(self, feature: Float[np.ndarray, "n c"], crop_px2: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Areas in image pixels squared; `crop_px2` is the area of each crop in the image."""
        return np.asarray(np.exp(feature @ self.weight + self.bias) * crop_px2)
