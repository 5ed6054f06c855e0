"""`export`: fits for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Export:
    """Write fits for other programs: overlay videos, meshes, SMPL motions for Blender and AitViewer."""

    fits: Path
    """Folder that `demo`, `compare` or `fit` was given as --out."""
    out: Path
    """Folder to write to: <track>_<weighting>.mp4 or .npz, or a folder of meshes by that name."""
    format: Literal["mp4", "glb", "obj", "npz"] = "mp4"
    """mp4: bodies over the images. glb, obj: a mesh per frame. npz: poses, betas, trans, gender, mocap_framerate."""
    weighting: str | None = None
    """Whose bodies; ccnet's by default, or the last row's."""
    tracks: tuple[str, ...] = ()
    """Only these tracks (<sequence>_<actor>); all when none is named."""
    root: Path | None = None
    """The dataset, if it lies elsewhere than when the run was made."""
    frames_per_second: float = 30.0
    """Of the sequences."""
    up: Literal["z", "y"] = "z"
    """Axis that points up in .npz: z for Blender (AMASS), y for AitViewer."""

    def run(self) -> None:
        """Write what was asked for and say where it lies."""
        from eval3dpw.report.export import export_track
        from eval3dpw.report.run_data import load_run
        from pose2d.errors import InputError

        if not 0 < self.frames_per_second <= 1000:
            raise InputError(f"--frames-per-second is {self.frames_per_second}: it must be above 0 and at most 1000")
        run = load_run(self.fits, self.root)
        known = [track["track"] for track in run.summary["tracks"]]
        for name in self.tracks:
            if name not in known:
                raise InputError(f"{self.fits} has no track {name!r}: it has {', '.join(known[:8])}")
        failed: dict[str, str] = {}
        for name in self.tracks or known:
            row = self.weighting or run.favourite
            try:
                print(export_track(run, name, row, self.format, self.out, self.frames_per_second, self.up))
            except InputError as error:  # a bad track does not end the others'
                failed[name] = str(error)
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise InputError(f"{len(failed)} of {len(self.tracks or known)} tracks could not be exported ({reasons})")
