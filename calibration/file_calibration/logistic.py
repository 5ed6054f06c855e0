"""A line through log odds: the one curve that temperature scaling and rescaled confidences need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_SMALLEST = 1e-4
_RIDGE = 1e-3
_STEPS = 50


@dataclass(frozen=True)
class LogisticLine:
    """sigmoid(slope x + offset).

    Attributes:
        slope: at least 0, so that the line keeps an order.
        offset: log odds at x = 0.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Values in (0, 1)."""
        return 1 / (1 + np.exp(-np.clip(self.slope * x + self.offset, -60, 60)))

    @classmethod
    def fit(cls, x: Float[np.ndarray, " n"], target: Float[np.ndarray, " n"]) -> LogisticLine:
        """Fit by cross-entropy against targets in [0, 1] (Newton's method with a slight pull towards the identity)."""
        inputs = np.column_stack([x, np.ones_like(x)])
        identity = np.array([1.0, 0.0])
        line = identity.copy()
        ridge = _RIDGE * len(x) * np.eye(2)
        for _ in range(_STEPS):
            found = cls(*line)(x)
            gradient = inputs.T @ (found - target) + ridge @ (line - identity)
            hessian = (inputs * (found * (1 - found))[:, None]).T @ inputs + ridge
            step = np.linalg.solve(hessian, gradient)
            line = line - step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
            if np.abs(step).max() < 1e-9:
                break
        return cls(max(float(line[0]), 1e-3), float(line[1]))


def log_odds(probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """log(p / (1 - p)), p kept a little inside (0, 1)."""
    inside = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(inside / (1 - inside)))
