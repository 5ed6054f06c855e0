"""Levenberg-Marquardt for many small independent problems at once (Levenberg 1944, Marquardt 1963).

At each iterate the model is lambda (|A s + b|^2 + |z + s|^2), the robust kernel by iterated reweighting. A has 2K + 4
rows and P columns, fewer rows than columns. Damped by mu, with c = 1 + mu and g = A^T b + z, its minimum is

    s = -(c I + A^T A)^-1 g = -(g - A^T (c I + A A^T)^-1 A g) / c,

so a Cholesky factor of the small *dual* matrix A A^T (38 x 38 for COCO's keypoints, against 61 x 61) does, and a
refused step costs no new A A^T. Each frame has its own damping, accepts or refuses its own step and leaves the batch
when it has converged, so a frame's result does not depend on its company.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.body_fits import Reason
from fitting.objective import Linearisation, Problem, linearise
from fitting.refinement_config import SolverSettings
from fitting.solving.solution import DAMPING_DOWN, DAMPING_MAX, DAMPING_MIN, DAMPING_UP, Solution


def dual_step(model: Linearisation, z: Float[Tensor, "n P"], damping: Float[Tensor, " n"]) -> Float[Tensor, "n P"]:
    """The damped Gauss-Newton step through the dual system; not finite where that is not positive definite."""
    return _step(*_normal(model, z), model.jacobian, damping)[0]


def primal_step(model: Linearisation, z: Float[Tensor, "n P"], damping: Float[Tensor, " n"]) -> Float[Tensor, "n P"]:
    """The same step from the P x P normal equations: slower, a check of `dual_step`."""
    normal = model.jacobian.mT @ model.jacobian
    normal = normal + torch.diag_embed((1 + damping)[:, None].expand_as(z))
    gradient = (model.jacobian.mT @ model.residual[..., None])[..., 0] + z
    return -torch.cholesky_solve(gradient[..., None], torch.linalg.cholesky(normal))[..., 0]


def _normal(model: Linearisation, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A A^T, g and A g."""
    gram = model.jacobian @ model.jacobian.mT
    gradient = (model.residual[:, None] @ model.jacobian)[:, 0] + z
    return gram, gradient, (gram @ model.residual[..., None] + model.jacobian @ z[..., None])[..., 0]


def _step(gram: Tensor, gradient: Tensor, image: Tensor, jacobian: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Step, and the decrease of |A s + b|^2 + |z + s|^2 that the model promises for it: -s.g + mu |s|^2."""
    c = 1 + damping
    dual = gram + torch.diag_embed(c[:, None].expand_as(image))
    factor, failed = torch.linalg.cholesky_ex(dual)
    solved = torch.cholesky_solve(image[..., None], factor)
    step = -(gradient - (solved.mT @ jacobian)[:, 0]) / c[:, None]
    step = torch.where((failed == 0)[:, None], step, torch.nan)
    return step, -(step * gradient).sum(1) + damping * (step**2).sum(1)


def solve_torch(problem: Problem, settings: SolverSettings) -> Solution:
    """Levenberg-Marquardt in torch, on the device and in the precision of the problem."""
    frames, device = len(problem), problem.xy.device
    unknowns = problem.std.shape[1]
    strength = problem.constants.prior_strength
    result_z = problem.xy.new_zeros(frames, unknowns)
    z = result_z.clone()
    model = linearise(problem, z)
    initial_value = model.value.clone()
    result_value = initial_value.clone()
    reason = torch.full((frames,), int(Reason.ITERATION_LIMIT), device=device)
    iterations = torch.full((frames,), settings.max_iterations, device=device)
    active = torch.arange(frames, device=device)
    damping = problem.xy.new_full((frames,), settings.initial_damping)
    normal = _normal(model, z)
    value, jacobian = model.value, model.jacobian
    # Below such a change rounding alone decides whether the objective falls (a keypoint costs about 1).
    noise = 8 * torch.finfo(z.dtype).eps
    for iteration in range(1, settings.max_iterations + 1):
        if not len(active):
            break
        step, promised = _step(*normal, jacobian, damping)
        candidate = z + step
        trial = linearise(problem, candidate)
        decrease = value - trial.value
        better = torch.isfinite(trial.value) & (decrease > 0)
        floor = noise * (value + 1)
        tolerated = settings.tolerance * value + floor
        stationary = strength * promised <= torch.maximum(floor, 0.1 * tolerated)
        done = torch.where(better, decrease <= tolerated, stationary | (decrease.abs() <= floor))
        stuck = ~better & ~done & (damping * DAMPING_UP > DAMPING_MAX)

        trial_normal = _normal(trial, candidate)
        keep = better[:, None]
        z = torch.where(keep, candidate, z)
        value = torch.where(better, trial.value, value)
        jacobian = torch.where(keep[..., None], trial.jacobian, jacobian)
        normal = (
            torch.where(keep[..., None], trial_normal[0], normal[0]),
            torch.where(keep, trial_normal[1], normal[1]),
            torch.where(keep, trial_normal[2], normal[2]),
        )
        damping = torch.where(better, (damping / DAMPING_DOWN).clamp_min(DAMPING_MIN), damping * DAMPING_UP)
        leave = done | stuck
        if leave.any():
            gone = active[leave]
            result_z[gone], result_value[gone], iterations[gone] = z[leave], value[leave], iteration
            reason[gone] = torch.where(done, int(Reason.CONVERGED), int(Reason.DAMPING_LIMIT))[leave]
            stay = ~leave
            active, z, value, damping, jacobian = active[stay], z[stay], value[stay], damping[stay], jacobian[stay]
            normal = (normal[0][stay], normal[1][stay], normal[2][stay])
            problem = problem.select(stay)
    result_z[active], result_value[active] = z, value
    return Solution(result_z, result_value, initial_value, iterations, reason)
