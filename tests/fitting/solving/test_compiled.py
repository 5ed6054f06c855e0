"""The compiled solver against the torch one, its oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting.bodies.body import Body
from fitting.methods.preparation import prepare
from fitting.objective import Problem, value
from fitting.refinement_config import RefinementConfig
from fitting.solving.solvers import solve
from tests.fitting.conftest import make_persons


def noisy_problem(body: Body, config: RefinementConfig, count: int = 24) -> Problem:
    persons = make_persons(body, count, seed=11)
    rng = np.random.default_rng(12)
    weights = rng.uniform(0, 2, persons.xy_px.shape[:2])
    weights[:, 6] = 0
    xy_px = persons.xy_px + rng.normal(0, 8, persons.xy_px.shape)
    return prepare(replace(persons, xy_px=xy_px).inputs(body, weights), config).problem


@pytest.mark.parametrize("kernel_on", ["weighted", "error", "student"])
@pytest.mark.parametrize("name", ["body64", "corrected_body64"])
def test_equals_torch(name: str, kernel_on, request: pytest.FixtureRequest) -> None:
    """Step for step the same in float64: as many iterations, the same reasons, the same unknowns."""
    config = RefinementConfig(kernel_on=kernel_on, hinge_std_rad=0.3, precision="float64")
    problem = noisy_problem(request.getfixturevalue(name), config)
    ours, oracle = (solve(problem, RefinementConfig(**(vars(config) | {"solver": s}))) for s in ("compiled", "torch"))
    torch.testing.assert_close(ours.initial_value, value(problem, torch.zeros_like(problem.std)), rtol=1e-10, atol=0)
    torch.testing.assert_close(ours.value, value(problem, ours.z), rtol=1e-10, atol=0)
    torch.testing.assert_close(ours.value, oracle.value, rtol=1e-4, atol=0)
    torch.testing.assert_close(ours.z, oracle.z, rtol=0, atol=1e-6)
    assert (ours.iterations == oracle.iterations).float().mean() > 0.9
    assert (ours.reason == oracle.reason).all()
    assert (ours.value < 0.9 * ours.initial_value).all()


def test_single_precision_reaches_the_same_objective(body64: Body) -> None:
    problem = noisy_problem(body64, RefinementConfig())
    ours, oracle = (solve(problem, RefinementConfig(solver=s, precision="float32")) for s in ("compiled", "torch"))
    torch.testing.assert_close(ours.value, oracle.value, rtol=1e-4, atol=0)


def test_threads_change_nothing(body64: Body) -> None:
    problem = noisy_problem(body64, RefinementConfig(), count=200)
    one, three = (solve(problem, RefinementConfig(solver="compiled", threads=threads)) for threads in (1, 3))
    for field in ("z", "value", "iterations", "reason"):
        assert torch.equal(getattr(one, field), getattr(three, field))
