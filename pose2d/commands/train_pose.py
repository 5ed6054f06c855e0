"""The subcommand that trains a pose network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pose2d.datasets.names import DatasetName


@dataclass(frozen=True)
class TrainPose:
    """Train a small pose network on crops of annotated persons, within a budget of time."""

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
    minutes: float = 67.0
    """Budget; the learning rate's schedule spans it, whatever the machine's speed."""
    seed: int = 0
    """Of weights, order and augmentation."""
    batch: int = 16
    """Crops a step."""
    lr: float = 1.5e-3
    """Peak learning rate."""
    early_share: float = 0.45
    """Share of the budget on smaller crops, which are quick to learn from; 0 where a trained backbone is taken over."""
    threads: int = 1
    """Of torch."""
    initial: Path | None = None
    """Weights of another network whose backbone is taken over."""
    dataset: DatasetName = "coco"
    """Layout of --data and keypoints of the network: COCO's 17, MPII's 16 or COCO-WholeBody's 133."""
    resume: bool = False
    """Go on from the checkpoint in --out."""
    export: Path | None = None
    """Write the final weights here too, as half floats."""

    def run(self) -> None:
        """Train, print the validation AP, and write the weights."""
        from pose2d.training.trainer import TrainPoseConfig, export_half, train_pose

        config = TrainPoseConfig(
            data=self.data,
            out=self.out,
            network=self.network,
            train_split=self.train_split,
            validation_split=self.validation_split,
            minutes=self.minutes,
            seed=self.seed,
            batch=self.batch,
            lr=self.lr,
            early_share=self.early_share,
            threads=self.threads,
            initial=self.initial,
            resume=self.resume,
            dataset=self.dataset,
        )
        result = train_pose(config)
        print(
            f"{self.network}: validation AP {result.average_precision:.1f} after {result.steps} steps, "
            f"{result.epochs:.1f} epochs, {result.minutes:.1f} minutes: {result.checkpoint}"
        )
        if self.export is not None:
            export_half(result.checkpoint, self.export)
            print(f"wrote {self.export}")
