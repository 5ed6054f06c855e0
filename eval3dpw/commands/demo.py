"""The demonstration: a small open world, all weightings, tables and pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.commands.run_commands import Compare, Demo
from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.dataset.sequences import Track
from eval3dpw.drawing.pictures import PictureSource, draw_comparison, write_picture
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.openworld.world.make import MakeWorldConfig, make_world
from eval3dpw.report.run_report import write_report
from eval3dpw.report.table import report_console
from eval3dpw.results.fits import FITS_FOLDER, TrackFits
from eval3dpw.results.frame_errors import ERRORS_FOLDER, FrameTable
from eval3dpw.results.run_folder import KEYPOINTS_FOLDER
from eval3dpw.run.fit import run_fits
from fitting.bodies.body import load_body
from pose2d.console.progress import track as progress
from pose2d.errors import InputError
from pose2d.files.storage import read_npz
from pose2d.poses import Poses2D
from pose2d.skeletons import SKELETONS

_WORLD_FILE = "world.json"


def run_demo(options: Demo) -> dict[str, Any]:
    """Make (or find) the world, compare the weightings on its test split, draw pictures."""
    console = report_console()
    start = time.perf_counter()
    world = options.out / f"world-{options.seed}"
    if (world / _WORLD_FILE).is_file():
        console.print(f"World: {world} (made before)", highlight=False)
    else:
        if world.exists():
            raise InputError(f"{world} exists but is no finished world: remove it or choose another --out")
        make_world(MakeWorldConfig(world, seed=options.seed, parts=("3dpw",)))
        console.print(f"World: {world}", highlight=False)
    compare = Compare(
        root=world / "3dpw",
        out=options.out,
        weightings=options.weightings,
        protocol=options.protocol,
        limit=options.limit,
        fresh=options.fresh,
        workers=options.workers,
    )
    summary = run_fits(compare, options.weightings)
    shown = "ccnet" if "ccnet" in options.weightings else options.weightings[-1]
    folder = options.out / "pictures"
    count = draw_pictures(world / "3dpw", "test", options.out, summary, shown, options.pictures, folder)
    console.print(f"Pictures of {count} frames (init and {shown}): {folder}", highlight=False)
    if options.report:
        console.print(f"Report: {write_report(options.out)}", highlight=False)
    console.print(f"Done in {time.perf_counter() - start:.0f} s", highlight=False)
    return summary


def draw_pictures(
    root: Path, split: str, results: Path, summary: dict[str, Any], weighting: str, count: int, folder: Path
) -> int:
    """Draw frames that are spread evenly over all fitted ones, good or bad; gives back how many.

    Args:
        results: folder of the run.
        summary: of the run.
        weighting: of the refined body.
        folder: for `<track>_<frame>.png`; pictures of an earlier run are removed.
    """
    sequences = list(dict.fromkeys(track["sequence"] for track in summary["tracks"]))
    tracks = {track.name: track for track in open_dataset(root).tracks(split, sequences)}
    frames = [(track["track"], place) for track in summary["tracks"] for place in range(track["num_frames"])]
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    for old in folder.glob("*.png"):
        old.unlink()
    for number in progress(chosen, "pictures"):
        name, place = frames[number]
        source = _source(tracks[name], results, place, weighting)
        picture = draw_comparison(source, load_body(gender=tracks[name].require_truth().gender), load_body())
        write_picture(folder / f"{name}_{source.track.frame_ids[0]:05d}.png", picture)
    return len(chosen)


def _source(track: Track, results: Path, place: int, weighting: str) -> PictureSource:
    """One frame of a track, by its place among the fitted ones."""
    found = read_npz(results / KEYPOINTS_FOLDER / f"{track.name}.npz")
    initial, refined = (
        TrackFits.load(results / FITS_FOLDER / name / f"{track.name}.npz") for name in (INITIAL, weighting)
    )
    errors = FrameTable.load(results / ERRORS_FOLDER / f"{track.name}.npz")
    mpjpe_mm = [errors.errors_mm["mpjpe_mm"][errors.rows.index(name), place] for name in (INITIAL, weighting)]
    only = slice(place, place + 1)
    poses = Poses2D(
        SKELETONS[str(found["skeleton"])], found["xy_px"][only], found["raw_score"][only], found["boxes_xywh"][only]
    )
    return PictureSource(
        track.select(initial.frame_ids[only]),
        poses,
        np.clip(found.get("confidence", found["raw_score"])[only], 0, 1),
        initial.fits.select(only),
        refined.fits.select(only),
        (INITIAL, weighting),
        (f"{INITIAL}: MPJPE {mpjpe_mm[0]:.0f} mm", f"{weighting}: MPJPE {mpjpe_mm[1]:.0f} mm"),
    )
