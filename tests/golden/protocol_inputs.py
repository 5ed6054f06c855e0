"""Random bodies, sequences and predictions for which public evaluation codes were run.

Only `Generator.random` is drawn from, whose stream numpy keeps stable.
"""

import numpy as np
from scipy.spatial.transform import Rotation

VERTICES = 6800  # smplx reads landmark vertices up to number 6787
PARENTS = np.array([2**32 - 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21], np.int64)
BODY_SEEDS = {"neutral": 1, "male": 2, "female": 3}


def random_body(gender: str) -> dict[str, np.ndarray]:
    """An SMPL-format body that is a cloud of points; genders differ by centimetres in the template."""
    rng = np.random.default_rng(0)

    def picks(rows: int) -> np.ndarray:
        matrix = np.zeros((rows, VERTICES))
        for row in matrix:
            row[(rng.random(5) * VERTICES).astype(int)] = 0.2
        return matrix / matrix.sum(1, keepdims=True)

    weights = rng.random((VERTICES, 24)) ** 20
    template = (rng.random((VERTICES, 3)) - 0.5) * (0.8, 1.7, 0.4)
    own = np.random.default_rng(BODY_SEEDS[gender])
    return {
        "v_template": template + (own.random((VERTICES, 3)) - 0.5) * 0.05,
        "shapedirs": (rng.random((VERTICES, 3, 10)) - 0.5) * 0.05,
        "posedirs": (rng.random((VERTICES, 3, 207)) - 0.5) * 0.01,
        "J_regressor": picks(24),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([PARENTS, np.arange(24)]),
        "f": np.arange(VERTICES // 3 * 3).reshape(-1, 3),
    }


def random_regressor() -> np.ndarray:
    """An evaluation regressor (17, v) whose rows, like the real one's, do not sum exactly to 1."""
    rng = np.random.default_rng(4)
    matrix = np.zeros((17, VERTICES))
    for row in matrix:
        row[(rng.random(4) * VERTICES).astype(int)] = 0.25 + 1e-4 * rng.random()
    return matrix


def random_sequences() -> list[dict]:
    """Two sequences with the fields of 3DPW's files; some frames are invalid by one rule or another."""
    rng = np.random.default_rng(5)
    sequences = []
    for name, frames, genders in (("alone_00", 7, "m"), ("two_00", 6, "fm")):
        cameras = np.tile(np.eye(4), (frames, 1, 1))
        cameras[:, :3, :3] = Rotation.from_rotvec((rng.random((frames, 3)) - 0.5) * 4).as_matrix()
        cameras[:, :3, 3] = rng.random((frames, 3))
        sequences.append(
            {
                "sequence": name,
                "genders": list(genders),
                "betas": [(rng.random(10) - 0.5) * 4 for _ in genders],
                "poses": [(rng.random((frames, 72)) - 0.5) * 1.5 for _ in genders],
                "trans": [rng.random((frames, 3)) for _ in genders],
                "poses2d": [rng.random((frames, 3, 18)) * np.array([640, 480, 1])[:, None] for _ in genders],
                "campose_valid": [np.ones(frames, int) for _ in genders],
                "cam_poses": cameras,
                "cam_intrinsics": np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]),
                "img_frame_ids": np.arange(frames),
            }
        )
    sequences[0]["campose_valid"][0][2] = 0
    sequences[1]["campose_valid"][1][5] = 0
    sequences[0]["poses2d"][0][4] = 0
    return sequences


def random_predictions(sequence: dict, seed: int) -> list[dict[str, np.ndarray]]:
    """For each actor rotations (n, 24, 3, 3), root in the camera's frame, and betas (n, 10), near the truth."""
    rng = np.random.default_rng(seed)
    predictions = []
    for poses, betas in zip(sequence["poses"], sequence["betas"]):
        frames = len(poses)
        noisy = poses + (rng.random(poses.shape) - 0.5) * 0.5
        rotations = Rotation.from_rotvec(noisy.reshape(-1, 3)).as_matrix().reshape(frames, 24, 3, 3)
        rotations[:, 0] = sequence["cam_poses"][:, :3, :3] @ rotations[:, 0]
        predictions.append({"rotations": rotations, "betas": betas + (rng.random((frames, 10)) - 0.5)})
    return predictions
