"""Bodies of anny (Apache-2.0; MakeHuman's CC0 data) in a T-pose, with SMPL's 24 joints: what the open body is made of.

anny's own topology, rig and phenotypes are read; its "smpl" and "smplx" topologies, which download non-commercial data,
are not. Frame of everything that leaves this file: metres, +y up, facing +z, the person's left at +x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pose2d.skeletons import SMPL24

# anny's bones have z up and face -y.
_ZUP_TO_YUP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_INNER_PARTS = ["mouth_cavity", "tongue", "eye_back.L", "eye_back.R"]
_LEG_SPREAD = 0.075  # tangent of the legs' angle to the vertical
_SCAPULAR_SHARE = 0.12  # part of the arm's elevation that the shoulder blade takes

_CENTRAL_BONES = {
    "root": "pelvis",
    "pelvis": "pelvis",
    "spine05": "pelvis",
    "spine04": "spine1",
    "spine03": "spine1",
    "spine02": "spine2",
    "spine01": "spine3",
    "neck01": "neck",
    "neck02": "neck",
    "neck03": "neck",
}
# Beginnings of the limbs' bone names; the first that fits counts.
_LIMB_BONES = (
    ("upperleg", "hip"),
    ("lowerleg", "knee"),
    ("foot", "ankle"),
    ("toe", "foot"),
    ("clavicle", "collar"),
    ("shoulder01", "collar"),
    ("upperarm", "shoulder"),
    ("lowerarm", "elbow"),
    ("wrist", "wrist"),
    ("metacarpal", "wrist"),
    ("finger1-1", "wrist"),
    ("finger", "hand"),
)

Phenotypes = dict[str, np.ndarray]


def joint_of_bone(bone: str) -> int:
    """Number of the SMPL joint that carries one of anny's bones.

    Raises:
        KeyError: the bone is unknown.
    """
    side = {".L": "left_", ".R": "right_"}.get(bone[-2:], "")
    name = bone[:-2] if side else bone
    if name in _CENTRAL_BONES:
        return SMPL24.index(_CENTRAL_BONES[name])
    if name in ("head", "eye"):
        return SMPL24.index("head")
    for beginning, joint in _LIMB_BONES:
        if side and name.startswith(beginning):
            return SMPL24.index(side + joint)
    raise KeyError(f"anny's bone {bone!r} belongs to no SMPL joint")


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotation (..., 3, 3) that takes directions a (..., 3) to b (..., 3); a and b must not be opposite."""
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    axis, cosine = np.cross(a, b), (a * b).sum(-1)[..., None, None]
    skew = np.zeros((*axis.shape[:-1], 3, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -axis[..., 2], axis[..., 1], -axis[..., 0]
    skew -= skew.swapaxes(-1, -2).copy()
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine))


def sample_phenotypes(count: int, rng: np.random.Generator, gender: float | None) -> Phenotypes:
    """Random adults in anny's phenotype coordinates; hand-chosen spreads, not a population's statistics.

    Args:
        count: how many.
        rng: the source of chance.
        gender: 0 male, 1 female, None both.
    """

    def clipped(mean: float, spread: float) -> np.ndarray:
        return np.clip(rng.normal(mean, spread, count), 0.02, 0.98)

    genders = rng.beta(0.35, 0.35, count) if gender is None else np.full(count, gender)
    origins = rng.dirichlet([1, 1, 1], count)
    return {
        "gender": genders,
        "age": rng.uniform(0.60, 0.95, count),
        "muscle": clipped(0.5, 0.18),
        "weight": clipped(0.5, 0.2),
        "height": clipped(0.37, 0.075),
        "proportions": clipped(0.55, 0.2),
        "cupsize": clipped(0.45, 0.2),
        "firmness": clipped(0.55, 0.15),
        "african": origins[:, 0],
        "asian": origins[:, 1],
        "caucasian": origins[:, 2],
    }


