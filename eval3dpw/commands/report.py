"""`report`: the page of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Report:
    """Write the page of a run: tables, charts, pictures and bodies in 3D in one file that needs no network."""

    run_dir: Path
    """Folder that `demo`, `compare`, `fit` or `evaluate` was given as --out."""
    out: Path | None = None
    """The page to write; report.html in that folder by default."""
    root: Path | None = None
    """The dataset, if it lies elsewhere than when the run was made."""
    pictures: int = 3
    """Frames of each kind: worst, most improved, most worsened, slowest."""
    scene_tracks: int = 2
    """Tracks whose bodies can be seen in 3D."""

    def run(self) -> None:
        """Write the page and say where it lies."""
        from eval3dpw.report.run_report import ReportLimits, write_report
        from pose2d.errors import InputError

        if self.pictures < 0 or self.scene_tracks < 1:
            raise InputError("--pictures must be 0 or more, and --scene-tracks 1 or more")
        limits = ReportLimits(pictures=self.pictures, scene_tracks=self.scene_tracks)
        print(f"Report: {write_report(self.run_dir, self.out, self.root, limits)}")
