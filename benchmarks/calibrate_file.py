"""How fast `calibrate-file` fits and applies, on made results of top-down form, one thread.

python benchmarks/calibrate_file.py --json out/calibrate_file.json

Seconds are those of the CPU, so that what else runs on the machine does not count; files are neither read nor written.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from calibration.coco.accuracy import accuracy_of
from calibration.coco.files import KeypointDetections, KeypointTruth
from calibration.coco.matching import KeypointMatches, match
from calibration.file_calibration.calibrator import METHODS
from calibration.file_calibration.crops import Crops
from calibration.file_calibration.fitting import fit_calibrator
from pose2d.console.progress import set_quiet
from pose2d.files.storage import write_json
from pose2d.skeletons import COCO17


@dataclass(frozen=True)
class Options:
    """What to measure."""

    persons: int = 3000
    """To fit to."""
    applied: int = 40000
    """To apply to."""
    repeats: int = 3
    """Of applying; the fastest counts."""
    json: Path | None = None
    """Write the figures here."""


def made_matches(count: int, seed: int) -> tuple[KeypointMatches, Crops]:
    """One person an image, and errors that grow with the distance of the pose from the crop's centre."""
    rng = np.random.default_rng(seed)
    k = len(COCO17)
    size, shift = rng.uniform(60, 300, count), rng.uniform(-0.3, 0.3, (count, 1, 2))
    place = rng.uniform(0.1, 0.9, (count, k, 2))
    spread = 0.005 + 0.3 * np.abs(shift).sum(axis=2) ** 2
    found = place + rng.normal(0, 1, place.shape) * spread[:, :, None]
    boxes = np.column_stack([np.zeros((count, 2)), size, size])
    image = np.arange(count)
    truth = KeypointTruth(
        name="made annotations",
        skeleton=COCO17,
        image_ids=image,
        ids=image + 1,
        image=image,
        xy_px=place * size[:, None, None],
        visibility=np.where(rng.random((count, k)) < 0.2, 0.0, 2.0),
        boxes_xywh=boxes,
        area=0.5 * size**2,
        crowd=np.zeros(count, dtype=bool),
        ignored=np.zeros(count, dtype=bool),
        category_id=1,
    )
    raw = np.clip(0.9 - 2 * spread + rng.normal(0, 0.1, (count, k)), 0.01, 0.99)
    centre = (0.5 - shift[:, 0]) * size[:, None]
    detections = KeypointDetections(
        name="made results",
        image=image,
        xy_px=found * size[:, None, None],
        raw_score=raw,
        score=raw.mean(axis=1),
        area=size**2,
        centres=centre,
        part_scores={},
        entries=image,
    )
    return match(truth, detections), Crops(centre, np.column_stack([size, size]), "bbox")


def main(options: Options) -> None:
    """Measure, print, and write."""
    torch.set_num_threads(1)
    set_quiet(True)
    matches, crops = made_matches(options.persons, 0)
    accuracy = accuracy_of(matches)
    fresh, fresh_crops = made_matches(options.applied, 1)
    figures = {}
    for method in METHODS:
        start = time.process_time()
        calibrator = fit_calibrator(method, matches, accuracy, crops).calibrator
        fitted = time.process_time() - start
        seconds = []
        for _ in range(options.repeats):
            start = time.process_time()
            calibrator.calibrate(fresh.detections, fresh_crops)
            seconds.append(time.process_time() - start)
        figures[method] = {"fit_s": fitted, "applied_persons_per_s": options.applied / min(seconds)}
        print(
            f"{method:12} fit to {options.persons:,} persons {fitted:6.1f} s, "
            f"apply {options.applied / min(seconds):10,.0f} persons/s"
        )
    if options.json is not None:
        write_json(options.json, {"persons": options.persons, "applied": options.applied, "methods": figures})


if __name__ == "__main__":
    main(tyro.cli(Options))