@dataclass(frozen=True)
class AnnyBody:
    """anny's model with what the builder needs of it.

    Attributes:
        model: anny's own, in double precision.
        bones: names.
        parents: of each bone, -1 for the root.
        weights: (v, bones) skinning weights, rows sum to 1.
        faces: (f, 3) triangles of the outer skin.
    """

    model: Any
    bones: list[str]
    parents: list[int]
    weights: np.ndarray
    faces: np.ndarray

    @staticmethod
    def load() -> AnnyBody:
        """Load anny with its own topology and all phenotypes."""
        import anny
        from anny.face_segmentation import get_face_segmentation_mask

        model = anny.Anny(phenotypes="all", skinning_method="lbs").double()
        bones = list(model.bone_labels)
        indices, shares = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
        weights = np.zeros((len(model.template_vertices), len(bones)))
        np.add.at(weights, (np.arange(len(weights))[:, None], indices), shares)
        inner = get_face_segmentation_mask(model, _INNER_PARTS).numpy()
        return AnnyBody(
            model=model,
            bones=bones,
            parents=[int(parent) for parent in model.bone_parents],
            weights=weights / weights.sum(1, keepdims=True),
            faces=np.asarray(model.faces)[~inner],
        )

    def bone(self, name: str) -> int:
        """Number of a bone."""
        return self.bones.index(name)

    def rest(self, phenotypes: Phenotypes) -> tuple[np.ndarray, np.ndarray]:
        """Rest vertices (n, v, 3) and bone heads (n, bones, 3), arms hanging at an angle as anny has them."""
        import torch

        count = len(phenotypes["gender"])
        pose = torch.eye(4, dtype=torch.float64).repeat(count, self.model.bone_count, 1, 1)
        arguments = {name: torch.as_tensor(values, dtype=torch.float64) for name, values in phenotypes.items()}
        with torch.no_grad():
            output = self.model(pose_parameters=pose, phenotype_kwargs=arguments)
        return (
            output["rest_vertices"].numpy() @ _ZUP_TO_YUP.T,
            output["rest_bone_heads"].numpy() @ _ZUP_TO_YUP.T,
        )

    def t_posed(self, vertices: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rest bodies with arms stretched sideways and legs straight, by linear blending with anny's own weights."""
        rotations = self._t_pose_rotations(heads)
        moved = heads.copy()
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                offset = heads[:, bone] - heads[:, parent]
                moved[:, bone] = moved[:, parent] + _rotate(rotations[:, parent], offset)
        shifts = moved - _rotate(rotations, heads)
        transforms = np.concatenate([rotations, shifts[..., None]], axis=-1)
        posed = np.empty_like(vertices)
        for body, rest in enumerate(vertices):
            blended = np.einsum("vb,bij->vij", self.weights, transforms[body])
            posed[body] = _rotate(blended[:, :, :3], rest) + blended[:, :, 3]
        return posed, moved

    def _t_pose_rotations(self, heads: np.ndarray) -> np.ndarray:
        """World rotation (n, bones, 3, 3) of each bone that brings the body into a T-pose."""
        from scipy.spatial.transform import Rotation

        rotations = np.tile(np.eye(3), (*heads.shape[:2], 1, 1))
        for side, sign in (("L", 1.0), ("R", -1.0)):
            shoulder, elbow, wrist, hip, knee, ankle = (
                heads[:, self.bone(f"{name}.{side}")]
                for name in ("upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot")
            )
            knuckles = np.mean([heads[:, self.bone(f"finger{k}-1.{side}")] for k in (2, 3, 4, 5)], axis=0)
            sideways = np.broadcast_to([sign, 0.0, 0.0], elbow.shape)
            upper_arm = rotation_between(elbow - shoulder, sideways)
            lower_arm = rotation_between(_rotate(upper_arm, wrist - elbow), sideways) @ upper_arm
            hand = rotation_between(_rotate(lower_arm, knuckles - wrist), sideways) @ lower_arm
            part = Rotation.from_rotvec(Rotation.from_matrix(upper_arm).as_rotvec() * _SCAPULAR_SHARE).as_matrix()
            down = np.array([sign * _LEG_SPREAD, -1.0, 0.0])
            down = np.broadcast_to(down / np.linalg.norm(down), knee.shape)
            upper_leg = rotation_between(knee - hip, down)
            lower_leg = rotation_between(_rotate(upper_leg, ankle - knee), down) @ upper_leg
            turns = (
                ("shoulder01", part),
                ("upperarm", upper_arm),
                ("lowerarm", lower_arm),
                ("wrist", hand),
                ("finger", hand),
                ("metacarpal", hand),
                ("upperleg", upper_leg),
                ("lowerleg", lower_leg),
            )
            for number, bone in enumerate(self.bones):
                for beginning, rotation in turns:
                    if bone.endswith(f".{side}") and bone.startswith(beginning):
                        rotations[:, number] = rotation
        return rotations

    def joints24(self, heads: np.ndarray) -> np.ndarray:
        """SMPL's joints (n, 24, 3) from bone heads; those of the trunk lie in the plane x = 0."""
        joints = np.zeros((len(heads), 24, 3))

        def put(joint: str, place: np.ndarray) -> None:
            joints[:, SMPL24.index(joint)] = place

        def head(bone: str) -> np.ndarray:
            return heads[:, self.bone(bone)]

        put("pelvis", head("root") + 0.45 * (head("spine04") - head("root")))
        trunk = {"spine1": "spine04", "spine2": "spine02", "spine3": "spine01", "neck": "neck01", "head": "head"}
        for joint, bone in trunk.items():
            put(joint, head(bone))
        limbs = {
            "hip": "upperleg01",
            "knee": "lowerleg01",
            "ankle": "foot",
            "collar": "clavicle",
            "shoulder": "upperarm01",
            "elbow": "lowerarm01",
            "wrist": "wrist",
        }
        for prefix, side in (("left", "L"), ("right", "R")):
            for joint, bone in limbs.items():
                put(f"{prefix}_{joint}", head(f"{bone}.{side}"))
            put(f"{prefix}_foot", np.mean([head(f"toe{k}-1.{side}") for k in range(1, 6)], axis=0))
            put(f"{prefix}_hand", np.mean([head(f"finger{k}-1.{side}") for k in (2, 3, 4, 5)], axis=0))
        joints[:, SMPL24.indices(("pelvis", *trunk)), 0] = 0
        return joints

    def face_landmarks(self, vertices: np.ndarray) -> dict[str, np.ndarray]:
        """Eyes and ears (and anny's other COCO keypoints) of one body with anny's vertices (v, 3)."""
        import anny
        import torch

        path = anny.paths.get_anny_root_dir() / "data/keypoints/coco.pth"
        regressors = torch.load(path, weights_only=True)
        base = self.model.base_mesh_vertex_indices.numpy()
        shares = {name: weights.numpy()[base] for name, weights in regressors.items()}
        return {name: (share @ vertices) / share.sum() for name, share in shares.items()}


def _rotate(rotations: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...ij,...j->...i", rotations, vectors))
