"""The published 3DPW evaluation protocols, by name.

They differ in the body that makes the ground truth, in the point that stands for the pelvis, in the joints and in
whether vertices are brought to the pelvis before they are compared. A number without its protocol's name says little:
the same predictions differ by 5 mm and more between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval3dpw.dataset.ground_truth import camera_rotations
from eval3dpw.dataset.sequences import Track
from eval3dpw.dataset.validity import VALIDITY
from eval3dpw.judging.alignment import similarity_alignment
from eval3dpw.judging.metrics import (
    acceleration_error_mm,
    acceleration_mm,
    angle_errors_deg,
    auc,
    global_rotations,
    mean_point_error_mm,
    pck,
    point_errors_mm,
)
from fitting.bodies.body import Body
from pose2d.errors import InputError
from pose2d.skeletons import H36M17, LSP14, SMPL24, Skeleton, remap

_BATCH = 128  # frames posed at a time: 128 x 6890 vertices in double precision are 21 MB
JITTER = ("acceleration_error_mm", "acceleration_mm")
"""Against the truth's, and of the prediction alone; mm per frame squared."""
_PCK_JOINTS = tuple(
    f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in ("left", "right")
)
_ANGLE_PARTS = ("pelvis", *(f"{s}_{part}" for part in ("hip", "knee", "shoulder", "elbow") for s in ("left", "right")))


@dataclass(frozen=True)
class Protocol:
    """How one public evaluation code compares a predicted body with the ground truth."""

    name: str
    truth_body: Literal["actor", "neutral"]
    """Which body turns the file's parameters into ground truth: the actor's own gender, or neutral for everyone."""
    joints: Skeleton
    """LSP14: regressed from the vertices by the evaluation regressor; SMPL24: the model's own joints."""
    pelvis: tuple[str, ...]
    """The points whose mean is the origin; of H36M17 for LSP14 joints, else of `joints` itself."""
    vertices_to_pelvis: bool
    """Whether vertices are brought to the pelvis. If not, each body's root rests where its model file puts it."""
    validity: str
    """Name of the rule (`eval3dpw.dataset.validity.VALIDITY`) by which frames count."""
    source: str
    """The public code it follows."""
    publishes_mve: bool = True
    """False: the public code has no vertex error; ours is then taken after alignment to the same pelvis."""
    parts: bool = False
    """Whether PCK, AUC and the two angle errors are reported too."""

    def valid_frames(self, track: Track) -> np.ndarray:
        """Mask of the track's frames that count."""
        return VALIDITY[self.validity](track)


