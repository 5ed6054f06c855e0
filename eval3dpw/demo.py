"""The demonstration: a small open world, all weightings, tables and pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.commands import Compare, Demo
from eval3dpw.comparison import INITIAL
from eval3dpw.fit_command import run_fits
from eval3dpw.fit_files import FITS_FOLDER, TrackFits
from eval3dpw.openworld.world import MakeWorldConfig, make_world
from eval3dpw.pictures import PictureSource, draw_comparison, write_picture
from eval3dpw.report_table import report_console
from eval3dpw.sequences import Track, iter_tracks
from fitting.body import load_body
from pose2d.errors import InputError
from pose2d.poses import Poses2D
from pose2d.skeletons import SKELETONS
from pose2d.storage import read_npz

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
    )
    summary = run_fits(compare, options.weightings)
    shown = "ccnet" if "ccnet" in options.weightings else options.weightings[-1]
    folder = options.out / "pictures"
    count = draw_pictures(world / "3dpw", "test", options.out, summary, shown, options.pictures, folder)
    console.print(f"Pictures of {count} frames (init and {shown}): {folder}", highlight=False)
    console.print(f"Done in {time.perf_counter() - start:.0f} s", highlight=False)
    return summary


def draw_pictures(
    root: Path, split: str, results: Path, summary: dict[str, Any], weighting: str, count: int, folder: Path
) -> int:
    """Draw frames that are spread evenly over all fitted ones, good or bad; gives back how many."""
    sequences = list(dict.fromkeys(track["sequence"] for track in summary["tracks"]))
    tracks = {track.name: track for track in iter_tracks(root, split, sequences)}
    fitted = [track["track"] for track in summary["tracks"]]
    initial = {name: TrackFits.load(results / FITS_FOLDER / INITIAL / f"{name}.npz") for name in fitted}
    frames = [(name, place) for name in fitted for place in range(len(initial[name].frame_ids))]
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    for old in folder.glob("*.png"):
        old.unlink()
    for number in chosen:
        name, place = frames[number]
        refined = TrackFits.load(results / FITS_FOLDER / weighting / f"{name}.npz")
        frame_id = int(initial[name].frame_ids[place])
        source = _source(tracks[name], results, initial[name], refined, place, weighting)
        picture = draw_comparison(source, load_body(gender=tracks[name].gender), load_body())
        write_picture(folder / f"{name}_{frame_id:05d}.png", picture)
    return len(chosen)


def _source(
    track: Track, results: Path, initial: TrackFits, refined: TrackFits, place: int, weighting: str
) -> PictureSource:
    found = read_npz(results / "keypoints" / f"{track.name}.npz")
    only = slice(place, place + 1)
    poses = Poses2D(
        SKELETONS[str(found["skeleton"])], found["xy_px"][only], found["raw_score"][only], found["boxes_xywh"][only]
    )
    confidence = np.clip(found.get("confidence", found["raw_score"])[only], 0, 1)
    return PictureSource(
        track.select(initial.frame_ids[only]),
        poses,
        confidence,
        initial.fits.select(only),
        refined.fits.select(only),
        (INITIAL, weighting),
    )
