"""The people of the open world: posed bodies in the world frame and in a camera's frame.

World: metres, +y up, the ground at y = 0; a person whose heading is 0 faces +z.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fitting.bodies.body import Body, Gender, load_body
from pose2d.skeletons import COCO17, OPENPOSE18, Skeleton

GENDERS: tuple[Gender, ...] = ("male", "female")
BETA_LIMIT = 2.5
"""Shape coefficients are normal with variance 1, cut at this many standard deviations."""


@dataclass(frozen=True)
class Person:
    """One posed body.

    Attributes:
        gender: "male" or "female".
        betas: shape coefficients.
        pose: rotation vectors of the 24 joints, the root's in the world frame.
        translation: metres, SMPL's: the root joint lies at its rest position plus this.
        vertices, joints, coco17, openpose18: metres, world frame.
    """

    gender: Gender
    betas: Float[np.ndarray, "10"]
    pose: Float[np.ndarray, "72"]
    translation: Float[np.ndarray, "3"]
    vertices: Float[np.ndarray, "v 3"]
    joints: Float[np.ndarray, "24 3"]
    coco17: Float[np.ndarray, "17 3"]
    openpose18: Float[np.ndarray, "18 3"]

    def keypoints(self, skeleton: Skeleton) -> Float[np.ndarray, "k 3"]:
        """World positions of the keypoints of COCO17 or OPENPOSE18."""
        return {COCO17.name: self.coco17, OPENPOSE18.name: self.openpose18}[skeleton.name]

    def moved(self, offset: Float[np.ndarray, "3"]) -> Person:
        """The same body elsewhere, metres."""
        return Person(
            self.gender,
            self.betas,
            self.pose,
            self.translation + offset,
            self.vertices + offset,
            self.joints + offset,
            self.coco17 + offset,
            self.openpose18 + offset,
        )


@functools.cache
def body_of(gender: Gender) -> Body:
    """The packaged body of one gender, loaded once in a process."""
    return load_body(gender=gender)


def sample_gender(rng: np.random.Generator) -> Gender:
    """Male or female with equal chances."""
    return GENDERS[rng.integers(len(GENDERS))]


def sample_betas(rng: np.random.Generator) -> Float[np.ndarray, "10"]:
    """Shape coefficients: standard normal, cut at `BETA_LIMIT`."""
    return np.clip(rng.standard_normal(10), -BETA_LIMIT, BETA_LIMIT)


def posed_people(
    gender: Gender,
    betas: Float[np.ndarray, "10"],
    poses: Float[np.ndarray, "n 72"],
    translations: Float[np.ndarray, "n 3"],
) -> list[Person]:
    """One body in n poses."""
    body = body_of(gender)
    num_frames = len(poses)
    rotations = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(num_frames, 24, 3, 3)
    with torch.no_grad():
        output = body(
            torch.from_numpy(rotations).float(),
            torch.from_numpy(betas).float().expand(num_frames, 10),
            torch.from_numpy(translations).float(),
        )
        coco17 = body.keypoints(output, COCO17).double().numpy()
        openpose18 = body.keypoints(output, OPENPOSE18).double().numpy()
    vertices, joints = output.vertices.double().numpy(), output.joints.double().numpy()
    return [
        Person(gender, betas, poses[n], translations[n], vertices[n], joints[n], coco17[n], openpose18[n])
        for n in range(num_frames)
    ]


def rest_person(gender: Gender, betas: Float[np.ndarray, "10"]) -> Person:
    """A body in its T-pose at the place its file gives it."""
    return posed_people(gender, betas, np.zeros((1, 72)), np.zeros((1, 3)))[0]


def heading_of(pose: Float[np.ndarray, "72"]) -> float:
    """The direction a body faces, in radians about +y from +z; for a lying body, the direction of its crown."""
    root = Rotation.from_rotvec(pose[:3]).as_matrix()
    forward, up = root[:, 2], root[:, 1]
    across = forward if np.hypot(forward[0], forward[2]) > 0.5 else -np.sign(forward[1] + 1e-9) * up
    return float(np.arctan2(across[0], across[2]))


def turned(pose: Float[np.ndarray, "72"], angle: float) -> Float[np.ndarray, "72"]:
    """A pose with its root turned by ``angle`` radians about +y."""
    result = pose.copy()
    result[:3] = (Rotation.from_rotvec([0.0, angle, 0.0]) * Rotation.from_rotvec(pose[:3])).as_rotvec()
    return result


def standing_person(
    rng: np.random.Generator, pose: Float[np.ndarray, "72"], heading: float, lift: float = 0.0
) -> Person:
    """A body of random gender and shape in ``pose``, turned to ``heading``, on the ground (or ``lift`` metres above)
    with the middle of its trunk above the world's origin."""
    gender, betas = sample_gender(rng), sample_betas(rng)
    person = posed_people(gender, betas, turned(pose, heading - heading_of(pose))[None], np.zeros((1, 3)))[0]
    root = person.joints[0]
    return person.moved(np.array([-root[0], lift - person.vertices[:, 1].min(), -root[2]]))


def camera_frame_smpl(
    person: Person, T_camera_world: Float[np.ndarray, "4 4"]
) -> tuple[Float[np.ndarray, "72"], Float[np.ndarray, "3"]]:
    """Pose and translation that put the body into the camera's frame.

    SMPL turns the body about its rest root joint, not about the origin, so the rest position of that joint enters.
    """
    pose = person.pose.copy()
    pose[:3] = (Rotation.from_matrix(T_camera_world[:3, :3]) * Rotation.from_rotvec(pose[:3])).as_rotvec()
    rest_root = person.joints[0] - person.translation
    root = person.joints[0] @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    return pose, root - rest_root
