"""Starts of a chosen quality: the truth with a random error of each joint, of the shape and of the place.

Half of each error's variance is constant over a track, half changes from frame to frame. The errors know nothing of the
image, which makes them kinder than a network's. Scale 0.5 gives a PA-MPJPE of about 37 mm on the open world, 1.0 about
71 mm. Give validation and test different seeds: one seed draws the same errors for both.
"""

from __future__ import annotations

import hashlib

import numpy as np
import roma
import torch

from eval3dpw.dataset.ground_truth import CameraTruth
from fitting.body_fits import BodyFits
from pose2d.skeletons import SMPL24

_STD_RAD = np.full(24, 0.10)
for _side in ("left", "right"):
    for _joint, _std in (("hip", 0.16), ("knee", 0.16), ("shoulder", 0.16), ("elbow", 0.22), ("wrist", 0.22)):
        _STD_RAD[SMPL24.index(f"{_side}_{_joint}")] = _std
_STD_RAD[SMPL24.index("pelvis")] = 0.08
_BETAS_STD = 0.5
_TRANSLATION_STD = np.array([0.01, 0.01, 0.05])  # of the depth
_SHARE = 0.7  # of the standard deviation, for either half of the variance


def synthetic_start(truth: CameraTruth, scale: float, seed: int, track: str) -> BodyFits:
    """Bodies near the truth of a track.

    Args:
        truth: of n frames.
        scale: factor on all standard deviations.
        seed: of the errors.
        track: whose name goes into the seed, so that a track's errors do not depend on its company.
    """
    of_track = int.from_bytes(hashlib.sha256(track.encode()).digest()[:8], "little")
    rng, count = np.random.default_rng([seed, of_track]), len(truth.betas)

    def error(*shape: int) -> np.ndarray:
        drawn: np.ndarray = _SHARE * (rng.normal(size=(1, *shape)) + rng.normal(size=(count, *shape)))
        return drawn * scale

    turns = torch.tensor(error(24, 3) * _STD_RAD[None, :, None])
    rotations = truth.rotations.double() @ roma.rotvec_to_rotmat(turns)
    betas = truth.betas.double().numpy() + scale * _BETAS_STD * rng.normal(size=(1, 10))
    translation = truth.translation.double().numpy()
    return BodyFits(rotations.numpy(), betas, translation + translation[:, 2:] * error(3) * _TRANSLATION_STD)
