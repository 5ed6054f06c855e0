"""What all solvers share: the form of their result, and how the damping moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from fitting.objective import Problem
from fitting.refinement_config import SolverSettings

DAMPING_UP, DAMPING_DOWN, DAMPING_MIN, DAMPING_MAX = 8.0, 4.0, 1e-3, 1e6
"""Damping after a refused step, after an accepted one, and its limits. mu = 0 is well posed: the prior damps."""


@dataclass(frozen=True)
class Solution:
    """Result for n frames.

    Attributes:
        z: whitened unknowns (`fitting.objective`).
        value: objective at z; `initial_value` at 0.
        iterations: steps tried.
        reason: `fitting.body_fits.Reason` as a number.
    """

    z: Float[Tensor, "n P"]
    value: Float[Tensor, " n"]
    initial_value: Float[Tensor, " n"]
    iterations: Int[Tensor, " n"]
    reason: Int[Tensor, " n"]


Solver = Callable[[Problem, SolverSettings], Solution]
