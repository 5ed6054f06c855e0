"""From keypoint confidences to one instance confidence: the paper's equation 5, its figure 4 and CCNet's own rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Aggregation = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mean(
    confidence: Float[np.ndarray, "n k"], _visibility: Float[np.ndarray, "n k"] | None = None
) -> Float[np.ndarray, " n"]:
    """Plain mean over all keypoints."""
    return np.asarray(confidence.mean(axis=1))


def above_threshold(confidence: Float[np.ndarray, "n k"], tau: float = 0.2) -> Float[np.ndarray, " n"]:
    """Mean of the confidences above tau (equation 5; tau = 0.2 by convention); 0 where none is."""
    kept = confidence > tau
    return np.asarray((confidence * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1))


def product(
    confidence: Float[np.ndarray, "n k"], _visibility: Float[np.ndarray, "n k"] | None = None
) -> Float[np.ndarray, " n"]:
    """Geometric mean: the product's order, at the scale of one keypoint."""
    return np.asarray(np.exp(np.log(np.clip(confidence, 1e-6, None)).mean(axis=1)))


def visibility_weighted(
    confidence: Float[np.ndarray, "n k"], visibility: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, " n"]:
    """sum_k v_k s_k / sum_k v_k with predicted visibilities: the shape of the OKS itself (equation 7)."""
    weight = visibility.sum(axis=1)
    return np.asarray((visibility * confidence).sum(axis=1) / np.maximum(weight, 1e-9))


def _threshold(tau: float) -> Aggregation:
    return lambda confidence, _: above_threshold(confidence, tau)


AGGREGATIONS: dict[str, Aggregation] = {
    "mean": mean,
    **{f"tau={tau:g}": _threshold(tau) for tau in (0.1, 0.2, 0.3, 0.5)},
    "product": product,
    "visibility": visibility_weighted,
}
"""Aggregations by name: functions of confidences and visibilities."""
