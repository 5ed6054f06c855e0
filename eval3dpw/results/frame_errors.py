"""Errors of every frame of a track under every weighting, and of every joint: kept beside a run, or made when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eval3dpw.dataset.sequences import Track
from eval3dpw.judging.comparison import TrackErrors
from eval3dpw.judging.evaluation import FrameErrors, evaluate_track, join_errors
from eval3dpw.judging.metric_table import ERRORS
from eval3dpw.judging.posed_bodies import pose_truth
from eval3dpw.judging.protocols import Protocol
from eval3dpw.results.fits import TrackFits
from fitting.bodies.body import Body
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz

EVALUATION_BATCH = 128
"""Frames posed at a time: 128 x 6890 vertices in double precision are 21 MB."""


@dataclass(frozen=True)
class FrameTable:
    """Errors of one track."""

    track: str
    sequence: str
    frame_ids: Int[np.ndarray, " n"]
    rows: tuple[str, ...]
    errors_mm: dict[str, Float[np.ndarray, "r n"]]
    """By metric (those of kind 'error'), one line per row of the comparison."""
    joints: tuple[str, ...]
    joint_mm: Float[np.ndarray, "r n k"]
    """Error of each joint after the pelves are brought together."""

    @classmethod
    def of(cls, errors: TrackErrors, protocol: Protocol) -> FrameTable:
        """What of a track's errors is kept on disk."""
        return cls(
            errors.track,
            errors.sequence,
            errors.frame_ids,
            tuple(errors.errors),
            {metric: errors.of_rows(metric) for metric in ERRORS},
            protocol.joints.keypoints,
            np.stack([frames.joint_mm for frames in errors.errors.values()]),
        )

    def __len__(self) -> int:
        return len(self.frame_ids)

    def arrays(self) -> dict[str, tuple[int | None, Any]]:
        """What the file holds, each with the axis of its frames (None: the same for all)."""
        return {
            "sequence": (None, np.array(self.sequence)),
            "frame_ids": (0, self.frame_ids),
            "rows": (None, np.array(self.rows)),
            "joints": (None, np.array(self.joints)),
            "joint_mm": (1, self.joint_mm.astype(np.float32)),
            **{name: (1, values.astype(np.float32)) for name, values in self.errors_mm.items()},
        }

    def save(self, folder: str | Path) -> Path:
        """Write `<folder>/<track>.npz`."""
        path = Path(folder) / f"{self.track}.npz"
        write_npz(path, **{name: values for name, (_, values) in self.arrays().items()})
        return path

    @classmethod
    def load(cls, path: str | Path) -> FrameTable:
        """Read what `save` wrote.

        Raises:
            InputError: the file is not such an .npz.
        """
        path = Path(path)
        arrays = read_npz(path)
        missing = {"sequence", "frame_ids", "rows", "joints", "joint_mm", *ERRORS} - arrays.keys()
        if missing:
            raise InputError(f"{path} holds no errors of frames: it lacks {', '.join(sorted(missing))}")
        frames, rows, joints = arrays["frame_ids"], arrays["rows"], arrays["joints"]
        if frames.ndim != 1 or rows.ndim != 1 or joints.ndim != 1 or frames.dtype.kind not in "iu":
            raise InputError(f"{path}: frame_ids, rows and joints must be lists, of whole numbers and names")
        shape = (len(rows), len(frames))
        for name in ("joint_mm", *ERRORS):
            wanted = (*shape, len(joints)) if name == "joint_mm" else shape
            if arrays[name].shape != wanted or arrays[name].dtype.kind not in "fiu":
                raise InputError(f"{path}: field {name} has shape {arrays[name].shape}, numbers {wanted} are needed")
        return cls(
            path.stem,
            str(arrays["sequence"]),
            arrays["frame_ids"],
            tuple(map(str, arrays["rows"])),
            {name: arrays[name] for name in ERRORS},
            tuple(map(str, arrays["joints"])),
            arrays["joint_mm"],
        )


def track_errors(
    track: Track, fits: Sequence[TrackFits], protocol: Protocol, find_body: Callable[[str], Body]
) -> TrackErrors:
    """Errors of several fits of the same frames.

    Bodies are posed a batch at a time. Which frames make a batch depends on their numbers alone, so that the errors are
    the same bits however a track was cut into chunks.
    """
    body = find_body("neutral")
    errors: dict[str, list[FrameErrors]] = {fit.weighting: [] for fit in fits}
    batch_of_frame = track.frame_ids // EVALUATION_BATCH
    for number in np.unique(batch_of_frame):
        chosen = np.flatnonzero(batch_of_frame == number)
        truth = pose_truth(protocol, track.select(chosen), find_body)
        for fit in fits:
            rotations, betas = (
                torch.as_tensor(values[chosen]).float() for values in (fit.fits.rotations, fit.fits.betas)
            )
            errors[fit.weighting].append(evaluate_track(protocol, rotations, betas, body, truth))
    joined = {row: join_errors(parts) for row, parts in errors.items()}
    return TrackErrors(track.sequence, track.name, track.frame_ids, joined)


def tabulate_errors(
    track: Track, fits: Mapping[str, TrackFits], protocol: Protocol, find_body: Callable[[str], Body]
) -> FrameTable:
    """Compare every row's bodies of a track's frames with the truth.

    Args:
        track: with only the frames to compare; every row must have a body for each.
        fits: by the name of the row.
        protocol: by which they are compared.
        find_body: the body of a gender.

    Raises:
        InputError: a row lacks a body for one of the frames, or the truth is not known.
    """
    frame_ids = track.frame_ids
    chosen = [TrackFits(track.name, row, frame_ids, fit.at(frame_ids)) for row, fit in fits.items()]
    return FrameTable.of(track_errors(track, chosen, protocol, find_body), protocol)
