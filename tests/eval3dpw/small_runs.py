"""Run folders as `compare` leaves them, made without networks: the truth, jittered, stands for the fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import roma
import torch

from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.sequences import SequenceRef, Track
from eval3dpw.dataset.threedpw import read_sequence
from eval3dpw.judging.comparison import Comparison
from eval3dpw.judging.protocols import find_protocol
from eval3dpw.results.fits import TrackFits
from eval3dpw.results.frame_errors import FrameTable, track_errors
from eval3dpw.results.layout import ERRORS_FOLDER, FITS_FOLDER, keypoints_file
from eval3dpw.results.run_folder import RunLog, write_summary
from fitting.bodies.body import load_body
from fitting.body_fits import BodyFits
from pose2d.files.storage import write_npz
from pose2d.skeletons import COCO17

ROWS = {"init": 0.3, "raw": 0.2, "ccnet": 0.1}
"""Standard deviation of the error in the joints' rotations, radians."""


def jittered(track: Track, row: str, sigma: float, rng: np.random.Generator) -> TrackFits:
    """The truth with noise, and for a weighting what a solver says of each frame."""
    truth, count = camera_truth(track, load_body(gender=track.require_truth().gender)), len(track)
    turn = roma.rotvec_to_rotmat(torch.tensor(rng.normal(0, sigma, (count, 24, 3))))
    said = () if row == "init" else (np.zeros(count, int), rng.integers(3, 30, count), *rng.uniform(1, 9, (2, count)))
    fits = BodyFits((truth.rotations.double() @ turn).numpy(), truth.betas.numpy(), truth.translation.numpy(), *said)
    return TrackFits(track.name, row, track.frame_ids, fits, None if row == "init" else np.ones((count, 17)))


def write_run(
    root: Path,
    out: Path,
    sequence_files: Sequence[Path],
    skeleton: str = COCO17.name,
    points: int = 17,
    rows: Mapping[str, float] = ROWS,
    keep_errors: bool = False,
) -> Path:
    """Fits, keypoints and summary of every track of some sequences, and the errors of all frames if wanted."""
    rng, protocol, log, results = np.random.default_rng(0), find_protocol("camerahmr"), RunLog(), []
    for path in sequence_files:
        for track in read_sequence(path, image_root=None):
            fits = [jittered(track, row, sigma, rng) for row, sigma in rows.items()]
            for fit in fits:
                fit.save(out / FITS_FOLDER, track)
            shape = len(track), points
            confidence = rng.uniform(0, 1, shape)
            write_npz(
                out / keypoints_file(track.name),
                skeleton=np.array(skeleton),
                frame_ids=track.frame_ids,
                boxes_xywh=np.tile([8.0, 4, 40, 40], (len(track), 1)),
                xy_px=rng.uniform(8, 40, (*shape, 2)),
                raw_score=np.sqrt(confidence),
                confidence=confidence,
                oracle=np.clip(confidence + rng.normal(0, 0.1, shape), 0, 1),
            )
            errors = track_errors(track, fits, protocol, lambda gender: load_body(None, gender))
            results.append(errors.means())
            if keep_errors:
                FrameTable.of(errors, protocol).save(out / ERRORS_FOLDER)
        log.used.append(SequenceRef(path.stem, path))
    configuration = {"root": str(root), "out": str(out), "split": "test", "sequences": [], "flip": True}
    record = {"command": "compare", "configuration": configuration, "versions": {"python": "3"}, "inputs": {}}
    write_summary(out, Comparison(protocol, tuple(results)), log, record)
    return out
