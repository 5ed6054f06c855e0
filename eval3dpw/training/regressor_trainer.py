"""Training the small regressor on rendered people, within a budget of time on one CPU core.

Losses as SPIN's, on joints about the pelvis, rotation matrices, shape and the weakly perspective projection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eval3dpw.judging.metrics import mean_point_error_mm, pa_mpjpe_mm
from eval3dpw.training.options import LossWeights, TrainRegressorConfig
from eval3dpw.training.regressor_data import (
    PLAIN,
    TRAINING_POINTS,
    KeptCrops,
    PersonSet,
    Views,
    cut_persons,
    read_persons,
    sample_views,
)
from fitting.bodies.body import GENDERS, load_body
from fitting.bodies.reduced_body import ReducedBody, reduce_body
from fitting.regressor.model import (
    Regressor,
    load_regressor,
    normalise,
    place_in_camera,
    predict,
    save_regressor,
)
from pose2d.console.progress import say
from pose2d.errors import InputError, require_positive
from pose2d.files.safetensor_files import read_safetensors
from pose2d.skeletons import H36M17, LSP14, remap
from pose2d.training.run import Schedule, TrainingRun

_SMALLEST_SCALE = 0.1
_FAR = 10.0  # one odd prediction must not decide a step


@dataclass(frozen=True)
class RegressorErrors:
    """Errors on unseen persons at their keypoints' boxes: 14 joints, gendered truth, the H36M regressor's pelvis."""

    mpjpe_mm: float
    pa_mpjpe_mm: float
    persons: int


@dataclass(frozen=True)
class TrainRegressorResult:
    """How a run ended: the averaged weights' file, their errors, optimiser steps, passes over the data, minutes."""

    checkpoint: Path
    errors: RegressorErrors
    steps: int
    epochs: float
    minutes: float


def regressor_losses(
    output: tuple[Tensor, Tensor, Tensor], views: Views, body: ReducedBody, weights: LossWeights
) -> dict[str, Tensor]:
    """The weighted terms of the loss, by name.

    Args:
        output: the network's rotations, betas and camera.
        views: the truth.
        body: the neutral body reduced to TRAINING_POINTS.
        weights: of the terms.
    """
    rotations, betas, camera = output
    points = body.keypoint_positions(rotations, betas, torch.zeros_like(betas[:, :3]))
    truth, xy, target = (
        torch.as_tensor(array, dtype=torch.float32) for array in (views.points, views.points_xy, views.rotations)
    )
    seen = (xy.abs() < 2.0).all(dim=-1, keepdim=True)  # far outside the crop there is nothing to learn
    projected = camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])
    turned = (rotations - target).square().mean(dim=(2, 3))
    return {
        "joints": weights.joints * (points - points[:, :1] - truth).abs().mean(),
        "rotations": weights.rotations * (turned.mean() + weights.root / 24 * turned[:, 0].mean()),
        "betas": weights.betas * (betas - torch.as_tensor(views.betas, dtype=torch.float32)).square().mean(),
        "projection": weights.projection * torch.where(seen, (projected - xy).abs().clamp(max=_FAR), 0.0).mean(),
        "scale": weights.scale * torch.relu(_SMALLEST_SCALE - camera[:, 0]).clamp(max=_FAR).mean(),
    }


def load_backbone(regressor: Regressor, path: str | Path) -> int:
    """Start from the ResNet of a pose network's checkpoint (.safetensors with torchvision's names). The entries taken.

    Raises:
        InputError: the file lacks entries of this ResNet, or they have other shapes.
    """
    state = read_safetensors(path)[0]
    head = ("fc", "dec", "init_")
    own = {name: value for name, value in regressor.state_dict().items() if not name.startswith(head)}
    unfit = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if unfit:
        raise InputError(
            f"{path}: {len(unfit)} of the backbone's {len(own)} entries are missing or misfit ({unfit[0]})"
        )
    regressor.load_state_dict({name: state[name].float() for name in own}, strict=False)
    return len(own)


def evaluate_regressor(
    regressor: Regressor, persons: PersonSet, crops: KeptCrops, body_dir: Path | None = None
) -> RegressorErrors:
    """MPJPE and PA-MPJPE (mm) on plain crops, in the cameras' frames."""
    rows = np.arange(len(persons))
    views = sample_views(persons, crops, rows, regressor.config.input_size, PLAIN, np.random.default_rng(0))
    output = predict(regressor, views.images)
    fits = place_in_camera(output, views.centers_px, views.sides_px, persons.intrinsics, regressor.config.orientation)
    guess = _joints(fits.rotations, fits.betas, ("neutral",) * len(persons), body_dir)
    truth = _joints(persons.rotations, persons.betas, persons.genders, body_dir)
    return RegressorErrors(
        float(mean_point_error_mm(guess, truth).mean()), float(pa_mpjpe_mm(guess, truth).mean()), len(persons)
    )


