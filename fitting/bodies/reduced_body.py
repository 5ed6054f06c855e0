"""The body reduced to its keypoints: the same points as the full model's, to the last digit, without the mesh.

A keypoint is a joint or a vertex. Along the kinematic chain every one of them is a sum over joints u of a rest vector
turned by that joint's rotation G_u relative to the root's frame,

    x_k = m_k J_0 + sum_u G_u q_ku,        q_ku = q0_ku + Q_ku beta  (+ share_ku c_k),

where the bones of the chain and the skinned vertex are collected in q, m_k is the sum of skinning weights (1 but for
rounding) and c_k is the vertex's pose corrective, linear in the rotation matrices. Whatever hangs below joint u moves
rigidly with it, so its arm about the joint is again a sum, and the Jacobian is a cross product (`fitting.objective`).

Only joints that have a keypoint below them are unknowns of a fit. They are found from the skeleton and the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.bodies.body import Body
from pose2d.skeletons import Skeleton


@dataclass(frozen=True, eq=False)
class ReducedBody:
    """Constants of one body for one skeleton. K keypoints that the body has, U joints that move them.

    Attributes:
        keypoints: numbers of the K keypoints in the skeleton.
        joints: SMPL numbers of the U joints, parents before children, the root first.
        parents: position in `joints` of each one's parent, -1 for the root.
        rest: q0.
        rest_shape: Q.
        origin: m_k J_0 at beta = 0, and `origin_shape` its change with beta.
        surface: positions among the K keypoints of the S vertices that pose correctives move.
        share: skinning weight of each joint in those vertices.
        corrective: displacement of those vertices for each entry of (R - I) of the 23 joints other than the root.
    """

    keypoints: Int[np.ndarray, " K"]
    joints: tuple[int, ...]
    parents: tuple[int, ...]
    rest: Float[Tensor, "U 3 K"]
    rest_shape: Float[Tensor, "10 U 3 K"]
    origin: Float[Tensor, "3 K"]
    origin_shape: Float[Tensor, "10 3 K"]
    surface: Int[np.ndarray, " S"]
    share: Float[Tensor, "S U"]
    corrective: Float[Tensor, "S 3 23 3 3"]

    @property
    def num_unknowns(self) -> int:
        """Three for each joint, ten betas, three of translation."""
        return 3 * len(self.joints) + 13

    @cached_property
    def levels(self) -> tuple[tuple[list[int], list[int]], ...]:
        """Joints of equal depth in the tree, the root's own level left out: (positions, positions of their parents)."""
        depth = [0]
        for parent in self.parents[1:]:
            depth.append(depth[parent] + 1)
        by_level = [[u for u, d in enumerate(depth) if d == level] for level in range(1, max(depth) + 1)]
        return tuple((level, [self.parents[u] for u in level]) for level in by_level)

    @cached_property
    def below(self) -> Float[Tensor, "U U"]:
        """1 where the column's joint is the row's joint or hangs below it."""
        below = torch.eye(len(self.joints), dtype=self.rest.dtype, device=self.rest.device)
        for u in range(len(self.joints) - 1, 0, -1):
            below[self.parents[u]] += below[u]
        return below

    @cached_property
    def corrective_joints(self) -> list[int]:
        """Positions in `joints` of those whose rotation changes a corrective (never the root)."""
        touched = self.corrective.abs().amax((0, 1, 3, 4)) if len(self.surface) else torch.zeros(23)
        return [u for u, joint in enumerate(self.joints) if joint > 0 and touched[joint - 1] > 0]

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> ReducedBody:
        """The same constants in another precision or on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, dtype) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def global_rotations(self, rotations: Float[Tensor, "n U 3 3"]) -> Float[Tensor, "n U 3 3"]:
        """Rotation of each joint's frame in the camera, from those relative to the parent."""
        out = rotations.clone()
        for level, parents in self.levels:
            out[:, level] = out[:, parents] @ rotations[:, level]
        return out

    def corrective_offset(self, rotations: Float[Tensor, "n 24 3 3"]) -> Float[Tensor, "n S 3"]:
        """Pose corrective of the surface keypoints, in the rest frame."""
        change = rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        offset: Tensor = torch.einsum("sxjab,njab->nsx", self.corrective, change)
        return offset

    def rest_vectors(self, betas: Float[Tensor, "n 10"], offset: Float[Tensor, "n S 3"]) -> Float[Tensor, "n U 3 K"]:
        """q of all joints and keypoints."""
        rest: Tensor = self.rest + torch.tensordot(betas, self.rest_shape, 1)
        if len(self.surface):
            rest[:, :, :, self.surface] += torch.einsum("su,nsx->nuxs", self.share, offset)
        return rest

    def keypoint_positions(
        self,
        rotations: Float[Tensor, "n 24 3 3"],
        betas: Float[Tensor, "n 10"],
        translation: Float[Tensor, "n 3"],
    ) -> Float[Tensor, "n K 3"]:
        """The K keypoints of a posed body; equal to `Body.keypoints` of the same parameters."""
        turned = self.global_rotations(rotations[:, list(self.joints)]) @ self.rest_vectors(
            betas, self.corrective_offset(rotations)
        )
        origin: Tensor = self.origin + torch.tensordot(betas, self.origin_shape, 1)
        return (turned.sum(1) + origin).mT + translation[:, None]


