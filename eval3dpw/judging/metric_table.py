"""Every metric of a comparison, one record each: `METRICS` is the whole list.

Errors of frames, their pooling, the files of a run, the tables on the terminal and the page go by this table: a new
metric is its function and one record here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from eval3dpw.judging.metrics import (
    acceleration_error_mm,
    acceleration_mm,
    angle_errors_deg,
    auc,
    global_rotations,
    mean_point_error_mm,
    pck,
)
from eval3dpw.judging.posed_bodies import ComparedBodies
from pose2d.skeletons import SMPL24

Kind = Literal["error", "detail", "jitter"]

_PCK_JOINTS = tuple(
    f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in ("left", "right")
)
_ANGLE_PARTS = ("pelvis", *(f"{s}_{part}" for part in ("hip", "knee", "shoulder", "elbow") for s in ("left", "right")))


@dataclass(frozen=True)
class Metric:
    """One number per frame."""

    name: str
    """As files call it."""
    title: str
    """As tables call it."""
    unit: str
    """Of the shown number."""
    kind: Kind
    """error: of every protocol; pooled with an interval and paired differences. detail: of protocols with `details`;
    pooled alone. jitter: of every protocol, defined where the frames before and after were evaluated too; `compute`
    then gets consecutive frames and returns one number for each but the first and the last."""
    compute: Callable[[ComparedBodies], Tensor]
    factor: float = 1.0
    """The shown number is the stored one times this."""

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}"


def _pa_mpjpe(bodies: ComparedBodies) -> Tensor:
    return mean_point_error_mm(bodies.alignment(bodies.joints.double()), bodies.true_joints)


def _major_joints(bodies: ComparedBodies) -> Tensor:
    return bodies.joint_mm[:, bodies.protocol.joints.indices(_PCK_JOINTS)]


def _mpjae(bodies: ComparedBodies, aligned: bool) -> Tensor:
    numbers = SMPL24.indices(_ANGLE_PARTS)
    turned = global_rotations(bodies.predicted.rotations)[:, numbers].double()
    true_turned = global_rotations(bodies.truth.rotations)[:, numbers].double()
    if aligned:
        turned = bodies.alignment.rotation[:, None] @ turned
    return angle_errors_deg(turned, true_turned).mean(1)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mpjpe_mm", "MPJPE", "mm", "error", lambda bodies: bodies.joint_mm.mean(1)),
        Metric("pa_mpjpe_mm", "PA-MPJPE", "mm", "error", _pa_mpjpe),
        Metric("mve_mm", "MVE", "mm", "error", lambda b: mean_point_error_mm(b.vertices, b.true_vertices)),
        Metric("pck50", "PCK@50mm", "%", "detail", lambda bodies: pck(_major_joints(bodies)), 100.0),
        Metric("auc200", "AUC 0-200mm", "%", "detail", lambda bodies: auc(_major_joints(bodies)), 100.0),
        Metric("mpjae_deg", "MPJAE", "deg", "detail", lambda bodies: _mpjae(bodies, aligned=False)),
        Metric("pa_mpjae_deg", "PA-MPJAE", "deg", "detail", lambda bodies: _mpjae(bodies, aligned=True)),
        Metric(
            "acceleration_error_mm",
            "acceleration error",
            "mm/frame²",
            "jitter",
            lambda bodies: acceleration_error_mm(bodies.joints, bodies.true_joints),
        ),
        Metric("acceleration_mm", "acceleration", "mm/frame²", "jitter", lambda bodies: acceleration_mm(bodies.joints)),
    )
}


def metrics_of(*kinds: Kind) -> tuple[str, ...]:
    """Names of the metrics of some kinds, in the order of the table."""
    return tuple(name for name, metric in METRICS.items() if metric.kind in kinds)


ERRORS = metrics_of("error")
JITTER = metrics_of("jitter")
