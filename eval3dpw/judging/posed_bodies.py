"""Bodies as a protocol poses them, predicted or true, and what is compared of two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval3dpw.dataset.ground_truth import camera_rotations
from eval3dpw.dataset.sequences import Track
from eval3dpw.judging.alignment import Similarity, similarity_alignment
from eval3dpw.judging.metrics import point_errors_mm
from eval3dpw.judging.protocols import Protocol
from fitting.bodies.body import Body
from pose2d.errors import InputError
from pose2d.skeletons import H36M17, LSP14, SMPL24, remap

_BATCH = 128  # frames posed at a time: 128 x 6890 vertices in double precision are 21 MB


@dataclass(frozen=True)
class PosedBodies:
    """Bodies as a protocol compares them: metres, camera orientation, root at its rest position."""

    vertices: Float[Tensor, "n v 3"]
    smpl_joints: Float[Tensor, "n 24 3"]
    regressed_joints: Float[Tensor, "n 17 3"] | None
    """By the evaluation regressor, which need not exist for protocols on SMPL's own joints."""
    rotations: Float[Tensor, "n 24 3 3"]
    """Relative to the parent joint."""
    frame_ids: Int[np.ndarray, " n"] | None = None
    """Numbers of the frames in their video, where known: accelerations are taken of consecutive ones."""

    def __len__(self) -> int:
        return len(self.vertices)

    def select(self, part: slice) -> PosedBodies:
        """Some frames, without their numbers: they need not follow each other."""
        regressed = self.regressed_joints
        return PosedBodies(
            self.vertices[part],
            self.smpl_joints[part],
            None if regressed is None else regressed[part],
            self.rotations[part],
        )


@dataclass(frozen=True)
class ComparedBodies:
    """Predicted and true bodies of the same n frames; all that a metric may look at."""

    protocol: Protocol
    predicted: PosedBodies
    truth: PosedBodies

    @cached_property
    def joints(self) -> Float[Tensor, "n k 3"]:
        """Predicted joints about the predicted pelvis, metres."""
        joints, pelvis = self._predicted
        return joints - pelvis

    @cached_property
    def true_joints(self) -> Float[Tensor, "n k 3"]:
        """True joints about the true pelvis, metres."""
        joints, pelvis = self._true
        return joints - pelvis

    @cached_property
    def vertices(self) -> Float[Tensor, "n v 3"]:
        """Predicted vertices, about the pelvis where the protocol says so; metres."""
        return (
            self.predicted.vertices - self._predicted[1]
            if self.protocol.vertices_to_pelvis
            else self.predicted.vertices
        )

    @cached_property
    def true_vertices(self) -> Float[Tensor, "n v 3"]:
        """True vertices, likewise."""
        return self.truth.vertices - self._true[1] if self.protocol.vertices_to_pelvis else self.truth.vertices

    @cached_property
    def joint_mm(self) -> Float[Tensor, "n k"]:
        """Error of each joint."""
        return point_errors_mm(self.joints, self.true_joints)

    @cached_property
    def alignment(self) -> Similarity:
        """The similarity that brings each frame's predicted joints closest to the true ones."""
        return similarity_alignment(self.joints, self.true_joints)

    @cached_property
    def _predicted(self) -> tuple[Tensor, Tensor]:
        return _joints_and_pelvis(self.protocol, self.predicted)

    @cached_property
    def _true(self) -> tuple[Tensor, Tensor]:
        return _joints_and_pelvis(self.protocol, self.truth)


def _joints_and_pelvis(protocol: Protocol, bodies: PosedBodies) -> tuple[Tensor, Tensor]:
    if protocol.joints is SMPL24:
        joints = bodies.smpl_joints
        return joints, joints[:, SMPL24.indices(protocol.pelvis)].mean(1, keepdim=True)
    regressed = bodies.regressed_joints
    if regressed is None:
        raise InputError(f"protocol {protocol.name} needs the evaluation regressor, which the body does not have")
    pelvis = regressed[:, H36M17.indices(protocol.pelvis)].mean(1, keepdim=True)
    return regressed[:, remap(H36M17, protocol.joints)], pelvis


def pose_bodies(
    protocol: Protocol, body: Body, rotations: Float[Tensor, "n 24 3 3"], betas: Float[Tensor, "n 10"]
) -> PosedBodies:
    """Bodies without translation, in batches.

    Raises:
        InputError: the protocol needs the evaluation regressor and none lies beside the body.
    """
    vertices, joints, regressed = [], [], []
    with torch.no_grad():
        for start in range(0, len(rotations), _BATCH):
            output = body(rotations[start : start + _BATCH], betas[start : start + _BATCH])
            vertices.append(output.vertices)
            joints.append(output.joints)
            if protocol.joints is LSP14:
                regressed.append(body.evaluation_joints(output.vertices))
    return PosedBodies(torch.cat(vertices), torch.cat(joints), torch.cat(regressed) if regressed else None, rotations)


def pose_truth(protocol: Protocol, track: Track, find_body: Callable[[str], Body]) -> PosedBodies:
    """The ground truth of every frame of a track.

    Args:
        protocol: which body it takes.
        track: with ground truth.
        find_body: the body of a gender ('neutral', 'male', 'female').

    Raises:
        InputError: the track has no ground truth.
    """
    truth = track.require_truth()
    body = find_body("neutral" if protocol.truth_body == "neutral" else truth.gender)
    betas = torch.as_tensor(truth.betas).float().expand(len(track), -1)
    return replace(pose_bodies(protocol, body, camera_rotations(track), betas), frame_ids=track.frame_ids)
