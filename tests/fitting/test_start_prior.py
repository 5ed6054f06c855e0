"""Start priors: what is fitted, the file, and files that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fitting.start_prior import FLOORS, StartErrors, StartPrior, fit_prior, joint_table
from pose2d.errors import InputError
from pose2d.skeletons import SMPL24


def errors(frames: int = 400, seed: int = 0) -> StartErrors:
    rng = np.random.default_rng(seed)
    return StartErrors(
        rng.normal(size=(frames, 24, 3)) * 0.2, rng.normal(size=(frames, 10)), rng.normal(size=(frames, 3)) * 0.05, 20
    )


def test_fitted_standard_deviations_are_those_of_the_errors() -> None:
    prior = fit_prior(errors(4000), "method", "a" * 64, "b" * 64)
    np.testing.assert_allclose(prior.rotation_std_rad, 0.2, rtol=0.06)
    np.testing.assert_allclose(prior.betas_std, 1.0, rtol=0.06)
    np.testing.assert_allclose(prior.translation_std, 0.05, rtol=0.06)
    assert (prior.num_frames, prior.num_tracks, prior.floored) == (4000, 20, ())


def test_what_never_erred_is_raised_to_the_floor_and_named() -> None:
    shown = errors()
    shown.rotation_rad[:, 7, 1] = 0
    prior = fit_prior(shown, "method", "", "")
    assert prior.rotation_std_rad[7][1] == FLOORS[0]
    assert prior.floored == ("rotation_std_rad[7, 1]",)


def test_file_brings_back_the_same_prior(tmp_path) -> None:
    prior = fit_prior(errors(), "method", "a" * 64, "b" * 64)
    prior.save(tmp_path / "prior.json")
    assert StartPrior.load(tmp_path / "prior.json") == prior


def test_unknowns_are_in_the_problems_order() -> None:
    prior = fit_prior(errors(), "method", "", "")
    std = prior.unknowns_std((0, 18))
    assert std.shape == (2 * 3 + 13,)
    np.testing.assert_array_equal(std[3:6], prior.rotation_std_rad[18])
    np.testing.assert_array_equal(std[-3:], prior.translation_std)


def test_scaling_stops_at_what_a_prior_may_hold() -> None:
    assert np.max(joint_table(1.0).scaled(100.0).rotation_std_rad) == np.pi


def test_too_few_frames_or_wild_errors_are_refused() -> None:
    with pytest.raises(InputError, match="at least 30 frames"):
        fit_prior(errors(29), "method", "", "")
    wild = errors()
    wild.betas[3, 2] = np.nan
    with pytest.raises(InputError, match="not finite"):
        fit_prior(wild, "method", "", "")


def _spoilt(change) -> str:
    values = {
        "format": "calibrated-pose start prior 1",
        "rotation_std_rad": {joint: [0.1, 0.1, 0.1] for joint in SMPL24.keypoints},
        "betas_std": [1.0] * 10,
        "translation_std": [0.1] * 3,
        "method": "m",
        "method_sha256": "",
        "body_sha256": "",
        "num_frames": 100,
        "num_tracks": 5,
        "body_std_m": [0.0] * 24,
        "posterior_scale": 1.0,
        "floored": [],
    }
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.pop("format"), "no start prior"),
        (lambda v: v.pop("betas_std"), "betas_std"),
        (lambda v: v["rotation_std_rad"].pop("pelvis"), "pelvis"),
        (lambda v: v.update(rotation_std_rad=7), "malformed"),
        (lambda v: v.update(betas_std=[1.0] * 9), "shapes"),
        (lambda v: v.update(betas_std=[-1.0] + [1.0] * 9), "above 0"),
        (lambda v: v.update(betas_std=[1e9] * 10), "at most"),
        (lambda v: v.update(betas_std="x"), "malformed"),
        (lambda v: v.update(translation_std=[0.1, 0.1, None]), "translation_std|malformed"),
        (lambda v: v.update(posterior_scale=1e30), "posterior_scale"),
        (lambda v: v.update(num_frames="many"), "malformed"),
        (lambda v: v.update(body_std_m=[5.0] * 24), "body_std_m"),
        (lambda v: v.update(floored=3), "malformed"),
    ],
)
def test_a_file_that_is_no_prior_is_refused_in_one_sentence(change, told: str, tmp_path) -> None:
    path = tmp_path / "prior.json"
    path.write_text(_spoilt(change))
    with pytest.raises(InputError, match=told) as refused:
        StartPrior.load(path)
    assert "prior.json" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"format": NaN}'])
def test_a_file_that_is_no_json_is_refused(text: str, tmp_path) -> None:
    path = tmp_path / "prior.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"prior\.json"):
        StartPrior.load(path)
