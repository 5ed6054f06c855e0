"""Training a pose network on crops of annotated persons, within a budget of time, on one or two CPU cores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pose2d.console.progress import say
from pose2d.crops import apply_affine, invert_affine
from pose2d.datasets.augmentation import Augmentation, augment, epoch_order, plain_views
from pose2d.datasets.coco_ap import average_precision
from pose2d.datasets.crop_set import CropSet, cut_crops, network_affine
from pose2d.datasets.kinds import DATASETS, DatasetName
from pose2d.errors import InputError, require_positive
from pose2d.files.storage import atomic_path
from pose2d.networks.base import TorchPoseNetwork, predict
from pose2d.networks.catalogue import build_network
from pose2d.networks.checkpoints import read_tensors
from pose2d.networks.ipr import IPR
from pose2d.training.losses import PoseLoss, Targets, pose_loss
from pose2d.training.run import Schedule, TrainingRun, described

_SOFTMAX_GAIN = 20.0
"""Heatmaps times this are logits whose softmax is about as narrow as the heatmap's peak."""


@dataclass(frozen=True)
class TrainPoseConfig:
    """A training run; the defaults are those of the bundled network.

    Attributes:
        data: directory in the data set's layout.
        out: directory of checkpoints, logs and the cache of crops.
        network: name of the network (`networks` lists them).
        train_split: split to train on.
        validation_split: split that is evaluated now and then.
        validation_persons: how many of its persons.
        minutes: budget of time; the learning rate's schedule spans it.
        seed: of initial weights, order and augmentation.
        batch: crops a step.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW.
        warmup: share of the budget in which the learning rate rises.
        ema: decay of the averaged weights, a step.
        heatmap_sigma: standard deviation of target heatmaps, in cells.
        early_size_wh: smaller crop of the first part of the run, quick to learn from; both sides multiples of 32.
        early_share: share of the budget on the smaller crop.
        augmentation: random views.
        evaluate_minutes: time between evaluations.
        checkpoint_minutes: time between checkpoints.
        threads: of torch.
        initial: weights of another network whose backbone is taken over, where names (less `preact.` or `trunk.`) and
            shapes agree.
        limit: train on the first persons only.
        resume: go on from the checkpoint in `out`.
        dataset: the layout of `data`, which decides the keypoints.
    """

    data: Path
    out: Path
    network: str = "sbl-small"
    train_split: str = "train"
    validation_split: str = "validation"
    validation_persons: int = 600
    minutes: float = 65.0
    seed: int = 0
    batch: int = 16
    lr: float = 1.5e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    ema: float = 0.998
    heatmap_sigma: float = 1.2
    early_size_wh: tuple[int, int] = (64, 96)
    early_share: float = 0.45
    augmentation: Augmentation = field(default_factory=Augmentation)
    evaluate_minutes: float = 4.0
    checkpoint_minutes: float = 3.0
    threads: int = 1
    initial: Path | None = None
    limit: int | None = None
    resume: bool = False
    dataset: DatasetName = "coco"


@dataclass(frozen=True)
class TrainPoseResult:
    """How a run ended.

    Attributes:
        checkpoint: the averaged weights, safetensors.
        average_precision: on the validation split's persons at GT boxes, in percent.
        steps: optimiser steps taken.
        epochs: passes over the training crops.
        minutes: time spent.
    """

    checkpoint: Path
    average_precision: float
    steps: int
    epochs: float
    minutes: float


def train_pose(config: TrainPoseConfig) -> TrainPoseResult:
    """Train a network and leave its averaged weights in `config.out`.

    Raises:
        InputError: the data or an option cannot be used, or a loss is not finite.
    """
    require_positive(
        minutes=config.minutes, batch=config.batch, lr=config.lr, threads=config.threads, limit=config.limit
    )
    torch.set_num_threads(config.threads)
    loss_of = pose_loss(config.network)
    kind = DATASETS[config.dataset]
    dataset = kind.read(config.data, config.train_split)
    if config.limit is not None:
        dataset = dataset.select(np.arange(min(config.limit, len(dataset))))
    held_out = kind.read(config.data, config.validation_split)
    spread = np.linspace(0, len(held_out) - 1, min(config.validation_persons, len(held_out))).astype(int)
    torch.manual_seed(config.seed)
    network = build_network(config.network, len(kind.skeleton))
    if config.initial is not None:
        say(f"took {take_over(network, config.initial)} tensors from {config.initial}")
    size_wh = network.input_spec.size_wh
    crops = cut_crops(dataset, size_wh, config.out)
    validation = cut_crops(held_out.select(spread), size_wh)
    run = _PoseRun(config, network)
    if config.resume:
        run.seen = run.load().get("seen", 0)
    say(f"training {config.network} on {len(crops)} crops for {config.minutes:g} minutes from step {run.step}")
    score = float("nan")
    network.train()
    for rows in run.batches(len(crops)):
        phase_wh = config.early_size_wh if run.progress < config.early_share else size_wh
        value = run.take_step(crops, rows, phase_wh, loss_of)
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} at step {run.step}, on images {crops.dataset.image_ids[rows].tolist()}: "
                "look at their annotations, or lower the learning rate"
            )
        if run.due("checkpoint", config.checkpoint_minutes):
            run.save(config, seen=run.seen)
        if run.due("evaluate", config.evaluate_minutes):
            score = run.evaluate(validation)
    score = run.evaluate(validation)
    run.save(config, seen=run.seen)
    return TrainPoseResult(run.weights_file, score, run.step, run.seen / len(crops), run.elapsed / 60)


