"""SPIN's SMPLify, and the mixture prior against scipy."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from fitting.bodies.body import Body, load_body
from fitting.body_fits import Reason
from fitting.inputs import FitInputs
from fitting.methods.catalogue import MethodConfig, fit_bodies
from fitting.methods.smplify import SmplifyConfig
from fitting.priors import load_pose_mixture
from pose2d.errors import InputError
from tests.fitting.conftest import Persons, make_persons


@pytest.fixture
def mixture_file(tmp_path):
    rng = np.random.default_rng(0)
    roots = rng.normal(0, 0.2, (3, 69, 69)) + 0.5 * np.eye(69)
    mixture = {
        "means": rng.normal(0, 0.3, (3, 69)),
        "covars": roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(69),
        "weights": np.array([0.5, 0.3, 0.2]),
    }
    path = tmp_path / "gmm_08.pkl"
    path.write_bytes(pickle.dumps(mixture))
    return path, mixture


def inputs_of(persons: Persons) -> FitInputs:
    return persons.inputs(load_body())


def test_mixture_is_the_best_components_density(mixture_file) -> None:
    path, mixture = mixture_file
    poses = np.random.default_rng(1).normal(0, 0.3, (5, 69))
    density = np.stack(
        [
            np.log(w) + scipy.stats.multivariate_normal(m, c).logpdf(poses)
            for m, c, w in zip(mixture["means"], mixture["covars"], mixture["weights"])
        ]
    )
    lowest_root = 0.5 * min(np.linalg.slogdet(c)[1] for c in mixture["covars"])
    ours = load_pose_mixture(path)(torch.tensor(poses).float())
    np.testing.assert_allclose(ours, -density.max(0) - lowest_root, rtol=1e-3)


def test_mixture_file_of_another_kind(tmp_path) -> None:
    path = tmp_path / "gmm_08.pkl"
    path.write_bytes(pickle.dumps({"means": np.zeros((8, 69))}))
    with pytest.raises(InputError, match="is no pose mixture"):
        load_pose_mixture(path)


def test_smplify_lowers_the_error_and_skips_what_it_cannot_fit(body64: Body) -> None:
    persons = make_persons(body64, 3, error_rad=0.1)
    inputs = inputs_of(persons)
    inputs.weights[2] = 0
    config = MethodConfig(smplify=SmplifyConfig(iterations=15))
    fits = fit_bodies("smplify", inputs, config)
    assert list(fits.reason) == [Reason.ITERATION_LIMIT, Reason.ITERATION_LIMIT, Reason.NO_WEIGHT]
    assert (fits.objective[:2] < fits.initial_objective[:2]).all()
    np.testing.assert_array_equal(fits.rotations[2], persons.initial.rotations[2])
    # A keypoint of weight 0 may be anything.
    inputs.weights[:, 4] = 0
    persons.xy_px[:, 4] = np.nan
    one = fit_bodies("smplify", inputs, config)
    persons.xy_px[:, 4] = -1e6
    other = fit_bodies("smplify", inputs, config)
    np.testing.assert_array_equal(one.rotations, other.rotations)


def test_smplify_with_the_users_mixture(mixture_file, body64: Body) -> None:
    config = MethodConfig(smplify=SmplifyConfig(iterations=2, mixture=mixture_file[0]))
    fits = fit_bodies("smplify", inputs_of(make_persons(body64, 2)), config)
    assert np.isfinite(fits.rotations).all()


def test_methods_are_named(body64: Body) -> None:
    inputs = inputs_of(make_persons(body64, 2))
    with pytest.raises(InputError, match="unknown method 'eft'; known are params, network, smplify"):
        fit_bodies("eft", inputs)
    with pytest.raises(InputError, match="must come from one, not a file"):
        fit_bodies("network", replace(inputs, regressor=None))
