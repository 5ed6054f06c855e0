"""The solvers by name, and the run of one of them over all frames."""

from __future__ import annotations

from dataclasses import fields

import torch

from fitting.objective import Problem
from fitting.refinement_config import RefinementConfig, SolverSettings
from fitting.solving.solution import Solution, Solver
from fitting.solving.torch_solver import solve_torch
from pose2d.errors import InputError


def _solve_compiled(problem: Problem, settings: SolverSettings) -> Solution:
    from fitting.solving.compiled import solve_compiled  # numba loads, and compiles once, only where it is wanted

    return solve_compiled(problem, settings)


SOLVERS: dict[str, Solver] = {"torch": solve_torch, "compiled": _solve_compiled}


def solve(problem: Problem, config: RefinementConfig) -> Solution:
    """Run the configured solver in its precision, in batches; the solution comes back in float64."""
    if config.solver not in SOLVERS:
        raise InputError(f"unknown solver {config.solver!r}; known are {', '.join(SOLVERS)}")
    solver, settings = SOLVERS[config.solver], config.solver_settings()
    if config.solver == "torch":
        problem = problem.to(getattr(torch, config.precision))
        starts = range(0, max(len(problem), 1), config.batch_size)
        parts = [solver(problem.select(slice(s, s + config.batch_size)), settings) for s in starts]
    else:
        parts = [solver(problem, settings)]
    joined = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Solution)}
    return Solution(**{name: a.double() if a.is_floating_point() else a for name, a in joined.items()})