class _PoseRun(TrainingRun[Any]):
    """A run on kept crops."""

    def __init__(self, config: TrainPoseConfig, network: TorchPoseNetwork) -> None:
        schedule = Schedule(config.minutes, None, config.lr, config.weight_decay, config.warmup, config.ema)
        super().__init__(network, schedule, config.out, config.network)
        self.config = config
        self.seen = 0
        self.losses: list[float] = []

    def batches(self, count: int) -> Iterator[np.ndarray]:
        """Rows of the training crops, epoch after epoch, until the budget is spent."""
        size = min(self.config.batch, count)
        with self.showing():
            while self.progress < 1.0:
                epoch, place = divmod(self.seen, count)
                order = epoch_order(count, self.config.seed, epoch)
                for begin in range(place, count - size + 1, size):
                    if self.progress >= 1.0:
                        return
                    self.seen = epoch * count + begin + size
                    yield np.sort(order[begin : begin + size])
                self.seen = (epoch + 1) * count

    def take_step(self, crops: CropSet, rows: np.ndarray, size_wh: tuple[int, int], loss_of: PoseLoss) -> float:
        """One step of the optimiser; the loss."""
        views = augment(
            np.asarray(crops.images[rows]),
            crops.xy_px[rows],
            crops.dataset.labelled[rows],
            size_wh,
            crops.dataset.skeleton,
            self.config.augmentation,
            np.random.default_rng((self.config.seed, self.step)),
        )
        images = self.network.input_spec.normalise(torch.from_numpy(views.images))
        targets = Targets(views, size_wh, self.config.heatmap_sigma)
        value = self.descend(loss_of(self.network, self.network(images), targets))
        self.losses = [*self.losses[-199:], value]
        return value

    def evaluate(self, validation: CropSet) -> float:
        """AP of the averaged weights on plain crops at GT boxes, no flip test; logs a line, writes the weights."""
        xy, score = predict_crops(self.average, validation)
        value = average_precision(validation.dataset, xy, score.mean(axis=1))
        self.log(
            {
                "minutes": round(self.elapsed / 60, 2),
                "step": self.step,
                "seen": self.seen,
                "loss": float(np.mean(self.losses)) if self.losses else None,
                "lr": self.learning_rate(),
                "ap": round(value, 2),
                "mean_score": round(float(score.mean()), 3),
            }
        )
        self.save_weights(value)
        return value

    def save_weights(self, average_precision: float) -> None:
        """Write the averaged weights with what made them."""
        metadata = {
            "network": self.config.network,
            "seed": str(self.config.seed),
            "steps": str(self.step),
            "minutes": f"{self.elapsed / 60:.1f}",
            "validation_ap": f"{average_precision:.2f}",
            "config": json.dumps(described(self.config)),
        }
        tensors = {name: value.contiguous() for name, value in self.average.state_dict().items()}
        with atomic_path(self.weights_file) as partial:
            save_file(tensors, partial, metadata)


def take_over(network: TorchPoseNetwork, source: Path) -> int:
    """Fill what a network shares with another's weights, by names without `preact.` and `trunk.`, and shapes.

    Returns:
        How many tensors were taken.

    Raises:
        InputError: nothing agrees.
    """

    def bare(name: str) -> str:
        return name.removeprefix("preact.").removeprefix("trunk.")

    given = {bare(name): value for name, value in read_tensors(source).items()}
    own = network.state_dict()
    taken = {
        name: given[bare(name)].to(value.dtype)
        for name, value in own.items()
        if bare(name) in given and given[bare(name)].shape == value.shape
    }
    if not taken:
        raise InputError(f"{source} shares no weights with the network that is to be trained")
    network.load_state_dict(own | taken)
    if isinstance(network, IPR) and not any(name.startswith("trunk.") for name in read_tensors(source)):
        # Heatmaps reach 1, where a softmax over a thousand cells is all but flat.
        with torch.no_grad():
            network.trunk.final_layer.weight.mul_(_SOFTMAX_GAIN)
            assert network.trunk.final_layer.bias is not None
            network.trunk.final_layer.bias.mul_(_SOFTMAX_GAIN)
    return len(taken)


def predict_crops(network: Any, crops: CropSet, batch: int = 64, flip: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints in image pixels (n, k, 2) and raw scores (n, k) for kept crops."""
    size_wh = network.input_spec.size_wh
    from_view = invert_affine(network_affine((crops.images.shape[2], crops.images.shape[1]), size_wh))
    pairs = crops.dataset.skeleton.flip_pairs if flip else None
    back = invert_affine(crops.affines)
    xy_px, scores = [], []
    for begin in range(0, len(crops), batch):
        views = plain_views(np.asarray(crops.images[begin : begin + batch]), size_wh)
        output = predict(network, network.input_spec.normalise(torch.from_numpy(views)), pairs)
        to_image = _compose(back[begin : begin + batch], from_view)
        xy_px.append(apply_affine(to_image, output.xy_px.double().numpy()))
        scores.append(output.raw_score.numpy())
    return np.concatenate(xy_px), np.concatenate(scores)


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Affine maps (n, 2, 3) that first do `inner` (2, 3), then each of `outer` (n, 2, 3)."""
    return np.concatenate([outer[:, :, :2] @ inner[:, :2], outer[:, :, :2] @ inner[:, 2:] + outer[:, :, 2:]], axis=2)


def export_half(source: Path, target: Path, about: dict[str, str] | None = None) -> None:
    """Copy weights as half floats (half the size), with their metadata and whatever `about` adds.

    Args:
        source: safetensors that `train_pose` wrote.
        target: safetensors to write.
        about: further metadata.
    """
    with safe_open(source, "pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    halves = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    with atomic_path(target) as partial:
        save_file(halves, partial, metadata | (about or {}))
