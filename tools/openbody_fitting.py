"""The fits that turn sampled T-posed bodies into SMPL's file layout: topology, shape space, joints, correctives.

Nothing here knows where the bodies come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose2d.skeletons import H36M17, SMPL24, SMPL_PARENTS

NUM_BETAS = 10

# Landmark slots that smplx.SMPL reads when it is given no vertex numbers of its own (smplx/vertex_ids.py).
SMPL_SLOTS = {
    "nose": 332,
    "reye": 6260,
    "leye": 2800,
    "rear": 4071,
    "lear": 583,
    "rthumb": 6191,
    "rindex": 5782,
    "rmiddle": 5905,
    "rring": 6016,
    "rpinky": 6133,
    "lthumb": 2746,
    "lindex": 2319,
    "lmiddle": 2445,
    "lring": 2556,
    "lpinky": 2673,
    "LBigToe": 3216,
    "LSmallToe": 3226,
    "LHeel": 3387,
    "RBigToe": 6617,
    "RSmallToe": 6624,
    "RHeel": 6787,
}


@dataclass(frozen=True)
class SurfaceMap:
    """A coarser mesh whose vertices lie on the triangles of a finer one.

    Attributes:
        faces: (f, 3) triangles of the coarse mesh.
        corners: (v, 3) vertices of the fine mesh around each coarse vertex.
        shares: (v, 3) their barycentric weights.
    """

    faces: np.ndarray
    corners: np.ndarray
    shares: np.ndarray

    def apply(self, fine: np.ndarray) -> np.ndarray:
        """Values (..., v, c) on the coarse mesh from values (..., u, c) on the fine one."""
        return np.asarray(sum(self.shares[:, k, None] * fine[..., self.corners[:, k], :] for k in range(3)))


def decimate(vertices: np.ndarray, faces: np.ndarray, num_vertices: int) -> SurfaceMap:
    """Quadric decimation to about `num_vertices`, each new vertex tied to the nearest point of the old surface."""
    import fast_simplification
    import trimesh

    used = np.unique(faces)
    compact = np.full(len(vertices), -1)
    compact[used] = np.arange(len(used))
    fine_vertices, fine_faces = vertices[used], compact[faces]
    low, high = 0.0, 0.9
    best: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(14):  # bisection on the share of faces to remove
        middle = (low + high) / 2
        points, triangles = fast_simplification.simplify(
            fine_vertices.astype(np.float32), fine_faces.astype(np.int32), target_reduction=middle, agg=4
        )
        kept = np.unique(triangles)
        if best is None or abs(len(kept) - num_vertices) < abs(len(best[0]) - num_vertices):
            number = np.full(len(points), -1)
            number[kept] = np.arange(len(kept))
            best = points[kept].astype(float), number[triangles]
        low, high = (middle, high) if len(kept) > num_vertices else (low, middle)
    assert best is not None
    points, triangles = best
    mesh = trimesh.Trimesh(fine_vertices, fine_faces, process=False)
    nearest, _, triangle = trimesh.proximity.closest_point(mesh, points)
    shares = np.clip(trimesh.triangles.points_to_barycentric(mesh.triangles[triangle], nearest), 0, 1)
    return SurfaceMap(triangles, used[fine_faces[triangle]], shares / shares.sum(1, keepdims=True))


def limit_influences(weights: np.ndarray, count: int = 4, least: float = 1e-3) -> np.ndarray:
    """Skinning weights (v, 24) with the `count` largest of each vertex kept; rows sum to 1."""
    threshold = np.sort(weights, axis=1)[:, -count][:, None]
    kept = np.where((weights >= threshold) & (weights >= least), weights, 0.0)
    return np.asarray(kept / kept.sum(1, keepdims=True))


def shape_space(bodies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (v, 3), directions (v, 3, 10) scaled so that beta ~ N(0, 1), and the share of variance that they explain.

    Args:
        bodies: (n, v, 3) sampled T-posed bodies.
    """
    mean = bodies.mean(0)
    flat = (bodies - mean).reshape(len(bodies), -1)
    _, singular, axes = np.linalg.svd(flat, full_matrices=False)
    deviation = singular / np.sqrt(len(bodies) - 1)
    directions = (axes[:NUM_BETAS] * deviation[:NUM_BETAS, None]).reshape(NUM_BETAS, -1, 3).transpose(1, 2, 0)
    # A positive beta makes taller: the head goes up, the feet go down.
    upper = np.sign(mean[:, 1] - mean[:, 1].mean())
    growth = (directions[:, 1] * upper[:, None]).sum(0)
    directions = directions * np.where(growth < 0, -1.0, 1.0)
    explained = float((singular[:NUM_BETAS] ** 2).sum() / (singular**2).sum())
    return mean, directions, explained


