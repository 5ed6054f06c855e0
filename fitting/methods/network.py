"""Refinement through the network: CLIFF's annotator, or EFT in batches.

CLIFF labels a data set by its own network: its predictions become priors, the network's weights are fine-tuned on the
full-image weighted 2D loss with a pull towards those priors, and the network predicts again (Li et al., ECCV 2022, and
the authors' answer in their issue 121; the strengths are unpublished). The objective here is that of
`fitting.objective`, so `params` and `network` differ in nothing but what moves: each person's own parameters, or the
weights that all persons share.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from fitting.body_fits import BodyFits, Reason
from fitting.camera import crop_to_full_translation
from fitting.inputs import Crops, FitInputs
from fitting.methods.preparation import Prepared, prepare
from fitting.objective import Problem, value
from fitting.refinement_config import RefinementConfig
from fitting.regressor.model import Regressor, normalise, place_in_camera, predict, ray_rotations
from pose2d.errors import InputError


@dataclass(frozen=True)
class FinetuneConfig:
    """How the network's weights are moved. CLIFF does not publish its values; Adam's rate is the best of five on six
    validation tracks of the open world (raw weighting), where EFT's order of size, 2e-5, changes too little.

    Attributes:
        epochs: passes over the persons.
        learning_rate: Adam's.
        batch_size: persons per step.
        seed: of their order.
    """

    epochs: int = 8
    learning_rate: float = 1e-4
    batch_size: int = 32
    seed: int = 0


def finetune(inputs: FitInputs, config: RefinementConfig, training: FinetuneConfig = FinetuneConfig()) -> BodyFits:
    """Fine-tune a copy of the regressor on its own persons' 2D keypoints and predict them again.

    The persons are fitted together: what is learnt from one changes the others, and a result depends on its company.
    Persons that cannot be fitted (`stages.refusals`) are left out and keep their first prediction. Batch norm
    keeps its statistics and dropout is off, so that at learning rate 0 nothing changes.

    The initial bodies are what the regressor predicts from the crops, in the cameras' frames (`place_in_camera`).

    Returns:
        The new predictions; `Reason.ITERATION_LIMIT` for all that took part and came to a believable body.

    Raises:
        InputError: the inputs have no regressor or no crops.
    """
    regressor, crops = inputs.regressor, inputs.crops
    if regressor is None or crops is None:
        raise InputError(
            "method 'network' fine-tunes the regressor, so the initial bodies must come from one, not a file"
        )
    # No translation stage: the prior is the network's own prediction.
    prepared = prepare(inputs, replace(config, first_stage_above=np.inf))
    network = copy.deepcopy(regressor).eval().requires_grad_()
    problem = prepared.problem.to(torch.float32, network.init_cam.device)
    tuned = _Tuned(network, crops, inputs.intrinsics, problem, prepared.frames.numpy())
    before = tuned.objectives(training.batch_size)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    order = torch.Generator().manual_seed(training.seed)
    count = len(prepared.frames)
    for _ in range(training.epochs if count else 0):
        for rows in torch.randperm(count, generator=order).split(training.batch_size):
            optimiser.zero_grad()
            objective = tuned.objective(rows)
            placed = torch.isfinite(objective.detach())  # a person behind the camera has no gradient that leads back
            if not placed.any():
                continue
            objective[placed].mean().backward()
            if all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters()):
                optimiser.step()
    after = tuned.objectives(training.batch_size)
    return _merge(prepared, inputs.initial, tuned.bodies(), (before, after), training.epochs, config.max_beta)


@dataclass(frozen=True)
class _Tuned:
    """The network's objective as a function of its weights, for persons of the problem by row."""

    network: Regressor
    crops: Crops
    intrinsics: np.ndarray
    problem: Problem
    frames: np.ndarray
    """Of the problem's rows."""

    def objective(self, rows: Tensor) -> Tensor:
        """E of the network's present predictions; infinite for persons that it puts behind the camera."""
        problem, frames = self.problem.select(rows), self.frames[rows.numpy()]
        device = problem.xy.device
        rotations, betas, camera = self.network(normalise(self.crops.images[frames]).to(device))
        centers, sides = self.crops.centers_px[frames], self.crops.sides_px[frames]
        if self.network.config.orientation == "ray":
            turn = torch.tensor(ray_rotations(centers, self.intrinsics[frames])).float().to(device)
            rotations = torch.cat([(turn @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
        boxes = np.concatenate([centers - sides[:, None] / 2, np.stack([sides, sides], 1)], 1)
        intrinsics = torch.tensor(self.intrinsics[frames]).float().to(device)
        translation = crop_to_full_translation(camera, torch.tensor(boxes).float().to(device), intrinsics)
        return value(problem, whiten(problem, rotations, betas, translation))

    @torch.no_grad()
    def objectives(self, batch_size: int) -> Tensor:
        """E of every person."""
        rows = torch.arange(len(self.frames))
        return torch.cat([self.objective(part) for part in rows.split(batch_size)]).double().cpu()

    def bodies(self) -> BodyFits:
        """The network's present predictions of everyone, in the cameras' frames."""
        crops, orientation = self.crops, self.network.config.orientation
        output = predict(self.network, crops.images)
        return place_in_camera(output, crops.centers_px, crops.sides_px, self.intrinsics, orientation)


def whiten(
    problem: Problem,
    rotations: Float[Tensor, "n 24 3 3"],
    betas: Float[Tensor, "n 10"],
    translation: Float[Tensor, "n 3"],
) -> Float[Tensor, "n P"]:
    """The unknowns z at which the problem's body has these parameters. Differentiable; turns are below pi."""
    turned = problem.rotations.mT @ rotations[:, list(problem.body.joints)]
    turns = roma.rotmat_to_rotvec(turned).flatten(1)
    return torch.cat([turns, betas - problem.betas, translation - problem.translation], 1) / problem.std


def _merge(
    prepared: Prepared,
    first: BodyFits,
    second: BodyFits,
    objectives: tuple[Tensor, Tensor],
    epochs: int,
    max_beta: float,
) -> BodyFits:
    """The second predictions of those who took part and came to a believable body, the first of the others."""
    frames = prepared.frames.numpy()
    before, after = (objective.numpy() for objective in objectives)
    good = np.isfinite(after) & (np.abs(second.betas[frames]) <= max_beta).all(1)
    good &= np.isfinite(second.rotations[frames]).all((1, 2, 3)) & np.isfinite(second.translation[frames]).all(1)
    out = {name: getattr(first, name).copy() for name in ("rotations", "betas", "translation")}
    for name, array in out.items():
        array[frames[good]] = getattr(second, name)[frames[good]]
    reason = prepared.refused.numpy().copy()
    reason[frames] = np.where(good, Reason.ITERATION_LIMIT, Reason.DIVERGED)
    iterations = np.zeros(len(first), dtype=np.int64)
    iterations[frames] = epochs
    from_to = np.full((2, len(first)), np.nan)
    from_to[:, frames] = before, np.where(good, after, before)
    return BodyFits(**out, reason=reason, iterations=iterations, initial_objective=from_to[0], objective=from_to[1])
