"""Refinement of a track with a temporal term."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import reduce_body
from fitting.body_fits import BodyFits, Reason
from fitting.inputs import FitInputs
from fitting.methods.parameters import refine
from fitting.methods.preparation import prepare
from fitting.methods.track import TemporalConfig, _accelerations, _minimise, log_and_jacobian, refine_track, triples
from fitting.objective import value
from fitting.refinement_config import RefinementConfig
from pose2d.skeletons import COCO17
from tests.fitting.conftest import Persons, make_persons

CONFIG = RefinementConfig(solver="torch", precision="float64", tolerance=1e-8)


def moving_person(body: Body, frames: int = 20) -> Persons:
    """One person who turns, walks and swings evenly, with 2D noise and predictions that jump."""
    rng = np.random.default_rng(0)
    start = make_persons(body, 1).truth
    time = np.arange(frames)[:, None, None]
    velocity = rng.normal(0, 0.02, (1, 24, 3))
    turned = roma.rotvec_to_rotmat(torch.tensor(time * velocity)).numpy()
    pose = start.rotations @ turned
    betas = np.repeat(start.betas, frames, 0)
    translation = start.translation + time[:, 0] * np.array([0.02, 0.0, 0.01])
    intrinsics = np.tile([[1100.0, 0.0, 639.5], [0.0, 1100.0, 359.5], [0.0, 0.0, 1.0]], (frames, 1, 1))
    points = reduce_body(body, COCO17).keypoint_positions(*map(torch.tensor, (pose, betas, translation))).numpy()
    pixels = np.einsum("nij,nkj->nki", intrinsics, points)
    xy_px = pixels[..., :2] / pixels[..., 2:] + rng.normal(0, 6, (frames, 17, 2))
    errors = roma.rotvec_to_rotmat(torch.tensor(rng.normal(0, 0.12, (frames, 24, 3)))).numpy()
    initial = BodyFits(pose @ errors, 0.5 * betas, translation + rng.normal(0, 0.1, (frames, 3)))
    return Persons(BodyFits(pose, betas, translation), initial, intrinsics, xy_px, np.full(frames, 400.0))


def track_inputs(body: Body, persons: Persons, frame_ids: np.ndarray) -> FitInputs:
    return replace(persons.inputs(body), frame_ids=frame_ids)


def root_relative_joints(body: Body, fits: BodyFits) -> np.ndarray:
    with torch.no_grad():
        joints = body(torch.tensor(fits.rotations), torch.tensor(fits.betas), None).joints.numpy()
    return joints - joints[:, :1]


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3, 2.0])
def test_logarithm_and_its_derivative(angle: float) -> None:
    turn = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64) * angle
    rotation = roma.rotvec_to_rotmat(turn)
    found, slope = log_and_jacobian(rotation)
    torch.testing.assert_close(found, turn, rtol=0, atol=1e-9)
    step = 1e-6
    units = step * torch.eye(3, dtype=torch.float64)
    ahead, behind = (log_and_jacobian(rotation @ roma.rotvec_to_rotmat(s * units))[0] for s in (1, -1))
    torch.testing.assert_close(slope, ((ahead - behind) / (2 * step)).mT, rtol=1e-6, atol=1e-6)


def test_triples_bridge_small_gaps_only() -> None:
    middle, gaps = triples(np.array([0, 1, 2, 4, 9, 10, 11]), max_gap=2)
    assert middle.tolist() == [1, 2, 5]
    assert gaps.tolist() == [[1, 1], [1, 2], [1, 1]]
    with pytest.raises(ValueError, match="must rise"):
        triples(np.array([0, 2, 2]), 1)


def test_one_frame_is_the_frame_alone(body64: Body, persons: Persons) -> None:
    alone = refine(persons.inputs(body64), CONFIG)
    for frame in range(2):
        one = replace(
            persons,
            initial=persons.initial.select(slice(frame, frame + 1)),
            **{n: getattr(persons, n)[frame : frame + 1] for n in ("intrinsics", "xy_px", "size_px")},
        )
        fits = refine_track(track_inputs(body64, one, np.array([5])), CONFIG)
        assert fits.objective[0] == pytest.approx(alone.objective[frame], rel=1e-5)


def test_track_is_smoother_and_nearer_than_its_frames(body64: Body) -> None:
    persons = moving_person(body64)
    frames = np.arange(20)
    alone = refine(persons.inputs(body64), CONFIG)
    track = refine_track(track_inputs(body64, persons, frames), CONFIG)
    assert (track.reason == Reason.CONVERGED).all()
    assert np.ptp(track.betas, axis=0).max() == 0
    truth, one, other = (root_relative_joints(body64, fits) for fits in (persons.truth, alone, track))

    def acceleration(joints: np.ndarray) -> float:
        return np.linalg.norm(joints[2:] - 2 * joints[1:-1] + joints[:-2], axis=2).mean()

    assert acceleration(other) < 0.3 * acceleration(one)
    assert np.linalg.norm(other - truth, axis=2).mean() < 0.9 * np.linalg.norm(one - truth, axis=2).mean()


def test_the_whole_tracks_gradient_vanishes(body64: Body) -> None:
    """At the result the derivative of the whole objective, by autograd, is 0: banded system and border are right."""
    persons = moving_person(body64, 7)
    problem = prepare(persons.inputs(body64), CONFIG).problem
    problem = replace(problem, betas=problem.betas.mean(0, keepdim=True).expand_as(problem.betas))
    middle, gaps = triples(np.array([0, 1, 2, 4, 5, 6, 20]), 3)
    temporal = TemporalConfig()
    config = replace(CONFIG, tolerance=1e-13, max_iterations=200)
    z, _, reason = _minimise(problem, middle, torch.from_numpy(gaps), config, temporal)
    assert reason == Reason.CONVERGED
    own = torch.cat([z[:, :-13], z[:, -3:]], 1).requires_grad_()
    shape = z[0, -13:-3].clone().requires_grad_()
    at = torch.cat([own[:, :-3], shape.expand(7, -1), own[:, -3:]], 1)
    accelerations = _accelerations(problem, at, middle, torch.from_numpy(gaps), temporal)
    total = value(problem, at).sum() + accelerations.residual.square().sum()
    start = value(problem, torch.zeros_like(z)).sum()
    assert total < 0.7 * start
    total.backward()
    assert own.grad.abs().max() < 1e-3
    assert shape.grad.abs().max() < 1e-3


def test_a_frame_that_cannot_be_fitted_is_bridged(body64: Body) -> None:
    persons = moving_person(body64, 6)
    persons.size_px[2] = 0
    fits = refine_track(track_inputs(body64, persons, np.arange(6)), CONFIG)
    assert fits.reason.tolist() == [0, 0, int(Reason.BAD_BOX), 0, 0, 0]
    np.testing.assert_array_equal(fits.rotations[2], persons.initial.rotations[2])
    persons.size_px[:] = 0
    none = refine_track(track_inputs(body64, persons, np.arange(6)), CONFIG)
    assert (none.reason == Reason.BAD_BOX).all()
