"""Bodies and synthetic persons for the tests of the refinement."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import roma
import torch

from fitting.bodies.body import Body, load_body
from fitting.bodies.reduced_body import ReducedBody, reduce_body
from fitting.body_fits import BodyFits
from fitting.inputs import FitInputs
from pose2d.skeletons import COCO17


@pytest.fixture(scope="session")
def body64() -> Body:
    """The open body in float64."""
    return copy.deepcopy(load_body()).double()


@pytest.fixture(scope="session")
def corrected_body64(body64: Body) -> Body:
    """The open body with dense pose correctives, as SMPL's are: the open body's face has none."""
    body = copy.deepcopy(body64)
    generator = torch.Generator().manual_seed(0)
    body._smpl.posedirs.copy_(torch.randn(body.posedirs.shape, generator=generator, dtype=torch.float64) * 0.01)
    return body


@pytest.fixture(scope="session")
def coco_body(body64: Body) -> ReducedBody:
    return reduce_body(body64, COCO17)


@dataclass(frozen=True)
class Persons:
    """True bodies, what a camera sees of them, and wrong initial predictions."""

    truth: BodyFits
    initial: BodyFits
    intrinsics: np.ndarray
    xy_px: np.ndarray
    size_px: np.ndarray

    def inputs(self, body: Body, weights: np.ndarray | None = None) -> FitInputs:
        """These persons as a refinement takes them, every keypoint with weight 1 unless told otherwise."""
        weights = np.ones(self.xy_px.shape[:2]) if weights is None else weights
        return FitInputs(body, COCO17, self.xy_px, weights, self.intrinsics, self.initial, self.size_px)


def make_persons(body: Body, count: int = 8, seed: int = 0, error_rad: float = 0.15) -> Persons:
    """Standing persons in loose poses, 3 to 6 m before the camera, with exact 2D and perturbed predictions."""
    rng = np.random.default_rng(seed)

    def rotations(rotvecs: np.ndarray) -> np.ndarray:
        return roma.rotvec_to_rotmat(torch.tensor(rotvecs)).numpy()

    pose = rotations(rng.normal(0, 0.2, (count, 24, 3)))
    yaw = rng.uniform(-1.0, 1.0, count)
    pose[:, 0] = np.diag([1.0, -1.0, -1.0]) @ rotations(np.stack([0 * yaw, yaw, 0 * yaw], 1))
    betas = rng.normal(0, 0.7, (count, 10))
    translation = np.stack([rng.uniform(-0.5, 0.5, count), rng.uniform(-0.3, 0.3, count), rng.uniform(3, 6, count)], 1)
    intrinsics = np.tile(np.array([[1100.0, 0.0, 639.5], [0.0, 1150.0, 359.5], [0.0, 0.0, 1.0]]), (count, 1, 1))
    with torch.no_grad():
        posed = body(torch.tensor(pose), torch.tensor(betas), torch.tensor(translation))
    points = body.keypoints(posed, COCO17).numpy()
    homogeneous = np.einsum("nij,nkj->nki", intrinsics, points)
    xy_px = homogeneous[..., :2] / homogeneous[..., 2:]
    initial = BodyFits(
        pose @ rotations(rng.normal(0, error_rad, (count, 24, 3))),
        betas * 0.5,
        translation + rng.normal(0, [0.05, 0.05, 0.3], (count, 3)),
    )
    return Persons(BodyFits(pose, betas, translation), initial, intrinsics, xy_px, np.ptp(xy_px, axis=1).max(1))


@pytest.fixture(scope="session")
def persons(body64: Body) -> Persons:
    return make_persons(body64)
