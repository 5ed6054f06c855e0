"""The posterior of the joints against the dense covariance and autograd through the full body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting.bodies.body import Body, load_body
from fitting.methods.parameters import refine
from fitting.methods.preparation import prepare
from fitting.methods.track import refine_track
from fitting.objective import exp_and_jacobian, linearise, unpack
from fitting.refinement_config import objective_constants
from fitting.solving.solvers import solve
from fitting.start.posterior import body_std_m
from fitting.start_prior import joint_table
from pose2d.skeletons import SMPL24
from tests.fitting.conftest import Persons

CONFIG = replace(objective_constants("probability"), solver="compiled", start_prior=joint_table(1.0))
_BELOW_FIXED = [SMPL24.index(f"{side}_{end}") for side in ("left", "right") for end in ("foot", "hand")]


def _weights(persons: Persons) -> np.ndarray:
    return np.full(persons.xy_px.shape[:2], 0.05)


def test_equals_the_dense_covariance(body64: Body, persons: Persons) -> None:
    inputs = persons.inputs(body64, _weights(persons))
    fits = refine(inputs, CONFIG)
    assert fits.joint_std_mm is not None
    prepared = prepare(inputs, CONFIG)
    z = solve(prepared.problem, CONFIG).z
    jacobian = linearise(prepared.problem, z).jacobian[0]
    covariance = torch.linalg.inv(torch.eye(z.shape[1]).double() + jacobian.T @ jacobian)

    def joints(one: torch.Tensor) -> torch.Tensor:
        problem = prepared.problem.select(slice(0, 1))
        turns, betas, translation = unpack(problem, one[None])
        rotations = torch.tensor(persons.initial.rotations[:1])
        rotations[:, list(problem.body.joints)] = problem.rotations @ exp_and_jacobian(turns)[0]
        posed = body64(rotations, betas, translation).joints
        return (posed - posed[:, :1]).flatten()

    moves = torch.autograd.functional.jacobian(joints, z[0])
    dense = 1000 * (moves @ covariance @ moves.T).diagonal().sqrt().reshape(24, 3).numpy()
    # Hands and feet hang below joints that no keypoint moves: their prior uncertainty comes on top.
    others = [joint for joint in range(24) if joint not in _BELOW_FIXED]
    np.testing.assert_allclose(fits.joint_std_mm[0][others], dense[others], rtol=1e-8, atol=1e-8)
    assert (fits.joint_std_mm[0][_BELOW_FIXED] >= dense[_BELOW_FIXED]).all()


def test_keypoints_make_surer_and_depth_stays_least_sure(body64: Body, persons: Persons) -> None:
    vague, sharp = (refine(persons.inputs(body64, w * _weights(persons)), CONFIG).joint_std_mm for w in (0.01, 10.0))
    assert vague is not None and sharp is not None
    assert sharp[:, 1:].mean() < 0.7 * vague[:, 1:].mean()
    assert (sharp[:, 1:, 2].mean() > sharp[:, 1:, :2].mean((0, 1))).all()


def test_what_was_not_refined_has_no_posterior(body64: Body, persons: Persons) -> None:
    weights = _weights(persons)
    weights[0] = 0
    std = refine(persons.inputs(body64, weights), CONFIG).joint_std_mm
    assert std is not None
    assert np.isnan(std[0]).all() and np.isfinite(std[1:]).all()
    assert refine(persons.inputs(body64, weights), replace(CONFIG, posterior=False)).joint_std_mm is None


def test_a_long_track_is_no_surer_than_its_frames(body64: Body, persons: Persons) -> None:
    """Frames repeat one measurement, so a track of many has no smaller standard deviations."""
    inputs = replace(persons.inputs(body64, _weights(persons)), frame_ids=np.arange(len(persons.size_px)))
    track, frames = refine_track(inputs, CONFIG).joint_std_mm, refine(inputs, CONFIG).joint_std_mm
    assert track is not None and frames is not None
    assert np.median(track[:, 1:] / frames[:, 1:]) == pytest.approx(1, abs=0.1)


def test_body_differences() -> None:
    neutral = load_body()
    assert max(body_std_m(neutral, [neutral])) == 0
    std = body_std_m(neutral, [load_body(gender="male"), load_body(gender="female")])
    assert std[0] == 0
    assert 0.001 < std[SMPL24.index("left_ankle")] < 0.1
