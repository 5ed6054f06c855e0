"""Errors of every frame of a track under every weighting, and of every joint: kept beside a run, or made when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from eval3dpw.dataset.sequences import Track
from eval3dpw.judging.comparison import METRICS
from eval3dpw.judging.protocols import Protocol, pose_bodies, pose_truth, protocol_errors
from eval3dpw.results.fits import TrackFits
from fitting.bodies.body import Body
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz

ERRORS_FOLDER = "errors"


@dataclass(frozen=True)
class FrameTable:
    """Errors of one track."""

    track: str
    sequence: str
    frame_ids: Int[np.ndarray, " n"]
    rows: tuple[str, ...]
    errors_mm: dict[str, Float[np.ndarray, "r n"]]
    """By metric (mpjpe_mm, pa_mpjpe_mm, mve_mm), one line a row of the comparison."""
    joints: tuple[str, ...]
    joint_mm: Float[np.ndarray, "r n k"]
    """Error of each joint after the pelves are brought together."""

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
        missing = {"sequence", "frame_ids", "rows", "joints", "joint_mm", *METRICS} - arrays.keys()
        if missing:
            raise InputError(f"{path} holds no errors of frames: it lacks {', '.join(sorted(missing))}")
        return cls(
            path.stem,
            str(arrays["sequence"]),
            arrays["frame_ids"],
            tuple(map(str, arrays["rows"])),
            {name: arrays[name] for name in METRICS},
            tuple(map(str, arrays["joints"])),
            arrays["joint_mm"],
        )


def tabulate_errors(
    track: Track, fits: Mapping[str, TrackFits], protocol: Protocol, find_body: Callable[[str], Body]
) -> FrameTable:
    """Compare every row's bodies of a track's frames with the truth.

    Args:
        track: with only the frames to compare; every row must have a body for each.
    """
    truth = pose_truth(protocol, track, find_body)
    body = find_body("neutral")
    errors: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    joints = []
    for fit in fits.values():
        chosen = fit.at(track.frame_ids)
        rotations, betas = torch.as_tensor(chosen.rotations).float(), torch.as_tensor(chosen.betas).float()
        predicted = pose_bodies(protocol, body, rotations, betas)
        found = protocol_errors(protocol, predicted, truth)
        for name in METRICS:
            errors[name].append(getattr(found, name))
        joints.append(found.joint_mm)
    stacked = {name: np.stack(values) for name, values in errors.items()}
    return FrameTable(
        track.name, track.sequence, track.frame_ids, tuple(fits), stacked, protocol.joints.keypoints, np.stack(joints)
    )