_ROOT, _HIPS = ("pelvis",), ("left_hip", "right_hip")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("spin", "actor", LSP14, _ROOT, True, "spin", "nkolot/SPIN eval.py", publishes_mve=False),
        Protocol("pymaf", "actor", LSP14, _ROOT, False, "spin", "HongwenZhang/PyMAF eval.py"),
        Protocol("vibe", "neutral", LSP14, _HIPS, False, "vibe", "mkocabas/VIBE lib/core/evaluate.py"),
        Protocol("camerahmr", "actor", LSP14, _ROOT, True, "spin", "pixelite1201/CameraHMR"),
        Protocol("wham", "actor", LSP14, _HIPS, True, "vibe", "yohanshin/WHAM lib/eval/evaluate_3dpw.py"),
        Protocol(
            "official",
            "actor",
            SMPL24,
            _ROOT,
            True,
            "official",
            "aymenmir1/3dpw-eval evaluate.py",
            publishes_mve=False,
            parts=True,
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is unknown: take one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


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


@dataclass(frozen=True)
class FrameErrors:
    """Errors of one frame each: millimetres; in `parts` PCK and AUC in [0, 1] and angles in degrees."""

    mpjpe_mm: Float[np.ndarray, " n"]
    pa_mpjpe_mm: Float[np.ndarray, " n"]
    mve_mm: Float[np.ndarray, " n"]
    joint_mm: Float[np.ndarray, "n k"]
    """Error of each of the protocol's joints; their mean is the MPJPE."""
    parts: dict[str, Float[np.ndarray, " n"]]
    jitter: dict[str, Float[np.ndarray, " n"]] = field(default_factory=dict)
    """The metrics `JITTER` of the protocol's joints relative to the pelvis, in the camera's frame; NaN where the frame
    before or after was not evaluated together with this one."""

    def __len__(self) -> int:
        return len(self.mpjpe_mm)


def protocol_errors(protocol: Protocol, predicted: PosedBodies, truth: PosedBodies) -> FrameErrors:
    """Compare bodies frame by frame, as the protocol's public code does."""
    joints, pelvis = _joints_and_pelvis(protocol, predicted)
    true_joints, true_pelvis = _joints_and_pelvis(protocol, truth)
    joints, true_joints = joints - pelvis, true_joints - true_pelvis
    alignment = similarity_alignment(joints, true_joints)
    vertices, true_vertices = predicted.vertices, truth.vertices
    if protocol.vertices_to_pelvis:
        vertices, true_vertices = vertices - pelvis, true_vertices - true_pelvis

    joint_mm = point_errors_mm(joints, true_joints)
    parts: dict[str, Tensor] = {}
    if protocol.parts:
        major = joint_mm[:, protocol.joints.indices(_PCK_JOINTS)]
        numbers = SMPL24.indices(_ANGLE_PARTS)
        turned = global_rotations(predicted.rotations)[:, numbers].double()
        true_turned = global_rotations(truth.rotations)[:, numbers].double()
        parts = {
            "pck50": pck(major),
            "auc200": auc(major),
            "mpjae_deg": angle_errors_deg(turned, true_turned).mean(1),
            "pa_mpjae_deg": angle_errors_deg(alignment.rotation[:, None] @ turned, true_turned).mean(1),
        }
    return FrameErrors(
        joint_mm.mean(1).numpy(),
        mean_point_error_mm(alignment(joints.double()), true_joints).numpy(),
        mean_point_error_mm(vertices, true_vertices).numpy(),
        joint_mm.numpy(),
        {name: values.numpy() for name, values in parts.items()},
    )


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
        find_body: the body of a gender ('neutral', 'male', 'female').

    Raises:
        InputError: the track has no ground truth.
    """
    truth = track.require_truth()
    body = find_body("neutral" if protocol.truth_body == "neutral" else truth.gender)
    betas = torch.as_tensor(truth.betas).float().expand(len(track), -1)
    return replace(pose_bodies(protocol, body, camera_rotations(track), betas), frame_ids=track.frame_ids)


def evaluate_track(
    protocol: Protocol,
    rotations: Float[Tensor, "n 24 3 3"],
    betas: Float[Tensor, "n 10"],
    body: Body,
    truth: PosedBodies,
) -> FrameErrors:
    """Errors of the fitted bodies of one track.

    Args:
        rotations, betas: the fits of the same frames as `truth`, root orientation in the camera's frame.
        body: the body of the fits (SPIN's is neutral).
        truth: `pose_truth` of the track, made once for any number of fits.
    """
    if len(rotations) != len(truth.vertices):
        raise InputError(f"there are {len(rotations)} fitted frames but {len(truth.vertices)} frames of ground truth")
    predicted = pose_bodies(protocol, body, rotations, betas)
    if predicted.vertices.shape != truth.vertices.shape:
        raise InputError(
            f"the fitted body {body.path} has {predicted.vertices.shape[1]} vertices, the ground truth's "
            f"{truth.vertices.shape[1]}: both must come from one body directory"
        )
    batches = [
        protocol_errors(protocol, _slice(predicted, part), _slice(truth, part))
        for part in (slice(start, start + _BATCH) for start in range(0, len(rotations), _BATCH))
    ]
    return replace(join_errors(batches), jitter=_jitter(protocol, predicted, truth))


def _jitter(protocol: Protocol, predicted: PosedBodies, truth: PosedBodies) -> dict[str, np.ndarray]:
    if truth.frame_ids is None:
        return {}
    joints, pelvis = _joints_and_pelvis(protocol, predicted)
    true_joints, true_pelvis = _joints_and_pelvis(protocol, truth)
    values = (acceleration_error_mm(joints - pelvis, true_joints - true_pelvis), acceleration_mm(joints - pelvis))
    jitter = {name: np.full(len(joints), np.nan) for name in JITTER}
    consecutive = np.flatnonzero((np.diff(truth.frame_ids)[:-1] == 1) & (np.diff(truth.frame_ids)[1:] == 1))
    for name, of_inner_frames in zip(JITTER, values, strict=True):
        jitter[name][consecutive + 1] = of_inner_frames.numpy()[consecutive]
    return jitter


def _slice(bodies: PosedBodies, part: slice) -> PosedBodies:
    regressed = bodies.regressed_joints
    return PosedBodies(
        bodies.vertices[part],
        bodies.smpl_joints[part],
        None if regressed is None else regressed[part],
        bodies.rotations[part],
    )


def join_errors(errors: list[FrameErrors]) -> FrameErrors:
    """Frames of several batches or tracks, one after the other."""
    return FrameErrors(
        np.concatenate([part.mpjpe_mm for part in errors]),
        np.concatenate([part.pa_mpjpe_mm for part in errors]),
        np.concatenate([part.mve_mm for part in errors]),
        np.concatenate([part.joint_mm for part in errors]),
        {name: np.concatenate([part.parts[name] for part in errors]) for name in errors[0].parts},
        {name: np.concatenate([part.jitter[name] for part in errors]) for name in errors[0].jitter},
    )
