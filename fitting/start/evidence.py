"""How uncertain a start is when no truth tells: the scale of the joint table by the evidence of the 2D keypoints.

The evidence of keypoints x under a prior of scale s is the integral of p(x | z) p(z | s) over the unknowns. Laplace's
approximation around the solution z* of `fitting.objective` is, up to a constant that no scale changes,

    -log p(x | s) ~ 1/2 (E(z*) + log det(I + A A^T)),

with A from the Gauss-Newton model (MacKay 1992). It needs a data term that is the log density of what it claims to be:
under Student's t the scale found is that which the errors have, under Geman-McClure, which is no density, half of it.

79 % of a keypoint's error is constant over a track, so frames repeat each other: a track counts once, by the mean of
its frames, and intervals resample tracks. Tracks at both ends are trimmed, so that a track whose keypoints lie on
another person does not set the scale.

What the evidence cannot tell: a network that saw the same image makes the same errors in 2D as the keypoints do, and
the part that they share is in no residual. Such a start agrees with the keypoints as closely as the truth would, and
the evidence calls it right however wrong it is in depth. This is noticed (`agreement` is at most 1) and a prior of such
a network's errors is taken instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.objective import Problem, keypoint_costs, linearise
from fitting.refinement_config import RefinementConfig
from fitting.solving.solvers import solve
from fitting.start_prior import StartPrior, joint_table

SCALES = (0.1, 0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 2.0)
FALLBACK_SCALE = 0.25
"""Where the evidence says nothing: small enough to do no harm to a good start."""
TRIMMED = 0.1
"""Share of the tracks left out at either end."""
FLAT = 0.1
"""Evidence that differs by less than this (nats a track) over all scales tells nothing."""
_BATCH = 256
_REPLICATES = 1000


def negative_log_evidence(problem: Problem, z: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
    """Of each frame at its solution; `prior_strength` must be 1."""
    parts = []
    for first in range(0, len(z), _BATCH):
        part = slice(first, first + _BATCH)
        model = linearise(problem.select(part), z[part])
        gram = model.jacobian @ model.jacobian.mT
        factor = torch.linalg.cholesky(gram + torch.eye(gram.shape[1], dtype=gram.dtype))
        parts.append(model.value / 2 + factor.diagonal(dim1=1, dim2=2).log().sum(1))
    return torch.cat(parts) if parts else z.new_zeros(0)


@dataclass(frozen=True)
class ScaleChoice:
    """A scale of the joint table, and how sure it is."""

    scale: float
    interval: tuple[float, float]
    """Of 95 % of the choices from resampled tracks."""
    agreement: float
    """Cost of the start's reprojection errors over that which calibrated noise alone makes; the truth has about 1."""
    nats: tuple[float, ...]
    """Trimmed mean of the negative log evidence of a track for each of `SCALES`, above the least."""
    num_tracks: int
    why: str
    """"evidence", or the reason why it was not followed: "flat", "no track"."""

    def prior(self) -> StartPrior:
        """The joint table at this scale."""
        return joint_table(self.scale)

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "joint_table_scale": round(self.scale, 4),
            "interval": [round(value, 4) for value in self.interval],
            "agreement_with_keypoints": round(self.agreement, 4),
            "scales": list(SCALES),
            "nats_above_least": [round(value, 3) for value in self.nats],
            "tracks": self.num_tracks,
            "chosen_by": self.why,
        }


def choose_scale(problem: Problem, tracks: Int[np.ndarray, " n"], config: RefinementConfig) -> ScaleChoice:
    """The scale of the joint table under which the keypoints of some tracks are most likely.

    Args:
        problem: a few frames of each track; its `std` is not used.
        tracks: whose frame each is.
        config: of the probability objective.
    """
    agreement = _agreement(problem, tracks)
    evidence = np.stack([_of_tracks(_at_scale(problem, scale, config), tracks) for scale in SCALES])
    finite = np.isfinite(evidence).all(0)
    evidence = evidence[:, finite]
    if not evidence.shape[1]:
        return ScaleChoice(FALLBACK_SCALE, (SCALES[0], SCALES[-1]), agreement, (0.0,) * len(SCALES), 0, "no track")
    means = _trimmed_mean(evidence)
    nats = tuple(float(value) for value in means - means.min())
    rng = np.random.default_rng(0)
    draws = rng.integers(evidence.shape[1], size=(_REPLICATES, evidence.shape[1]))
    chosen = np.array([_lowest(_trimmed_mean(evidence[:, draw])) for draw in draws])
    low, high = (float(value) for value in np.quantile(chosen, (0.025, 0.975)))
    if max(nats) < FLAT:
        return ScaleChoice(FALLBACK_SCALE, (low, high), agreement, nats, evidence.shape[1], "flat")
    return ScaleChoice(_lowest(means), (low, high), agreement, nats, evidence.shape[1], "evidence")


def _at_scale(problem: Problem, scale: float, config: RefinementConfig) -> Float[np.ndarray, " n"]:
    std = torch.tensor(joint_table(scale).unknowns_std(problem.body.joints)).expand(len(problem), -1)
    std = torch.cat([std[:, :-3], std[:, -3:] * problem.translation[:, 2:]], 1)
    scaled = replace(problem, std=std)
    found: np.ndarray = negative_log_evidence(scaled, solve(scaled, config).z).numpy()
    return found


def _agreement(problem: Problem, tracks: Int[np.ndarray, " n"]) -> float:
    """log(1 + s / nu) of a squared distance s under a 2D Student t is exponential with mean 2 / nu."""
    freedom = problem.constants.degrees_of_freedom
    costs, used = keypoint_costs(problem), (problem.weights > 0).sum(1)
    ratio = (costs.sum(1) / (used * (freedom + 2) * 2 / freedom)).numpy()
    of_tracks = _of_tracks(ratio, tracks)
    of_tracks = of_tracks[np.isfinite(of_tracks)]
    return float(_trimmed_mean(of_tracks[None])[0]) if len(of_tracks) else float("nan")


def _of_tracks(values: Float[np.ndarray, " n"], tracks: Int[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    """Mean over the frames of each track."""
    numbers, place = np.unique(tracks, return_inverse=True)
    total: np.ndarray = np.bincount(place, values, minlength=len(numbers)) / np.bincount(place, minlength=len(numbers))
    return total


def _trimmed_mean(values: Float[np.ndarray, "s t"]) -> Float[np.ndarray, " s"]:
    cut = int(TRIMMED * values.shape[1])
    kept: np.ndarray = np.sort(values, 1)[:, cut : values.shape[1] - cut].mean(1)
    return kept


def _lowest(means: Float[np.ndarray, " s"]) -> float:
    """Where the parabola through the least value and its neighbours is least, over log scales."""
    at = int(means.argmin())
    if at in (0, len(SCALES) - 1):
        return SCALES[at]
    place = np.log(SCALES[at - 1 : at + 2])
    curve, slope, _ = np.polyfit(place, means[at - 1 : at + 2], 2)
    if curve <= 0:
        return SCALES[at]
    return float(np.exp(np.clip(-slope / (2 * curve), place[0], place[-1])))
