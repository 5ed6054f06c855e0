"""Whether a posterior tells the truth: how many of the joints' true errors its standard deviations hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import erf

from eval3dpw.dataset.ground_truth import CameraTruth
from fitting.bodies.body import Body
from fitting.bodies.reduced_body import reduce_body
from fitting.body_fits import BodyFits
from pose2d.skeletons import SMPL24

LEVELS = np.linspace(0.05, 0.95, 19)
"""Nominal shares at which the observed ones are compared for the expected calibration error."""


def joint_errors_mm(fits: BodyFits, truth: CameraTruth, body: Body, truth_body: Body) -> Float[np.ndarray, "n 23 3"]:
    """Errors of SMPL's joints relative to the pelvis, along the camera's axes.

    Args:
        fits: n bodies.
        truth: of the same frames.
        body: of the fits.
        truth_body: of the truth.
    """

    def joints(of: Body, rotations: Any, betas: Any) -> np.ndarray:
        rotations, betas = (torch.as_tensor(array, dtype=torch.float64) for array in (rotations, betas))
        points = reduce_body(of, SMPL24).keypoint_positions(rotations, betas, rotations.new_zeros(len(rotations), 3))
        return (points[:, 1:] - points[:, :1]).numpy()

    found: np.ndarray = 1000 * (
        joints(body, fits.rotations, fits.betas) - joints(truth_body, truth.rotations, truth.betas)
    )
    return found


@dataclass
class Coverage:
    """Running counts of errors over their standard deviations, small for any number of frames."""

    within: Int[np.ndarray, " l"]
    """Errors within each of `LEVELS`, then within 1 and 2 standard deviations."""
    count: int = 0
    total_std_mm: float = 0.0

    @classmethod
    def empty(cls) -> Coverage:
        """Before any error is counted."""
        return cls(np.zeros(len(LEVELS) + 2, dtype=np.int64))

    def add(self, errors_mm: Float[np.ndarray, "n 23 3"], std_mm: Float[np.ndarray, "n 24 3"]) -> None:
        """Count the errors of some frames; bodies without a posterior are left out."""
        std = std_mm[:, 1:]
        known = np.isfinite(std) & (std > 0)
        z = np.abs(errors_mm[known]) / std[known]
        share = erf(z / np.sqrt(2))
        self.within += np.concatenate(
            [(share <= level).sum(keepdims=True) for level in LEVELS]
            + [(z <= 1).sum(keepdims=True), (z <= 2).sum(keepdims=True)]
        )
        self.count += int(known.sum())
        self.total_std_mm += float(std[known].sum())

    def record(self) -> dict[str, Any] | None:
        """Ready for JSON; None where nothing was counted."""
        if not self.count:
            return None
        observed = self.within / self.count
        return {
            "coordinates": self.count,
            "mean_std_mm": round(self.total_std_mm / self.count, 2),
            "within_1_std": round(float(observed[-2]), 4),
            "within_2_std": round(float(observed[-1]), 4),
            "ece": round(float(np.abs(observed[:-2] - LEVELS).mean()), 4),
        }