def train_regressor(config: TrainRegressorConfig) -> TrainRegressorResult:
    """Train and leave the averaged weights in `config.out` / regressor.safetensors.

    Raises:
        InputError: the data or an option cannot be used, or a loss is not finite.
    """
    require_positive(
        minutes=config.minutes, batch=config.batch, lr=config.lr, threads=config.threads, limit=config.limit
    )
    torch.set_num_threads(config.threads)
    config.out.mkdir(parents=True, exist_ok=True)
    persons = read_persons(config.data, config.train_split, limit=config.limit)
    crops = cut_persons(persons, config.out)
    unseen = read_persons(config.data, config.validation_split, limit=config.validation_persons)
    unseen_crops = cut_persons(unseen)
    torch.manual_seed(config.seed)
    network = Regressor(config.network)
    if config.backbone is not None:
        load_backbone(network, config.backbone)
    run = _RegressorRun(config, network)
    if config.resume:
        run.load()
    say(f"training on {len(persons)} persons from step {run.step}")
    body = reduce_body(load_body(), TRAINING_POINTS).to(torch.float32)
    run.network.train()
    for part in run.frozen:
        part.eval()
    with run.showing():
        while run.progress < 1.0:
            run.take_step(persons, crops, body)
            if run.due("checkpoint", config.checkpoint_minutes):
                run.save(config)
            if run.due("evaluate", config.evaluate_minutes):
                run.report(unseen, unseen_crops, len(persons))
    errors = run.report(unseen, unseen_crops, len(persons))
    run.save(config)
    return TrainRegressorResult(
        run.weights_file, errors, run.step, run.step * config.batch / len(persons), run.elapsed / 60
    )


class _RegressorRun(TrainingRun[Regressor]):
    """A run on kept crops of persons whose bodies are known."""

    def __init__(self, config: TrainRegressorConfig, network: Regressor) -> None:
        stages = [network.layer1, network.layer2, network.layer3, network.layer4]
        self.frozen = [network.conv1, network.bn1, *stages[: config.frozen_stages]] if config.frozen_stages else []
        for part in self.frozen:
            part.requires_grad_(False)
        schedule = Schedule(
            config.minutes, config.steps, config.lr, config.weight_decay, config.warmup, config.ema, largest_norm=1.0
        )
        super().__init__(network, schedule, config.out, "regressor")
        self.config = config
        self.recent: list[dict[str, float]] = []

    def take_step(self, persons: PersonSet, crops: KeptCrops, body: ReducedBody) -> None:
        """One step of the optimiser on the next persons of a shuffled pass over all."""
        config = self.config
        batch = min(config.batch, len(persons))
        epoch, place = divmod(self.step, max(len(persons) // batch, 1))
        order = np.random.default_rng((config.seed, epoch)).permutation(len(persons))
        rows = np.sort(order[place * batch : (place + 1) * batch])
        size = config.early_size if self.progress < config.early_share else config.network.input_size
        views = sample_views(
            persons, crops, rows, size, config.views, np.random.default_rng((config.seed, 1, self.step))
        )
        images = normalise(views.images).contiguous(memory_format=torch.channels_last)
        terms = regressor_losses(self.network(images), views, body, config.losses)
        value = self.descend(torch.stack(list(terms.values())).sum())
        if not math.isfinite(value):
            images_ids = persons.dataset.image_ids[rows].tolist()
            raise InputError(
                f"the loss is {value} at step {self.step}, on images {images_ids}: lower the learning rate"
            )
        self.recent = [*self.recent[-199:], {name: float(term.detach()) for name, term in terms.items()}]

    def report(self, persons: PersonSet, crops: KeptCrops, trained_on: int) -> RegressorErrors:
        """Evaluate the averaged weights, log a line and write them down."""
        errors = evaluate_regressor(self.average, persons, crops)
        names = self.recent[0] if self.recent else {}
        line = {
            "minutes": round(self.elapsed / 60, 2),
            "step": self.step,
            "epochs": round(self.step * self.config.batch / trained_on, 2),
            "mpjpe_mm": round(errors.mpjpe_mm, 1),
            "pa_mpjpe_mm": round(errors.pa_mpjpe_mm, 1),
            **{name: round(float(np.mean([terms[name] for terms in self.recent])), 4) for name in names},
        }
        self.log(line)
        metadata = {name: str(line[name]) for name in ("minutes", "step", "epochs", "mpjpe_mm", "pa_mpjpe_mm")}
        metadata |= {"seed": str(self.config.seed), "validation_persons": str(errors.persons)}
        save_regressor(self.average, self.weights_file, metadata)
        return errors


@torch.no_grad()
def _joints(
    rotations: np.ndarray, betas: np.ndarray, genders: tuple[str, ...], body_dir: Path | None
) -> Float[Tensor, "n 14 3"]:
    """14 joints about the H36M regressor's pelvis."""
    joints = torch.zeros(len(rotations), len(LSP14), 3)
    order = remap(H36M17, LSP14)
    for gender in GENDERS:
        own = np.flatnonzero([g == gender for g in genders])
        for part in np.array_split(own, max(len(own) // 64, 1)):
            if len(part):
                body = load_body(body_dir, gender)
                posed = body(*(torch.tensor(array[part], dtype=torch.float32) for array in (rotations, betas)))
                found = body.evaluation_joints(posed.vertices)
                joints[part] = found[:, order] - found[:, :1]
    return joints


def export_packaged(source: Path, target: Path, notes: dict[str, str]) -> None:
    """Write a trained regressor in half precision with notes on how it was made, as the package ships it."""
    save_regressor(load_regressor(source).half(), target, notes)
