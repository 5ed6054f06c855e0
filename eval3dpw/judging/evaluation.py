"""Errors of every frame under a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from eval3dpw.judging.metric_table import ERRORS, JITTER, METRICS, metrics_of
from eval3dpw.judging.posed_bodies import ComparedBodies, PosedBodies, pose_bodies
from eval3dpw.judging.protocols import Protocol
from fitting.bodies.body import Body
from pose2d.errors import InputError

_BATCH = 128  # frames compared at a time


@dataclass(frozen=True)
class FrameErrors:
    """Errors of n frames."""

    values: dict[str, Float[np.ndarray, " n"]]
    """By the name of the metric (`metric_table.METRICS`). Jitter is NaN where the frame before or after was not
    evaluated together with this one, and absent where the frames' numbers are not known."""
    joint_mm: Float[np.ndarray, "n k"]
    """Error of each of the protocol's joints; their mean is the MPJPE."""

    def __getitem__(self, metric: str) -> Float[np.ndarray, " n"]:
        return self.values[metric]

    def __len__(self) -> int:
        return len(self.joint_mm)


def protocol_errors(protocol: Protocol, predicted: PosedBodies, truth: PosedBodies) -> FrameErrors:
    """Compare bodies frame by frame, as the protocol's public code does; jitter is left out."""
    bodies = ComparedBodies(protocol, predicted, truth)
    names = metrics_of("error", "detail") if protocol.details else ERRORS
    values = {name: METRICS[name].compute(bodies).numpy() for name in names}
    return FrameErrors(values, bodies.joint_mm.numpy())


def evaluate_track(
    protocol: Protocol,
    rotations: Float[Tensor, "n 24 3 3"],
    betas: Float[Tensor, "n 10"],
    body: Body,
    truth: PosedBodies,
) -> FrameErrors:
    """Errors of the fitted bodies of one track.

    Args:
        protocol: by which they are compared.
        rotations: of the fits of the same frames as `truth`, root orientation in the camera's frame.
        betas: of the same fits.
        body: the body of the fits (SPIN's is neutral).
        truth: `pose_truth` of the track, made once for any number of fits.

    Raises:
        InputError: fits and truth differ in number of frames or of vertices.
    """
    if len(rotations) != len(truth):
        raise InputError(f"there are {len(rotations)} fitted frames but {len(truth)} frames of ground truth")
    predicted = pose_bodies(protocol, body, rotations, betas)
    if predicted.vertices.shape != truth.vertices.shape:
        raise InputError(
            f"the fitted body {body.path} has {predicted.vertices.shape[1]} vertices, the ground truth's "
            f"{truth.vertices.shape[1]}: both must come from one body directory"
        )
    batches = [
        protocol_errors(protocol, predicted.select(part), truth.select(part))
        for part in (slice(start, start + _BATCH) for start in range(0, len(rotations), _BATCH))
    ]
    joined = join_errors(batches)
    return FrameErrors(joined.values | _jitter(protocol, predicted, truth), joined.joint_mm)


def _jitter(protocol: Protocol, predicted: PosedBodies, truth: PosedBodies) -> dict[str, Float[np.ndarray, " n"]]:
    if truth.frame_ids is None:
        return {}
    bodies = ComparedBodies(protocol, predicted, truth)
    steps = np.diff(truth.frame_ids)
    inner = np.flatnonzero((steps[:-1] == 1) & (steps[1:] == 1))
    jitter = {name: np.full(len(truth), np.nan) for name in JITTER}
    for name, values in jitter.items():
        values[inner + 1] = METRICS[name].compute(bodies).numpy()[inner]
    return jitter


def join_errors(errors: Sequence[FrameErrors]) -> FrameErrors:
    """Frames of several batches or tracks, one after the other."""
    return FrameErrors(
        {name: np.concatenate([part[name] for part in errors]) for name in errors[0].values},
        np.concatenate([part.joint_mm for part in errors]),
    )
