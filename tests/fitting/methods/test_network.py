"""Refinement through the network's weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting.bodies.body import Body, load_body
from fitting.body_fits import Reason
from fitting.inputs import Crops, FitInputs
from fitting.methods.catalogue import MethodConfig, fit_bodies
from fitting.methods.network import FinetuneConfig, whiten
from fitting.methods.preparation import prepare
from fitting.objective import unpack
from fitting.refinement_config import RefinementConfig
from fitting.regressor.model import Regressor, RegressorConfig, place_in_camera, predict
from tests.fitting.conftest import make_persons


def inputs_with(orientation, body: Body) -> FitInputs:
    """Four persons, a regressor of random weights and crops of noise, each of its own colour."""
    persons = make_persons(body, 4)
    torch.manual_seed(0)
    regressor = Regressor(RegressorConfig(18, 8, 32, 64, orientation)).eval()
    rng = np.random.default_rng(0)
    images = (rng.uniform(0, 120, (4, 64, 64, 3)) + rng.uniform(0, 130, (4, 1, 1, 3))).astype(np.uint8)
    middle = (persons.xy_px.min(1) + persons.xy_px.max(1)) / 2
    crops = Crops(images, middle, 1.2 * persons.size_px)
    first = place_in_camera(
        predict(regressor, images), crops.centers_px, crops.sides_px, persons.intrinsics, orientation
    )
    return replace(persons.inputs(load_body()), initial=first, regressor=regressor, crops=crops)


@pytest.mark.parametrize("orientation", ["camera", "ray"])
def test_the_objective_falls_and_the_given_network_stays(orientation, body64: Body) -> None:
    inputs = inputs_with(orientation, body64)
    inputs.weights[1] = 0
    before = {name: entry.clone() for name, entry in inputs.regressor.state_dict().items()}
    fits = fit_bodies("network", inputs, MethodConfig(finetune=FinetuneConfig(epochs=6, learning_rate=1e-3)))
    assert list(fits.reason) == [3 if row == 1 else Reason.ITERATION_LIMIT for row in range(4)]
    assert fits.objective[0] < 0.9 * fits.initial_objective[0]
    np.testing.assert_allclose(fits.rotations[1], inputs.initial.rotations[1], atol=1e-6)
    assert np.abs(fits.rotations[0] - inputs.initial.rotations[0]).max() > 1e-3
    for name, entry in inputs.regressor.state_dict().items():
        assert torch.equal(entry, before[name])


def test_learning_rate_0_changes_nothing(body64: Body) -> None:
    inputs = inputs_with("ray", body64)
    fits = fit_bodies("network", inputs, MethodConfig(finetune=FinetuneConfig(epochs=1, learning_rate=0.0)))
    np.testing.assert_allclose(fits.rotations, inputs.initial.rotations, atol=1e-6)
    np.testing.assert_allclose(fits.translation, inputs.initial.translation, atol=1e-5)
    # The priors' centre is the prediction itself, so its objective is that of the solver's start but for the shape.
    assert fits.objective[0] == pytest.approx(fits.initial_objective[0], rel=1e-6)


def test_whiten_inverts_unpack(body64: Body) -> None:
    persons = make_persons(body64, 4)
    problem = prepare(persons.inputs(body64), RefinementConfig()).problem
    z = torch.randn(problem.std.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turns, betas, translation = unpack(problem, z)
    rotations = torch.eye(3, dtype=torch.float64).repeat(4, 24, 1, 1)
    rotations[:, list(problem.body.joints)] = problem.rotations @ torch.linalg.matrix_exp(hat(turns))
    torch.testing.assert_close(whiten(problem, rotations, betas, translation), z, rtol=1e-9, atol=1e-9)


def hat(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
