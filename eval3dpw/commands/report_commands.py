"""Subcommands that show what a run has left: the page, the live viewer, files for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calibration.commands.coco_commands import CocoEval


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


@dataclass(frozen=True)
class View:
    """Look at fits in 3D, live in a browser on this machine."""

    fits: Path
    """Folder that `demo`, `compare` or `fit` was given as --out."""
    root: Path | None = None
    """The dataset, if it lies elsewhere than when the run was made."""
    port: int = 8080
    """On localhost; the next free one if it is taken."""

    def run(self) -> None:
        """Serve until interrupted."""
        from eval3dpw.report.run_data import load_run
        from eval3dpw.report.viewer import HOST, Viewer

        viewer = Viewer(load_run(self.fits, self.root), self.port)
        print(f"Open http://{HOST}:{viewer.port} (this machine only); Ctrl-C ends it", flush=True)
        try:
            viewer.serve()
        finally:
            viewer.stop()


@dataclass(frozen=True)
class Export:
    """Write fits for other programs: overlay videos, meshes, SMPL motions for Blender and AitViewer."""

    fits: Path
    """Folder that `demo`, `compare` or `fit` was given as --out."""
    out: Path
    """Folder to write to: <track>_<weighting>.mp4 or .npz, or a folder of meshes by that name."""
    format: Literal["mp4", "glb", "obj", "npz"] = "mp4"
    """mp4: bodies over the images. glb, obj: a mesh a frame. npz: poses, betas, trans, gender, mocap_framerate."""
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

        if self.frames_per_second <= 0:
            raise InputError(f"--frames-per-second is {self.frames_per_second}: it must be above 0")
        run = load_run(self.fits, self.root)
        known = [track["track"] for track in run.summary["tracks"]]
        for name in self.tracks:
            if name not in known:
                raise InputError(f"{self.fits} has no track {name!r}: it has {', '.join(known[:8])}")
        for name in self.tracks or known:
            row = self.weighting or run.favourite
            print(export_track(run, name, row, self.format, self.out, self.frames_per_second, self.up))


@dataclass(frozen=True)
class CocoEvalWithReport(CocoEval):
    """Judge the confidences of results files: AP as pycocotools gives it, calibration, and what is still to be won."""

    report: Path | None = None
    """Write one self-contained page of it here."""

    def run(self) -> None:
        """Evaluate, print, and write what was asked for."""
        evaluation = self.evaluate()
        if self.report is not None:
            from eval3dpw.report.coco_report import write_coco_report
            from eval3dpw.run.provenance import configuration, versions

            record = {"command": "coco-eval", "configuration": configuration(self), "versions": versions()}
            print(f"wrote {write_coco_report(evaluation, self.report, record)}")
