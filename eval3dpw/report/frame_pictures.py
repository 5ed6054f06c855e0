"""Pictures of single frames of a run as files: image, initial and refined body, and both beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval3dpw.dataset.sequences import Track
from eval3dpw.drawing.pictures import PictureSource, draw_comparison, write_picture
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.report.run_data import load_run
from eval3dpw.results.fits import TrackFits
from eval3dpw.results.frame_errors import FrameTable
from eval3dpw.results.layout import errors_file, fits_file, keypoints_file
from fitting.bodies.body import load_body
from pose2d.console.progress import track as progress
from pose2d.errors import InputError
from pose2d.files.storage import read_npz
from pose2d.poses import Poses2D
from pose2d.skeletons import SKELETONS


def draw_pictures(run_folder: Path, weighting: str, count: int, folder: Path) -> int:
    """Draw frames that are spread evenly over all fitted ones, good or bad; returns how many.

    Args:
        run_folder: of a run whose dataset is still there.
        weighting: of the refined body.
        count: of frames, at most.
        folder: for `<track>_<frame>.png`; pictures of an earlier run are removed.

    Raises:
        InputError: the folder holds no finished run, or its dataset is not there any more.
    """
    run = load_run(run_folder)
    if run.dataset is None:
        raise InputError(f"the dataset of {run_folder} is not there any more: no pictures can be drawn")
    sequences = list(dict.fromkeys(track["sequence"] for track in run.summary["tracks"]))
    split = str(run.configuration.get("split", "test"))
    tracks = {track.name: track for track in run.dataset.tracks(split, sequences)}
    frames = [(track["track"], place) for track in run.summary["tracks"] for place in range(track["num_frames"])]
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    for old in folder.glob("*.png"):
        old.unlink()
    for number in progress(chosen, "pictures"):
        name, place = frames[number]
        source = _source(tracks[name], run_folder, place, weighting)
        picture = draw_comparison(source, load_body(gender=tracks[name].require_truth().gender), load_body())
        write_picture(folder / f"{name}_{source.track.frame_ids[0]:05d}.png", picture)
    return len(chosen)


def _source(track: Track, results: Path, place: int, weighting: str) -> PictureSource:
    """One frame of a track, by its place among the fitted ones."""
    found = read_npz(results / keypoints_file(track.name))
    initial, refined = (TrackFits.load(results / fits_file(name, track.name)) for name in (INITIAL, weighting))
    errors = FrameTable.load(results / errors_file(track.name))
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
