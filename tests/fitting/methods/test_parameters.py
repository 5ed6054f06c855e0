"""Refinement: recovery, keypoints without weight, bad frames, independence of frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting.bodies.body import Body
from fitting.body_fits import BodyFits, Reason
from fitting.camera import project
from fitting.methods.parameters import refine
from fitting.refinement_config import RefinementConfig
from fitting.solving.solvers import SOLVERS
from pose2d.errors import InputError
from pose2d.skeletons import COCO17
from tests.fitting.conftest import Persons, make_persons

SOLVER_NAMES = sorted(SOLVERS)
EXACT = RefinementConfig(
    prior_strength=1e-4, pixel_scale=1.0, kernel_knee=1e3, tolerance=1e-10, max_iterations=300, precision="float64"
)


def run(body: Body, persons: Persons, weights: np.ndarray | None = None, **changes) -> BodyFits:
    config = changes["config"] if "config" in changes else RefinementConfig(**changes)
    return refine(persons.inputs(body, weights), config)


def reprojection_px(body: Body, fits: BodyFits, persons: Persons) -> np.ndarray:
    with torch.no_grad():
        posed = body(*(torch.tensor(a) for a in (fits.rotations, fits.betas, fits.translation)))
        pixels, _ = project(body.keypoints(posed, COCO17), torch.tensor(persons.intrinsics))
    return np.linalg.norm(pixels.numpy() - persons.xy_px, axis=2)


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_exact_2d_is_met(solver, body64: Body, persons: Persons) -> None:
    """With hardly a prior the reprojection error goes to zero; the depth ambiguity remains, so no pose is compared."""
    fits = run(body64, persons, config=replace(EXACT, solver=solver))
    assert reprojection_px(body64, persons.initial, persons).mean() > 5
    assert reprojection_px(body64, fits, persons).max() < 0.05


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_truth_with_its_own_2d_stays(solver, body64: Body, persons: Persons) -> None:
    """Started at the truth, with the mean-shape pull and the hinges out of the way, nothing moves."""
    at_truth = replace(persons, initial=persons.truth)
    fits = run(body64, at_truth, mean_shape_pull=0.0, hinge_std_rad=1e6, solver=solver)
    assert (fits.reason == Reason.CONVERGED).all()
    np.testing.assert_allclose(fits.rotations, persons.truth.rotations, atol=1e-3)
    np.testing.assert_allclose(fits.translation, persons.truth.translation, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_pose_comes_nearer_to_the_truth(solver, body64: Body) -> None:
    persons = make_persons(body64, 40, seed=5)
    fits = run(body64, persons, solver=solver)

    def joints_mm(bodies: BodyFits) -> np.ndarray:
        with torch.no_grad():
            joints = body64(torch.tensor(bodies.rotations), torch.tensor(bodies.betas), None).joints.numpy()
        return 1e3 * (joints - joints[:, :1])

    def error(bodies: BodyFits) -> float:
        return np.linalg.norm(joints_mm(bodies) - joints_mm(persons.truth), axis=2).mean()

    assert error(fits) < 0.8 * error(persons.initial)
    assert (fits.objective <= fits.initial_objective).all()
    assert (fits.reason == Reason.CONVERGED).all()


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_weight_0_has_exactly_no_influence(solver, body64: Body, persons: Persons) -> None:
    weights = np.ones(persons.xy_px.shape[:2])
    weights[:, [2, 9]] = 0
    changed = persons.xy_px.copy()
    changed[:, 2] = np.nan
    changed[:, 9] = 1e9
    one = run(body64, persons, weights, solver=solver)
    other = run(body64, replace(persons, xy_px=changed), weights, solver=solver)
    for field in ("rotations", "betas", "translation", "objective", "iterations", "reason"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_more_weight_less_error(solver, body64: Body, persons: Persons) -> None:
    errors = []
    for factor in (0.2, 1.0, 5.0):
        weights = np.ones(persons.xy_px.shape[:2])
        weights[:, COCO17.index("left_wrist")] = factor
        fits = run(body64, persons, weights, solver=solver)
        errors.append(reprojection_px(body64, fits, persons)[:, COCO17.index("left_wrist")])
    assert (errors[0] > errors[1]).all()
    assert (errors[1] > errors[2]).all()


BAD = {
    Reason.NO_WEIGHT: lambda p, w: w.__setitem__(1, 0.0),
    Reason.BAD_KEYPOINT: lambda p, w: p.xy_px.__setitem__((1, 4), np.nan),
    Reason.BAD_BOX: lambda p, w: p.size_px.__setitem__(1, 0.0),
    Reason.BAD_CAMERA: lambda p, w: p.intrinsics.__setitem__((1, 0, 0), 0.0),
    Reason.BAD_INITIAL: lambda p, w: p.initial.betas.__setitem__((1, 0), 40.0),
    Reason.BEHIND_CAMERA: lambda p, w: (
        p.initial.translation.__setitem__((1, 2), -4.0),
        # Keypoints turned by half a turn about their middle: only a body behind the camera would look so.
        p.xy_px.__setitem__(1, 2 * p.xy_px[1].mean(0) - p.xy_px[1]),
    ),
}


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("reason", BAD)
def test_a_bad_frame_keeps_its_estimate_and_disturbs_no_other(solver, reason: Reason, body64: Body) -> None:
    persons, untouched = make_persons(body64, 3), make_persons(body64, 3)
    weights = np.ones((3, 17))
    BAD[reason](persons, weights)
    fits = run(body64, persons, weights, solver=solver)
    assert Reason(fits.reason[1]) is reason
    assert np.isnan(fits.objective[1])
    for field in ("rotations", "betas", "translation"):
        np.testing.assert_array_equal(getattr(fits, field)[1], getattr(persons.initial, field)[1])
    alone = run(body64, untouched, solver=solver)
    for field in ("rotations", "betas", "translation"):
        np.testing.assert_allclose(getattr(fits, field)[[0, 2]], getattr(alone, field)[[0, 2]], atol=1e-5)
    assert fits.reason_counts() == {"converged": 2, reason.name.lower(): 1}


def test_every_frame_bad(body64: Body, persons: Persons) -> None:
    fits = run(body64, persons, np.zeros((8, 17)))
    assert (fits.reason == Reason.NO_WEIGHT).all()
    np.testing.assert_array_equal(fits.rotations, persons.initial.rotations)


def test_no_frame_at_all(body64: Body, persons: Persons) -> None:
    nobody = replace(
        persons,
        initial=persons.initial.select(slice(0, 0)),
        **{name: getattr(persons, name)[:0] for name in ("intrinsics", "xy_px", "size_px")},
    )
    assert len(run(body64, nobody)) == 0


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_a_start_behind_the_camera_is_mended(solver, body64: Body) -> None:
    persons = make_persons(body64, 3)
    persons.initial.translation[1] = (0.0, 0.0, -4.0)
    fits = run(body64, persons, solver=solver)
    assert fits.reason[1] == Reason.CONVERGED
    assert abs(fits.translation[1, 2] - persons.truth.translation[1, 2]) < 1.0


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("error_rad", [1e-9, np.pi])
def test_initial_error_near_0_and_pi(error_rad, solver, body64: Body) -> None:
    """No division by a vanishing angle; a start that is half a turn off ends with a finite body."""
    fits = run(body64, make_persons(body64, 4, error_rad=error_rad), solver=solver)
    assert np.isfinite(fits.rotations).all()
    assert (fits.objective <= fits.initial_objective).all()


def test_frames_do_not_depend_on_their_company(body64: Body) -> None:
    persons = make_persons(body64, 12)
    together = run(body64, persons, precision="float64")
    alone = run(body64, persons, precision="float64", batch_size=1)
    np.testing.assert_allclose(together.rotations, alone.rotations, atol=1e-9)
    np.testing.assert_array_equal(together.iterations, alone.iterations)


def test_saved_and_loaded(tmp_path, body64: Body, persons: Persons) -> None:
    fits = run(body64, persons)
    fits.save(tmp_path / "fits.npz")
    loaded = BodyFits.load(tmp_path / "fits.npz")
    np.testing.assert_array_equal(loaded.rotations, fits.rotations)
    np.testing.assert_array_equal(loaded.reason, fits.reason)
    np.savez(
        tmp_path / "bad.npz", rotations=np.zeros((2, 23, 3, 3)), betas=np.zeros((2, 10)), translation=np.zeros((2, 3))
    )
    with pytest.raises(InputError, match="field rotations has shape"):
        BodyFits.load(tmp_path / "bad.npz")


def test_mistakes_are_named(body64: Body, persons: Persons) -> None:
    with pytest.raises(InputError, match="17 keypoints, got 16"):
        run(body64, replace(persons, xy_px=persons.xy_px[:, :16]))
    with pytest.raises(InputError, match="as many poses"):
        run(body64, replace(persons, initial=persons.initial.select(slice(0, 3))))
