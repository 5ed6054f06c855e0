"""What two families of networks predict instead of the ideal confidence: equations 13 to 19, appendices A.5 and A.6.

All is derived for an isotropic 2D Gaussian of true keypoints p ~ N(mu, sigma^2 I) around their mean ("On the
Calibration of Human Pose Estimation", arXiv 2311.17105). Every length of a call is in one unit, which the caller
chooses: image pixels, crop pixels or heatmap cells. Arguments broadcast; results have the broadcast shape.

Symbols: `sigma` annotation and ambiguity spread per axis, `falloff` l = sqrt(area) * 2 sigma_k of the OKS, `target`
l~, the spread of rendered target heatmaps, `offset` |p^ - mu|, how far the prediction lies from the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from calibration.oks import Lengths, expected_oks, sigma_from_expected_oks


def _array(values: Lengths) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def optimal_heatmap(distance_to_mean: Lengths, sigma: Lengths, target: Lengths) -> np.ndarray:
    """The heatmap that minimises the expected squared error to rendered targets, at a distance from mu (eq. 13 to 15).

    H*(x) = E_p[G(x)] = t^2 / (t^2 + s^2) exp(-|x - mu|^2 / (2 (t^2 + s^2))): wider than the target and lower than 1.
    """
    return expected_oks(sigma, target, distance_to_mean)


def heatmap_confidence(sigma: Lengths, target: Lengths) -> np.ndarray:
    """The optimal heatmap's maximum, t^2 / (t^2 + s^2) (equations 16 and 17).

    Equation 12's form with the constant t in place of l: the scaling gap.
    """
    return expected_oks(sigma, target)


def sigma_from_heatmap_confidence(confidence: Lengths, target: Lengths) -> np.ndarray:
    """Invert equation 17: sigma = t sqrt(1 / s - 1); 0 for maxima of 1 and more."""
    return sigma_from_expected_oks(confidence, target)


def sigma_from_heatmap_width(width: Lengths, target: Lengths) -> np.ndarray:
    """sigma^2 = width^2 - t^2 from a Gaussian fitted to the heatmap (equation 15); 0 where the map is narrower."""
    square = _array(width) ** 2 - _array(target) ** 2
    return _array(np.sqrt(np.maximum(square, 0.0)))


def regression_confidence(sigma: Lengths, extent: Lengths) -> np.ndarray:
    """The score of likelihood regression at its optimum, 1 - sigma / extent (equation 19): the form gap.

    Args:
        sigma: spread per axis.
        extent: the crop's side in the same unit, since the network predicts sigma as a fraction of the crop.
    """
    return _array(1.0 - _array(sigma) / _array(extent))


def regression_sigma(sigma: Lengths, offset: Lengths) -> np.ndarray:
    """The likelihood-optimal sigma^ of an imperfect prediction (A.5): sigma^2 + |p^ - mu|^2 / 2 per axis, its root."""
    return np.asarray(np.sqrt(_array(sigma) ** 2 + _array(offset) ** 2 / 2.0))


def laplace_scale(sigma: Lengths) -> np.ndarray:
    """The likelihood-optimal scale b^ of a Laplace model on Gaussian noise (A.6): E|x - mu| = sigma sqrt(2 / pi)."""
    return _array(_array(sigma) * np.sqrt(2.0 / np.pi))


@dataclass(frozen=True)
class DisplacedHeatmap:
    """The best Gaussian heatmap among those centred off the mean (A.5).

    Attributes:
        amplitude: its maximum, the confidence that it gives.
        width: its standard deviation.
        loss: integral of its squared error to the targets, less that of the optimal heatmap, over the plane.
    """

    amplitude: float
    width: float
    loss: float


def displaced_heatmap(sigma: float, target: float, offset: float) -> DisplacedHeatmap:
    """The Gaussian of free amplitude and width, centred `offset` off the mean, of least squared error to the targets.

    The expected loss differs by a constant from the integral of (a exp(-|x - p^|^2 / 2 w^2) - H*(x))^2 over the plane,
    whose three terms are Gaussian integrals. For a given width the best amplitude is the ratio of two of them,
    a(w) = 2 t^2 / (w^2 + t^2 + s^2) exp(-offset^2 / (2 (w^2 + t^2 + s^2))); the width is found numerically.

    Args:
        sigma: spread of the true keypoints per axis.
        target: spread of rendered targets; the same unit.
        offset: of the heatmap's centre from the mean; the same unit.
    """
    if target <= 0 or sigma < 0 or offset < 0:
        raise ValueError(f"target must be positive, sigma and offset not negative: got {target}, {sigma}, {offset}")
    total = target**2 + sigma**2
    peak = target**2 / total

    def overlap(width: float) -> float:
        joint = width**2 + total
        return peak * 2.0 * np.pi * width**2 * total / joint * float(np.exp(-(offset**2) / (2.0 * joint)))

    def loss(log_width: float) -> float:
        width = float(np.exp(log_width))
        return np.pi * total * peak**2 - overlap(width) ** 2 / (np.pi * width**2)

    center = np.log(np.sqrt(total + offset**2))
    found = minimize_scalar(loss, bounds=(center - 4.0, center + 4.0), method="bounded", options={"xatol": 1e-10})
    width = float(np.exp(found.x))
    return DisplacedHeatmap(overlap(width) / (np.pi * width**2), width, float(found.fun))


def scaling_gap(
    sigma: Float[np.ndarray, "..."], falloff: Float[np.ndarray, "..."], target: Lengths
) -> Float[np.ndarray, "..."]:
    """Heatmap confidence minus ideal confidence (equations 17 and 12)."""
    return np.asarray(heatmap_confidence(sigma, target) - expected_oks(sigma, falloff))


def form_gap(
    sigma: Float[np.ndarray, "..."], falloff: Float[np.ndarray, "..."], extent: Lengths
) -> Float[np.ndarray, "..."]:
    """Regression confidence minus ideal confidence (equations 19 and 12)."""
    return np.asarray(regression_confidence(sigma, extent) - expected_oks(sigma, falloff))
