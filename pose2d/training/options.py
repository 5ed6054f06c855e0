"""The options of a training run; below the work and free of torch, so that the command line has them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pose2d.names import DatasetName


@dataclass(frozen=True)
class Augmentation:
    """How far training's views stray from the plain crop."""

    scale: float = 0.2
    """Zoom is uniform in 1 +- scale."""
    rotation_deg: float = 15.0
    """Rotation is normal with this standard deviation, cut at twice it, in `rotation_share` of crops."""
    rotation_share: float = 0.4
    """Share of crops that are rotated."""
    shift: float = 0.02
    """Standard deviation of the shift, as a share of the crop's height."""
    flip_share: float = 0.5
    """Share of crops that are mirrored."""
    colour: float = 0.2
    """Channel gains are uniform in 1 +- colour, one common and one for each channel."""
    erase_share: float = 0.15
    """Share of crops in which a rectangle is painted over."""
    half_body_share: float = 0.1
    """Share of crops that show the upper or the lower body alone (where enough is labelled)."""


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class TrainPoseOptions:
    """A training run; the defaults are those of the packaged network."""

    data: Path
    """Directory in the data set's layout; COCO's: annotations/person_keypoints_<split>.json and images/<split>."""
    out: Path
    """Directory of checkpoints, the log and the cache of crops."""
    network: str = "sbl-small"
    """Network to train: sbl-small, rle-small, ipr-small, or any of these families."""
    train_split: str = "train"
    """Split to train on."""
    validation_split: str = "validation"
    """Split whose AP is logged now and then."""
    validation_persons: int = 600
    """How many of its persons, evenly spread."""
    minutes: float = 67.0
    """Budget; the learning rate's schedule spans it, whatever the machine's speed."""
    seed: int = 0
    """Of weights, order and augmentation."""
    batch: int = 16
    """Crops per step."""
    lr: float = 1.5e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW."""
    warmup: float = 0.03
    """Share of the budget in which the learning rate rises."""
    ema: float = 0.998
    """Decay of the averaged weights per step."""
    heatmap_sigma: float = 1.2
    """Standard deviation of target heatmaps, in cells."""
    early_size_wh: tuple[int, int] = (64, 96)
    """Width and height of the smaller crop of the first part of the run; both multiples of 32."""
    early_share: float = 0.45
    """Share of the budget on smaller crops, which are quick to learn from; 0 where a trained backbone is taken over."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random views."""
    evaluate_minutes: float = 4.0
    """Time between evaluations."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints."""
    threads: int = 1
    """Of torch."""
    initial: Path | None = None
    """Weights of another network whose backbone is taken over, where names (less `preact.` or `trunk.`) and shapes
    agree."""
    limit: int | None = None
    """Train on the first persons only."""
    resume: bool = False
    """Go on from the checkpoint in --out."""
    dataset: DatasetName = "coco"
    """Layout of --data and keypoints of the network: COCO's 17, MPII's 16 or COCO-WholeBody's 133."""
