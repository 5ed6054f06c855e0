"""Procedural human motion in SMPL's 24-joint tree, for a world of rendered people.

The activities (``activities.ACTIVITIES``) give anatomical angles; here they become poses and a path over the ground.
Feet carry the body: the lowest point of it stays on the ground (y = 0), and the body moves over the ground as the
lower foot tells it to, so that a standing foot does not slide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eval3dpw.openworld.people.activities import ACTIVITIES, FREQUENCY
from eval3dpw.openworld.people.curves import drift
from eval3dpw.openworld.people.posture import (
    LIMITS,
    NUM_FOOT_POINTS,
    REST_JOINTS_MM,
    Angles,
    angles_to_pose,
    clear_of_trunk,
    clip_to_limits,
    joint_frames,
    mirror_angles,
    mirror_pose,
    support_points,
)
from pose2d.errors import InputError

__all__ = ["ACTIVITIES", "Motion", "mirror_pose", "sample_motion", "sample_pose"]

#: Over how many metres of height two foot points share the weight.
_SHARE_M = 0.015
#: Small movement of every joint on top of the activity, radians.
_NOISE = 0.03


@dataclass(frozen=True)
class Motion:
    """A movement of one person in an upright frame: y up, ground at y = 0, facing +z where the heading is 0.

    poses: (n, 72) axis-angle, SMPL's tree, joint 0 holding the orientation. translation: (n, 3) metres, SMPL's
    ``transl`` for the neutral body (rest vertices are turned about the rest pelvis and then moved by it).
    heading: (n,) radians about y; positive turns towards the person's left (+x). mirrored: the sides are exchanged.
    """

    poses: Float[np.ndarray, "n 72"]
    translation: Float[np.ndarray, "n 3"]
    activity: str
    heading: Float[np.ndarray, " n"]
    fps: float
    mirrored: bool


def sample_motion(activity: str, num_frames: int, rng: np.random.Generator, fps: float = 30.0) -> Motion:
    """A person doing something for ``num_frames`` frames, in a random style, from a random heading.

    Args:
        activity: a name in ACTIVITIES.
        num_frames: at least 1.
        rng: the only source of chance: the same generator state gives the same motion.
        fps: frames per second.

    Raises:
        InputError: unknown activity, or no frames.
    """
    if num_frames < 1:
        raise InputError(f"num_frames: a motion needs at least 1 frame, not {num_frames}")
    time = np.arange(num_frames) / fps
    angles, flight, mirrored = _angles(activity, time, rng)
    turn_rate = rng.normal(0.0, 0.25) if activity in ("walk", "run", "carry", "phone") else rng.normal(0.0, 0.04)
    heading = rng.uniform(-np.pi, np.pi) + turn_rate * time + drift(time, rng, 0.25, 0.25)
    poses = angles_to_pose(angles, heading)
    return Motion(poses, _over_ground(poses, flight), activity, heading, fps, mirrored)


def sample_pose(rng: np.random.Generator) -> Float[np.ndarray, " 72"]:
    """One instant of a random activity, facing +z with some turn to either side, with extra variety in every joint.

    For single pictures: costs about a millisecond, since only that instant is computed.
    """
    names = list(ACTIVITIES)
    weights = np.array([FREQUENCY[name] for name in names])
    activity = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    angles, _, _ = _angles(activity, rng.uniform(0, 10, 1), rng, free=False)
    varied = {name: value + rng.normal(0, 0.08 if name in _WIDE else 0.03) for name, value in angles.items()}
    return np.asarray(angles_to_pose(clear_of_trunk(clip_to_limits(varied)), rng.normal(0, 0.3, 1))[0])


_WIDE = tuple(name for name in LIMITS if name[2:] in ("arm_flex", "arm_abd", "arm_rot", "elbow", "hip_abd", "pron"))


def _angles(
    activity: str, time: Float[np.ndarray, " n"], rng: np.random.Generator, free: bool = True
) -> tuple[Angles, Float[np.ndarray, " n"], bool]:
    """Angles within their limits, the height of flight in metres, and whether the sides are exchanged.

    With ``free`` the arms are kept out of the trunk.
    """
    if activity not in ACTIVITIES:
        raise InputError(f"activity: no {activity!r} among {', '.join(sorted(ACTIVITIES))}")
    angles = dict(ACTIVITIES[activity](time, rng))
    flight = np.asarray(angles.pop("flight", np.zeros_like(time)))
    noise = drift(np.tile(time, (len(LIMITS), 1)), rng, _NOISE)
    angles = {name: angles.get(name, 0.0) + row for name, row in zip(LIMITS, noise, strict=True)}
    mirrored = bool(rng.uniform() < 0.5)
    if mirrored:
        angles = mirror_angles(angles)
    angles = clip_to_limits(angles)
    return clear_of_trunk(angles) if free else angles, flight, mirrored


def _over_ground(poses: Float[np.ndarray, "n 72"], flight: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """Translation (metres) that keeps the lowest point on the ground and standing feet in place."""
    rotations, joints = joint_frames(poses)
    points = support_points(rotations, joints)
    lowest = points[..., 1].min(axis=1)
    feet = points[:, :NUM_FOOT_POINTS]
    carried = np.exp(-(feet[..., 1] - feet[..., 1].min(axis=1, keepdims=True)) / _SHARE_M)
    carried /= carried.sum(axis=1, keepdims=True)
    # The weighted feet stay where they are from one frame to the next, so the pelvis moves against them.
    steps = np.einsum("np,npc->nc", 0.5 * (carried[1:] + carried[:-1]), feet[1:] - feet[:-1])
    pelvis = np.zeros((len(poses), 3))
    pelvis[1:] = -np.cumsum(steps, axis=0)
    pelvis[:, 1] = flight - lowest
    return np.asarray(pelvis - REST_JOINTS_MM[0] / 1000.0)
