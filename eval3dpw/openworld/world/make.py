"""The open world on disk: sequences in 3DPW's layout under DIR/3dpw and crops in COCO's under DIR/coco."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from eval3dpw.openworld.world.crop_files import CROP_SPLITS, CropConfig, write_crop_split
from eval3dpw.openworld.world.sequence_files import SEQUENCE_SPLITS, SequenceConfig, write_sequence_split
from pose2d.console.interruption import unfinished
from pose2d.errors import InputError
from pose2d.files.storage import write_json
from pose2d.parallel import usable_cores

WORLD_FILE = "world.json"
"""What a world holds, and the mark that a directory is one."""

Part = Literal["3dpw", "coco"]


@dataclass(frozen=True)
class WorldCounts:
    """How much of everything a world holds; a split of zero is not written.

    Attributes:
        test_sequences, validation_sequences, train_sequences: sequences; every second one has two actors.
        frames: images of each sequence.
        train_crops: pictures to train pose networks on.
        calibration_crops: pictures that pose networks have not seen, for what is fitted on their outputs.
        validation_crops, test_crops: pictures to choose on and to report on.
    """

    test_sequences: int = 0
    validation_sequences: int = 0
    train_sequences: int = 0
    frames: int = 24
    train_crops: int = 0
    calibration_crops: int = 0
    validation_crops: int = 0
    test_crops: int = 0


WORLD_SIZES = {
    "small": WorldCounts(test_sequences=24, validation_sequences=2, train_sequences=1, frames=10, test_crops=200),
    "full": WorldCounts(
        test_sequences=48,
        validation_sequences=16,
        train_sequences=8,
        frames=48,
        train_crops=14_000,
        calibration_crops=4_000,
        validation_crops=1_000,
        test_crops=2_600,
    ),
}


@dataclass(frozen=True)
class MakeWorldConfig:
    """What world to make.

    Attributes:
        out: directory to write to; it appears when everything in it is whole.
        size: "small" for a demonstration, "full" for training and tables.
        seed: the same seed gives the same bytes, whatever the number of workers.
        parts: what to make: "3dpw" (sequences), "coco" (crops).
        workers: processes; 0 for one on each core.
        overwrite: replace `out` if it exists.
        counts: numbers of everything, instead of those of `size`.
    """

    out: Path
    size: Literal["small", "full"] = "small"
    seed: int = 0
    parts: tuple[Part, ...] = ("3dpw", "coco")
    workers: int = 0
    overwrite: bool = False
    counts: WorldCounts | None = field(default=None)


def make_world(config: MakeWorldConfig) -> Path:
    """Make a world; returns its directory.

    It is made in `<out>.partial` and renamed, so a world that exists is whole.

    Raises:
        InputError: `out` exists and `overwrite` is not set, or holds something else than a world; a number makes no
            sense; the files cannot be written.
    """
    out = Path(config.out).resolve()
    counts = config.counts or WORLD_SIZES[config.size]
    _check(config, counts)
    _check_target(out, config.overwrite)
    partial = out.with_name(f"{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with unfinished(partial):
            _write_parts(partial, config, counts)
            if out.exists():
                shutil.rmtree(out)
            partial.rename(out)
    except OSError as error:
        raise InputError(
            f"{error.filename or partial} cannot be written ({error.strerror}): free some space or choose another --out"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _write_parts(folder: Path, config: MakeWorldConfig, counts: WorldCounts) -> None:
    workers = config.workers or usable_cores()
    valid_persons = {}
    if "3dpw" in config.parts:
        for split in SEQUENCE_SPLITS:
            if number := getattr(counts, f"{split}_sequences"):
                sequences = SequenceConfig(config.seed, split, counts.frames)
                valid_persons[split] = write_sequence_split(folder / "3dpw", sequences, number, workers)
    if "coco" in config.parts:
        for split in CROP_SPLITS:
            if number := getattr(counts, f"{split}_crops"):
                write_crop_split(folder / "coco", CropConfig(config.seed, split), number, workers)

    write_json(
        folder / WORLD_FILE,
        {
            "seed": config.seed,
            "parts": list(config.parts),
            "counts": {entry.name: getattr(counts, entry.name) for entry in fields(counts)},
            "valid_persons_in_frames": valid_persons,
        },
    )


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"{out} exists: choose another directory or add --overwrite")
    if not (out / WORLD_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds no open world (no {WORLD_FILE}), so it is not overwritten: choose another --out")


def _check(config: MakeWorldConfig, counts: WorldCounts) -> None:
    if config.seed < 0:
        raise InputError(f"seed is {config.seed}: it must be 0 or more")
    if config.workers < 0:
        raise InputError(f"workers is {config.workers}: give a number of processes, or 0 for one on each core")
    if not config.parts:
        raise InputError("parts is empty: give 3dpw, coco or both")
    for entry in fields(counts):
        value = getattr(counts, entry.name)
        if value < (1 if entry.name == "frames" else 0):
            raise InputError(f"{entry.name} is {value}: a world cannot hold so few")
