"""Options of the regressor's training, below the work that they steer; `train-regressor` shows them as flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fitting.regressor.model import RegressorConfig


@dataclass(frozen=True)
class LossWeights:
    """Weights of SPIN's losses."""

    joints: float = 5.0
    """L1 of points about the pelvis, metres."""
    rotations: float = 2.0
    """Squared difference of rotation matrices."""
    root: float = 2.0
    """Extra weight of the root's rotation."""
    betas: float = 0.01
    """Squared difference of shapes."""
    projection: float = 3.0
    """L1 in the crop's [-1, 1] frame."""
    scale: float = 1.0
    """Keeps the camera's scale positive (SPIN's exponential penalty overflows on small networks that start from
    nothing)."""


@dataclass(frozen=True)
class ViewConfig:
    """How far training's views stray from the plain crop."""

    annotated_box_share: float = 0.25
    """Share of views about the annotated box in place of the keypoints' box."""
    scale: float = 0.2
    """The crop's side is multiplied by a number uniform in 1 +- scale."""
    shift: float = 0.05
    """Standard deviation of the centre's shift, of the side."""
    rotation_deg: float = 12.0
    """Standard deviation of the turn."""
    rotation_share: float = 0.5
    """Share of turned views."""
    flip_share: float = 0.5
    """Share of mirrored views."""
    colour: float = 0.25
    """Gains of brightness and of each channel are uniform in 1 +- colour."""
    patch_share: float = 0.2
    """Share of views in which a rectangle is painted over."""


@dataclass(frozen=True)
class TrainRegressorConfig:
    """A training run; the defaults are those of the packaged network."""

    data: Path
    """Folder in COCO's layout with annotations/person_smpl_<split>.json (make-world's coco/)."""
    out: Path
    """Folder for checkpoints, the log and the cache of crops."""
    train_split: str = "train"
    """Split to learn from."""
    validation_split: str = "validation"
    """Split to evaluate on now and then."""
    validation_persons: int = 500
    """How many of its persons are evaluated."""
    minutes: float = 60.0
    """Budget of time, which the learning rate's schedule spans."""
    steps: int | None = None
    """Budget of optimiser steps in place of time."""
    seed: int = 0
    """Of initial weights, order and views."""
    batch: int = 24
    """Crops per step."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.02
    """Of AdamW."""
    warmup: float = 0.03
    """Share of the budget in which the learning rate rises."""
    ema: float = 0.998
    """Decay of the averaged weights, per step."""
    early_size: int = 80
    """Side of the crops in the first part of the run, quick to learn from; px."""
    early_share: float = 0.55
    """Share of the budget that is spent on smaller crops first."""
    network: RegressorConfig = field(
        default_factory=lambda: RegressorConfig(18, 32, 512, 112, orientation="ray", dropout=0.1)
    )
    """Shape of the network."""
    backbone: Path | None = None
    """Checkpoint of a pose network with the same ResNet, to start from."""
    frozen_stages: int = 0
    """How many of its ResNet's stages (and what precedes them) keep the backbone's weights, since a step costs less
    where nothing flows back to the large maps; 0 trains everything."""
    views: ViewConfig = field(default_factory=ViewConfig)
    """Random views."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    evaluate_minutes: float = 5.0
    """How often the averaged weights are evaluated."""
    checkpoint_minutes: float = 3.0
    """How often a checkpoint is written."""
    threads: int = 1
    """Of torch."""
    limit: int | None = None
    """Train on the first persons only."""
    resume: bool = False
    """Go on from the checkpoint in the folder."""
