"""Before and after the solver: persons to the solver's problem, and its unknowns to refined bodies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.bodies.reduced_body import ReducedBody
from fitting.body_fits import BodyFits, Reason
from fitting.evidence import BOX_PX
from fitting.inputs import FitInputs, FitTensors
from fitting.methods.stages import FITTABLE, refusals, translation_stage
from fitting.objective import Problem, exp_and_jacobian, unpack
from fitting.priors import hinges, joint_std_rad
from fitting.refinement_config import RefinementConfig
from fitting.residuals import scaled_focal
from fitting.solving.solution import Solution
from fitting.start.posterior import joint_std_mm


@dataclass(frozen=True)
class Prepared:
    """Frames that can be fitted, as the solver's problem.

    Attributes:
        problem: the n frames of `frames`, in float64.
        frames: their numbers among all.
        refused: `Reason` of every frame that cannot be fitted, `FITTABLE` of the others.
    """

    problem: Problem
    frames: Int[Tensor, " n"]
    refused: Int[Tensor, " m"]


def prepare(inputs: FitInputs, config: RefinementConfig) -> Prepared:
    """Sort out frames that cannot be fitted, run the translation stage and state the problem of the others."""
    reduced = inputs.reduced
    everyone = FitTensors.of(inputs, reduced.keypoints)
    refused = refusals(everyone, config.max_beta)
    frames = (refused == FITTABLE).nonzero()[:, 0]
    persons = everyone.select(frames)
    start, in_front = translation_stage(persons, reduced, config.first_stage())
    refused[frames[~in_front]] = int(Reason.BEHIND_CAMERA)
    pixels_per_unit = persons.size_px / BOX_PX
    focal, centre = scaled_focal(persons.intrinsics, pixels_per_unit)
    observed = (persons.xy_px / pixels_per_unit[:, None, None]).mT
    fixed = torch.ones(24, 1, 1, dtype=torch.float64)
    fixed[[reduced.joints[u] for u in reduced.corrective_joints]] = 0
    eye = torch.eye(3, dtype=torch.float64)
    problem = Problem(
        body=reduced,
        hinges=hinges(reduced.joints),
        constants=config.constants(),
        xy=torch.where(persons.weights[:, None] > 0, observed, 0.0),
        weights=persons.weights,
        focal=focal,
        centre=centre,
        rotations=persons.rotations[:, list(reduced.joints)],
        corrective=reduced.corrective_offset(eye + fixed * (persons.rotations - eye)),
        betas=persons.betas / (1 + config.mean_shape_pull),
        translation=start,
        std=_unknown_std(reduced, config, start[:, 2]),
    )
    return Prepared(problem.select(in_front), frames[in_front], refused)


def _unknown_std(reduced: ReducedBody, config: RefinementConfig, depth: Float[Tensor, " n"]) -> Float[Tensor, "n P"]:
    if config.start_prior is not None:
        std = torch.tensor(config.start_prior.unknowns_std(reduced.joints)).expand(len(depth), -1)
        return torch.cat([std[:, :-3], std[:, -3:] * depth[:, None]], 1)
    turns = np.repeat(joint_std_rad(reduced.joints) * config.rotation_std_scale, 3)
    shape = np.full(10, config.beta_std / (1 + config.mean_shape_pull) ** 0.5)
    body = torch.tensor(np.concatenate([turns, shape]))
    translation = depth[:, None] * depth.new_tensor(config.translation_std)
    return torch.cat([body.expand(len(depth), -1), translation], 1)


def apply_solution(prepared: Prepared, solution: Solution, initial: BodyFits, max_beta: float) -> BodyFits:
    """Put a solver's unknowns into the initial bodies. A frame that failed keeps its initial estimate."""
    problem = prepared.problem
    turns, betas, translation = unpack(problem, solution.z)
    rotations = problem.rotations @ exp_and_jacobian(turns)[0]
    good = torch.isfinite(solution.z).all(1) & torch.isfinite(solution.value) & (betas.abs() <= max_beta).all(1)
    count = len(initial)
    reason = prepared.refused.clone()
    reason[prepared.frames] = torch.where(good, solution.reason, int(Reason.DIVERGED))
    iterations = torch.zeros(count, dtype=torch.int64)
    iterations[prepared.frames] = solution.iterations
    before, after = (torch.full((count,), torch.nan, dtype=torch.float64) for _ in range(2))
    before[prepared.frames], after[prepared.frames] = solution.initial_value, solution.value
    out = {name: np.array(getattr(initial, name)) for name in ("rotations", "betas", "translation")}
    kept = prepared.frames[good].numpy()
    for u, joint in enumerate(problem.body.joints):
        out["rotations"][kept, joint] = rotations[good, u].numpy()
    out["betas"][kept] = betas[good].numpy()
    out["translation"][kept] = translation[good].numpy()
    return BodyFits(
        **out,
        reason=reason.numpy(),
        iterations=iterations.numpy(),
        initial_objective=before.numpy(),
        objective=after.numpy(),
    )


def refined(prepared: Prepared, solution: Solution, inputs: FitInputs, config: RefinementConfig) -> BodyFits:
    """The solution in the initial bodies, with how sure each joint is where the configuration asks for it."""
    fits = apply_solution(prepared, solution, inputs.initial, config.max_beta)
    if not config.posterior or config.start_prior is None or fits.reason is None:
        return fits
    frames = prepared.frames.numpy()
    good = fits.reason[frames] < Reason.NO_WEIGHT
    std = np.full((len(fits), 24, 3), np.nan)
    if good.any():
        rows = torch.from_numpy(good)
        rotations = torch.tensor(fits.rotations[frames[good]], dtype=torch.float64)
        problem = prepared.problem.select(rows)
        std[frames[good]] = joint_std_mm(problem, solution.z[rows], inputs.body, rotations, config.start_prior).numpy()
    return replace(fits, joint_std_mm=std)
