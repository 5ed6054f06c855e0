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
from jaxtyping import Float, UInt8
from torch import Tensor

from fitting.body import Body
from fitting.camera import crop_to_full_translation
from fitting.objective import Problem, value
from fitting.reduced_body import ReducedBody, reduce_body
from fitting.refinement import BodyFits, Prepared, RefinementConfig, prepare
from fitting.regressor import Regressor, normalise, place_in_camera, predict, ray_rotations
from fitting.solvers import Reason
from pose2d.skeletons import Skeleton


@dataclass(frozen=True)
class FinetuneConfig:
    """How the network's weights are moved. CLIFF does not publish its values; Adam's rate is EFT's order of size.

    Attributes:
        epochs: passes over the persons.
        learning_rate: Adam's.
        batch_size: persons a step.
        seed: of their order.
    """

    epochs: int = 8
    learning_rate: float = 2e-5
    batch_size: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Crops:
    """What the regressor sees: square crops and where they lie in their images (pixels)."""

    images: UInt8[np.ndarray, "n size size 3"]
    centers_px: Float[np.ndarray, "n 2"]
    sides_px: Float[np.ndarray, "n"]


def finetune(
    regressor: Regressor,
    crops: Crops,
    body: Body | ReducedBody,
    skeleton: Skeleton,
    xy_px: Float[np.ndarray, "n k 2"],
    weights: Float[np.ndarray, "n k"],
    intrinsics: Float[np.ndarray, "n 3 3"],
    size_px: Float[np.ndarray, "n"],
    config: RefinementConfig,
    training: FinetuneConfig = FinetuneConfig(),
) -> BodyFits:
    """Fine-tune a copy of the regressor on its own persons' 2D keypoints and predict them again.

    The persons are fitted together: what is learnt from one changes the others, and a result depends on its company.
    Persons that cannot be fitted (`fitting.stages.refusals`) are left out and keep their first prediction. Batch norm
    keeps its statistics and dropout is off, so that at learning rate 0 nothing changes.

    Returns:
        The new predictions; `Reason.ITERATION_LIMIT` for all that took part.
    """
    first = place_in_camera(
        predict(regressor, crops.images), crops.centers_px, crops.sides_px, intrinsics, regressor.config.orientation
    )
    reduced = body if isinstance(body, ReducedBody) else reduce_body(body, skeleton)
    # No translation stage: the prior is the network's own prediction.
    prepared = prepare(reduced, xy_px, weights, intrinsics, first, size_px, replace(config, first_stage_above=np.inf))
    network = copy.deepcopy(regressor).eval().requires_grad_()
    tuned = _Tuned(network, crops, intrinsics, prepared, first)
    before = tuned.objectives(training.batch_size)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    order = torch.Generator().manual_seed(training.seed)
    count = len(prepared.frames)
    for _ in range(training.epochs):
        for rows in torch.randperm(count, generator=order).split(training.batch_size):
            optimiser.zero_grad()
            objective = tuned.objective(rows)
            (objective.sum() / max(len(objective), 1)).backward()
            optimiser.step()
    after = tuned.objectives(training.batch_size)
    second = place_in_camera(
        predict(network, crops.images), crops.centers_px, crops.sides_px, intrinsics, regressor.config.orientation
    )
    return _merge(first, second, prepared, before, after, training.epochs)


@dataclass(frozen=True)
class _Tuned:
    """The network's objective as a function of its weights, for persons of the problem by row."""

    network: Regressor
    crops: Crops
    intrinsics: np.ndarray
    prepared: Prepared
    first: BodyFits

    def objective(self, rows: Tensor) -> Tensor:
        """E of the network's present predictions; persons that it puts behind the camera cost nothing."""
        problem = self.prepared.problem.to(torch.float32).select(rows)
        frames = self.prepared.frames[rows].numpy()
        rotations, betas, camera = self.network(normalise(self.crops.images[frames]))
        centers, sides = self.crops.centers_px[frames], self.crops.sides_px[frames]
        if self.network.config.orientation == "ray":
            turn = torch.tensor(ray_rotations(centers, self.intrinsics[frames])).float()
            rotations = torch.cat([(turn @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
        boxes = np.concatenate([centers - sides[:, None] / 2, np.stack([sides, sides], 1)], 1)
        intrinsics = torch.tensor(self.intrinsics[frames]).float()
        translation = crop_to_full_translation(camera, torch.tensor(boxes).float(), intrinsics)
        objective = value(problem, whiten(problem, rotations, betas, translation))
        return objective[torch.isfinite(objective)]

    @torch.no_grad()
    def objectives(self, batch_size: int) -> float:
        """Mean E over all persons."""
        rows = torch.arange(len(self.prepared.frames))
        parts = [self.objective(part) for part in rows.split(batch_size)] if len(rows) else []
        return float(torch.cat(parts).mean()) if parts else float("nan")


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


def _merge(first: BodyFits, second: BodyFits, prepared: Prepared, before: float, after: float, epochs: int) -> BodyFits:
    frames = prepared.frames.numpy()
    out = {name: getattr(first, name).copy() for name in ("rotations", "betas", "translation")}
    for name, array in out.items():
        array[frames] = getattr(second, name)[frames]
    reason = prepared.refused.numpy().copy()
    reason[frames] = Reason.ITERATION_LIMIT
    took_part = np.isin(np.arange(len(first)), frames)
    return BodyFits(
        **out,
        reason=reason,
        iterations=np.where(took_part, epochs, 0),
        initial_objective=np.where(took_part, before, np.nan),
        objective=np.where(took_part, after, np.nan),
    )