def reduce_body(body: Body, skeleton: Skeleton) -> ReducedBody:
    """Derive the reduced body of `skeleton`, in float64; once for each body and skeleton.

    Raises:
        ValueError: the body has none of the skeleton's keypoints.
    """
    return _reduce(body, Skeleton(skeleton.name, skeleton.keypoints))


@lru_cache(maxsize=16)
def _reduce(body: Body, skeleton: Skeleton) -> ReducedBody:
    sources = {k: source for k, source in enumerate(body.keypoint_sources(skeleton)) if source is not None}
    keypoints = np.array(list(sources), dtype=np.int64)
    if not sources:
        raise ValueError(f"the body has no keypoint of skeleton {skeleton.name}")
    parents = body.parents
    template, shapedirs = body.v_template.double().cpu().numpy(), body.shapedirs.double().cpu().numpy()
    regressor, skinning = body.joint_regressor.double().cpu().numpy(), body.skinning_weights.double().cpu().numpy()
    # The last axis holds the mean body and then its change with each beta.
    vertices = np.concatenate([template[..., None], shapedirs], -1)
    joints = np.einsum("jv,vxb->jxb", regressor, vertices)
    bones = np.concatenate([joints[:1], joints[1:] - joints[list(parents[1:])]])

    vectors = np.zeros((24, 3, len(keypoints), 11))
    mass = np.ones(len(keypoints))
    surface, share, corrective = [], [], []
    for k, source in enumerate(sources.values()):
        if source.kind == "joint":
            _hang(vectors[:, :, k], bones, parents, source.number, 1.0)
            continue
        weights = skinning[source.number]
        mass[k] = weights.sum()
        for joint in np.flatnonzero(weights):
            _hang(vectors[:, :, k], bones, parents, int(joint), weights[joint])
            vectors[joint, :, k] += weights[joint] * (vertices[source.number] - joints[joint])
        directions = body.posedirs[:, 3 * source.number : 3 * source.number + 3].double().cpu().numpy()
        if directions.any():
            surface.append(k)
            share.append(weights)
            corrective.append(directions.T.reshape(3, 23, 3, 3))

    moving = np.abs(vectors).max((1, 2, 3)) > 0
    for child in range(23, 0, -1):
        moving[parents[child]] |= moving[child]
    moving[0] = True
    kept = [int(j) for j in np.flatnonzero(moving)]
    origin = joints[0][:, None] * mass[:, None]
    return ReducedBody(
        keypoints=keypoints,
        joints=tuple(kept),
        parents=tuple(kept.index(parents[j]) if j else -1 for j in kept),
        rest=torch.tensor(vectors[kept][..., 0]),
        rest_shape=torch.tensor(np.moveaxis(vectors[kept][..., 1:], -1, 0).copy()),
        origin=torch.tensor(origin[..., 0]),
        origin_shape=torch.tensor(np.moveaxis(origin[..., 1:], -1, 0).copy()),
        surface=np.array(surface, dtype=np.int64),
        share=torch.tensor(np.array(share)[:, kept] if surface else np.zeros((0, len(kept)))),
        corrective=torch.tensor(np.array(corrective) if surface else np.zeros((0, 3, 23, 3, 3))),
    )


def _hang(vectors: np.ndarray, bones: np.ndarray, parents: tuple[int, ...], joint: int, weight: float) -> None:
    """Add the bones from the root to `joint`, each in its parent's frame. Arrays: (24, 3, 1 + betas)."""
    while parents[joint] >= 0:
        vectors[parents[joint]] += weight * bones[joint]
        joint = parents[joint]
