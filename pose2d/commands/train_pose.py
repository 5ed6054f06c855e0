"""The subcommand that trains a pose network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pose2d.training.options import TrainPoseOptions


@dataclass(frozen=True)
class TrainPose:
    """Train a small pose network on crops of annotated persons, within a budget of time."""

    options: Annotated[TrainPoseOptions, tyro.conf.arg(name="")]
    """The run."""
    export: Path | None = None
    """Write the final weights here too, as half floats."""

    def run(self) -> None:
        """Train, print the validation AP, and write the weights."""
        from pose2d.training.trainer import export_half, train_pose

        result = train_pose(self.options)
        print(
            f"{self.options.network}: validation AP {result.average_precision:.1f} after {result.steps} steps, "
            f"{result.epochs:.1f} epochs, {result.minutes:.1f} minutes: {result.checkpoint}"
        )
        if self.export is not None:
            export_half(result.checkpoint, self.export)
            print(f"wrote {self.export}")
