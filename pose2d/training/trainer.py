"""Training a pose network on crops of annotated persons, within a budget of time, on one or two CPU cores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose2d.console.progress import say
from pose2d.crops import apply_affine, invert_affine
from pose2d.datasets.coco_ap import average_precision_percent
from pose2d.datasets.crop_set import CropSet, cut_crops, network_affine
from pose2d.datasets.kinds import DATASETS
from pose2d.errors import InputError, require_positive
from pose2d.files.safetensor_files import read_safetensors, write_safetensors
from pose2d.networks.base import TorchPoseNetwork, predict
from pose2d.networks.catalogue import build_network
from pose2d.networks.checkpoints import read_tensors
from pose2d.networks.ipr import IPR
from pose2d.training.augmentation import augment, epoch_order, plain_views
from pose2d.training.losses import PoseLoss, Targets, pose_loss
from pose2d.training.options import TrainPoseOptions
from pose2d.training.run import Schedule, TrainingRun, described

_SOFTMAX_GAIN = 20.0
"""Heatmaps times this are logits whose softmax is about as narrow as the heatmap's peak."""


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


def train_pose(options: TrainPoseOptions) -> TrainPoseResult:
    """Train a network and leave its averaged weights in `options.out`.

    Raises:
        InputError: the data or an option cannot be used, or a loss is not finite.
    """
    require_positive(
        minutes=options.minutes, batch=options.batch, lr=options.lr, threads=options.threads, limit=options.limit
    )
    torch.set_num_threads(options.threads)
    loss_of = pose_loss(options.network)
    kind = DATASETS[options.dataset]
    dataset = kind.read(options.data, options.train_split)
    if options.limit is not None:
        dataset = dataset.select(np.arange(min(options.limit, len(dataset))))
    held_out = kind.read(options.data, options.validation_split)
    spread = np.linspace(0, len(held_out) - 1, min(options.validation_persons, len(held_out))).astype(int)
    torch.manual_seed(options.seed)
    network = build_network(options.network, len(kind.skeleton))
    if options.initial is not None:
        say(f"took {take_over(network, options.initial)} tensors from {options.initial}")
    size_wh = network.input_spec.size_wh
    crops = cut_crops(dataset, size_wh, options.out)
    validation = cut_crops(held_out.select(spread), size_wh)
    run = _PoseRun(options, network)
    if options.resume:
        run.seen = run.load().get("seen", 0)
    say(f"training {options.network} on {len(crops)} crops for {options.minutes:g} minutes from step {run.step}")
    score = float("nan")
    network.train()
    for rows in run.batches(len(crops)):
        phase_wh = options.early_size_wh if run.progress < options.early_share else size_wh
        value = run.take_step(crops, rows, phase_wh, loss_of)
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} at step {run.step}, on images {crops.dataset.image_ids[rows].tolist()}: "
                "look at their annotations, or lower the learning rate"
            )
        if run.due("checkpoint", options.checkpoint_minutes):
            run.save(options, seen=run.seen)
        if run.due("evaluate", options.evaluate_minutes):
            score = run.evaluate(validation)
    score = run.evaluate(validation)
    run.save(options, seen=run.seen)
    return TrainPoseResult(run.weights_file, score, run.step, run.seen / len(crops), run.elapsed / 60)


class _PoseRun(TrainingRun[Any]):
    """A run on kept crops."""

    def __init__(self, options: TrainPoseOptions, network: TorchPoseNetwork) -> None:
        schedule = Schedule(options.minutes, None, options.lr, options.weight_decay, options.warmup, options.ema)
        super().__init__(network, schedule, options.out, options.network)
        self.options = options
        self.seen = 0
        self.losses: list[float] = []

    def batches(self, count: int) -> Iterator[np.ndarray]:
        """Rows of the training crops, epoch after epoch, until the budget is spent."""
        size = min(self.options.batch, count)
        with self.showing():
            while self.progress < 1.0:
                epoch, place = divmod(self.seen, count)
                order = epoch_order(count, self.options.seed, epoch)
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
            self.options.augmentation,
            np.random.default_rng((self.options.seed, self.step)),
        )
        images = self.network.input_spec.normalise(torch.from_numpy(views.images))
        targets = Targets(views, size_wh, self.options.heatmap_sigma)
        value = self.descend(loss_of(self.network, self.network(images), targets))
        self.losses = [*self.losses[-199:], value]
        return value

    def evaluate(self, validation: CropSet) -> float:
        """AP of the averaged weights on plain crops at GT boxes, no flip test; logs a line, writes the weights."""
        xy, score = predict_crops(self.average, validation)
        value = average_precision_percent(validation.dataset, xy, score.mean(axis=1))
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
            "network": self.options.network,
            "seed": str(self.options.seed),
            "steps": str(self.step),
            "minutes": f"{self.elapsed / 60:.1f}",
            "validation_ap": f"{average_precision:.2f}",
            "config": json.dumps(described(self.options)),
        }
        tensors = {name: value.contiguous() for name, value in self.average.state_dict().items()}
        write_safetensors(self.weights_file, tensors, metadata)


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
    tensors, metadata = read_safetensors(source)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    write_safetensors(target, halves, metadata | (about or {}))