def fit_joint_regressor(
    bodies: np.ndarray, joints: np.ndarray, weights: np.ndarray, rng: np.random.Generator, candidates: int = 900
) -> tuple[np.ndarray, np.ndarray]:
    """Sparse non-negative rows (24, v), each summing to 1, that give the joints from the vertices.

    Three quarters of the bodies are fitted (non-negative least squares over vertices around the joint, with a weak pull
    to even weights); the others judge.

    Args:
        bodies: (n, v, 3).
        joints: (n, 24, 3).
        weights: (v, 24) skinning weights, which say what lies around a joint.
        rng: picks the candidates that are not nearest.
        candidates: vertices offered to each joint.

    Returns:
        The regressor, and (24,) mean error in metres on the bodies that were kept apart.
    """
    from scipy.optimize import nnls

    mean, train = bodies.mean(0), len(bodies) * 3 // 4
    regressor, errors = np.zeros((24, bodies.shape[1])), np.zeros(24)
    for joint in range(24):
        distance = np.linalg.norm(mean - joints[:, joint].mean(0), axis=1)
        family = [joint, *_children(joint)] + ([SMPL_PARENTS[joint]] if joint else [])
        pool = np.flatnonzero((weights[:, family].max(1) > 0.05) & (distance < 0.32))
        pool = pool[np.argsort(distance[pool])]
        near, far = pool[: candidates // 3], pool[candidates // 3 :]
        chosen = np.concatenate([near, rng.permutation(far)[: candidates - len(near)]])
        size = len(chosen)
        matrix = bodies[:train][:, chosen].transpose(0, 2, 1).reshape(-1, size)
        stacked = np.vstack([matrix, 1e3 * np.ones((1, size)), 5e-5 * np.sqrt(train) * np.eye(size)])
        wanted = np.concatenate([joints[:train, joint].reshape(-1), [1e3], np.zeros(size)])
        # The triangular factor of the normal equations has the same minimum and far fewer rows.
        factor = np.linalg.cholesky(stacked.T @ stacked + 1e-10 * np.eye(size)).T
        row, _ = nnls(factor, np.linalg.solve(factor.T, stacked.T @ wanted), maxiter=20_000)
        row[row < 1e-4] = 0
        regressor[joint, chosen] = row / row.sum()
        predicted = np.einsum("v,nvc->nc", regressor[joint, chosen], bodies[train:][:, chosen])
        errors[joint] = np.linalg.norm(predicted - joints[train:, joint], axis=1).mean()
    return regressor, errors


def fit_pose_directions(
    vertices: np.ndarray,
    joints: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    strength: float = 0.7,
    rotations: int = 120,
) -> np.ndarray:
    """Correctives (v, 3, 207), linear in the entries of R - I, that undo a part of what linear blending gets wrong.

    The wanted surface is dual-quaternion skinning (Kavan et al. 2007). One joint moves at a time, about a fixed point,
    where dual quaternions reduce to normalised sums of quaternions.

    Args:
        vertices, joints: (v, 3) and (24, 3), the mean body.
        vertices: of the posed bodies.
        joints: of the posed bodies.
        weights: (v, 24) skinning weights.
        rng: draws the rotations.
        strength: part of the difference to take over.
        rotations: samples for each joint.
    """
    from scipy.spatial.transform import Rotation

    directions = np.zeros((len(vertices), 3, 207), np.float32)
    for joint in range(1, 24):
        share = weights[:, _subtree(joint)].sum(1)
        active = np.flatnonzero((share > 1e-3) & (share < 1 - 1e-3))
        if not len(active):
            continue
        axes = rng.normal(size=(rotations, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        turns = Rotation.from_rotvec(axes * rng.uniform(0.1, 1.9, rotations)[:, None])
        matrices, quaternions = turns.as_matrix(), turns.as_quat()
        quaternions *= np.sign(quaternions[:, 3:4])
        points, moving = vertices[active] - joints[joint], share[active][None, :, None]
        linear = (1 - moving) * points + moving * np.einsum("nij,vj->nvi", matrices, points)
        blended = (1 - moving) * np.array([0, 0, 0, 1.0]) + moving * quaternions[:, None]
        wanted = Rotation.from_quat(blended.reshape(-1, 4)).apply(np.tile(points, (rotations, 1)))
        difference = strength * (wanted.reshape(linear.shape) - linear)
        # Correctives are added before skinning: take the blend back (damped, since it is near singular at 180 degrees).
        blend = (1 - moving)[..., None] * np.eye(3) + moving[..., None] * matrices[:, None]
        back = blend.swapaxes(-1, -2)
        before = np.linalg.solve(back @ blend + 1e-2 * np.eye(3), back @ difference[..., None])[..., 0]
        features = (matrices - np.eye(3)).reshape(rotations, 9)
        normal = features.T @ features + 1e-1 * np.eye(9)
        found = np.linalg.solve(normal, features.T @ before.reshape(rotations, -1)).reshape(9, len(active), 3)
        found[np.abs(found) < 2e-4] = 0
        directions[active, :, 9 * (joint - 1) : 9 * joint] = found.transpose(1, 2, 0)
    return directions


def _subtree(joint: int) -> list[int]:
    family = [joint]
    for member in family:
        family.extend(_children(member))
    return family


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(SMPL_PARENTS) if parent == joint]


def evaluation_regressor(joint_regressor: np.ndarray, vertices: np.ndarray, landmarks: dict[str, int]) -> np.ndarray:
    """Rows (17, v) in the order of H36M17, non-negative and each summing to 1.

    Limbs, pelvis, spine and neck are SMPL joints; `head` is the middle of nose and ears, `head_top` the mean of the
    vertices within 3 cm of the highest one.

    Args:
        joint_regressor: (24, v).
        vertices: (v, 3) of the mean body.
        landmarks: vertex numbers by smplx's names.
    """
    regressor = np.zeros((len(H36M17), len(vertices)))
    for row, name in enumerate(H36M17.keypoints):
        if name == "head":
            regressor[row, [landmarks[key] for key in ("nose", "lear", "rear")]] = 1
        elif name == "head_top":
            top = vertices[vertices[:, 1].argmax()]
            regressor[row, np.linalg.norm(vertices - top, axis=1) < 0.03] = 1
        else:
            regressor[row] = joint_regressor[SMPL24.index("spine2" if name == "spine" else name)]
    return np.asarray(regressor / regressor.sum(1, keepdims=True))


def slot_permutation(landmarks: dict[str, int], num_vertices: int) -> np.ndarray:
    """Vertex order (new -> old) that puts each landmark into its slot of `SMPL_SLOTS`; needs over 6787 vertices."""
    order = np.arange(num_vertices)
    for name, slot in SMPL_SLOTS.items():
        now = int(np.flatnonzero(order == landmarks[name])[0])
        order[[slot, now]] = order[[now, slot]]
    return order
