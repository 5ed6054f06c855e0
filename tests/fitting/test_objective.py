"""The objective's linearisation against finite differences, and the solver's two forms of one step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import ReducedBody
from fitting.methods.preparation import prepare
from fitting.objective import Problem, exp_and_jacobian, keypoints, linearise, unpack, value
from fitting.priors import hinge_values, hinges
from fitting.refinement_config import RefinementConfig
from fitting.solving.torch_solver import dual_step, primal_step
from pose2d.skeletons import COCO17
from tests.fitting.conftest import Persons, make_persons


def problem_of(body: Body, persons: Persons, config: RefinementConfig, seed: int = 0) -> Problem:
    weights = np.random.default_rng(seed).uniform(0.2, 2.0, persons.xy_px.shape[:2])
    weights[:, 3] = 0
    return prepare(persons.inputs(body, weights), config).problem


@pytest.mark.parametrize("name", ["body64", "corrected_body64"])
@pytest.mark.parametrize("turn", [0.0, 1e-3, 1.0, math.pi - 1e-6, math.pi])
def test_jacobian_equals_finite_differences(name: str, turn: float, request: pytest.FixtureRequest) -> None:
    """Rows of the model are sqrt(weight) times the error: with a kernel that never bends they are differentiable."""
    body = request.getfixturevalue(name)
    config = RefinementConfig(kernel_knee=1e9, pixel_scale=256.0, hinge_std_rad=0.5)
    problem = problem_of(body, make_persons(body, 3), config)
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(3, problem.std.shape[1], generator=generator, dtype=torch.float64) * 0.3
    direction = torch.nn.functional.normalize(
        torch.randn(3, len(problem.body.joints), 3, generator=generator, dtype=torch.float64), dim=-1
    )
    z[:, :-13] = (direction * turn).flatten(1) / problem.std[:, :-13]
    problem = replace(problem, translation=problem.translation + torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))
    analytic = linearise(problem, z).jacobian
    step = 1e-6
    numeric = torch.stack(
        [
            (linearise(problem, z + step * unit).residual - linearise(problem, z - step * unit).residual) / (2 * step)
            for unit in torch.eye(z.shape[1], dtype=torch.float64)
        ],
        dim=-1,
    )
    torch.testing.assert_close(analytic, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel_on", ["weighted", "error", "student"])
def test_model_has_the_objectives_gradient(kernel_on, body64: Body, persons: Persons) -> None:
    """2 lambda (A^T b + z) is the gradient of E, robust kernel and hinges included (autograd is the reference)."""
    problem = problem_of(body64, persons, RefinementConfig(kernel_on=kernel_on, kernel_knee=2.0))
    z = torch.randn(len(problem), problem.std.shape[1], dtype=torch.float64).requires_grad_()
    value(problem, z).sum().backward()
    model = linearise(problem, z.detach())
    gradient = 2 * problem.constants.prior_strength * ((model.residual[:, None] @ model.jacobian)[:, 0] + z.detach())
    torch.testing.assert_close(gradient, z.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.value, value(problem, z.detach()))


def test_keypoints_equal_the_full_body(body64: Body, coco_body: ReducedBody, persons: Persons) -> None:
    problem = problem_of(body64, persons, RefinementConfig())
    z = torch.randn(len(problem), problem.std.shape[1], dtype=torch.float64) * 0.5
    turns, betas, translation = unpack(problem, z)
    rotations = torch.tensor(persons.initial.rotations)
    joints = list(coco_body.joints)
    rotations[:, joints] = problem.rotations @ roma.rotvec_to_rotmat(turns)
    with torch.no_grad():
        full = body64.keypoints(body64(rotations, betas, translation), COCO17)
    torch.testing.assert_close(keypoints(problem, z), full, rtol=0, atol=1e-10)


def test_dual_step_equals_primal_step(body64: Body, persons: Persons) -> None:
    problem = problem_of(body64, persons, RefinementConfig())
    z = torch.randn(len(problem), problem.std.shape[1], dtype=torch.float64) * 0.2
    model = linearise(problem, z)
    for damping in (0.0, 0.3, 100.0):
        mu = torch.full((len(problem),), damping, dtype=torch.float64)
        torch.testing.assert_close(dual_step(model, z, mu), primal_step(model, z, mu), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 9e-3, 1.1e-2, 1.0, math.pi - 1e-7, math.pi, 4.0])
def test_exponential_and_right_jacobian(angle: float) -> None:
    """Against roma's exponential and its own autograd derivative; float32 agrees with float64 at all angles."""
    turn = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64) * angle
    rotation, right = exp_and_jacobian(turn)
    torch.testing.assert_close(rotation, roma.rotvec_to_rotmat(turn), rtol=0, atol=1e-10)
    if angle > 0:
        derivative = torch.autograd.functional.jacobian(lambda d: exp_and_jacobian(d)[0], turn)
        hats = torch.einsum("ji,jkc->ikc", rotation, derivative)
        vee = torch.stack([hats[2, 1], hats[0, 2], hats[1, 0]])
        torch.testing.assert_close(right, vee, rtol=0, atol=1e-7)
    single = exp_and_jacobian(turn.float())
    torch.testing.assert_close(single[0].double(), rotation, rtol=0, atol=1e-6)
    torch.testing.assert_close(single[1].double(), right, rtol=0, atol=1e-6)


def test_hinges_forbid_backward_knees_and_elbows(coco_body: ReducedBody) -> None:
    """A knee that bends its heel to the front and an elbow that bends its hand to the back cost, the others do not."""
    bends = hinges(coco_body.joints)
    assert len(bends.joints) == 4
    rotvecs = torch.zeros(2, len(coco_body.joints), 3, dtype=torch.float64)
    # The T-pose looks along +z with its left hand at +x. A turn of +1 about x moves the shin (down) backwards.
    allowed = {4: (1.0, 0, 0), 5: (1.0, 0, 0), 18: (0, -1.0, 0), 19: (0, 1.0, 0)}
    for joint, rotvec in allowed.items():
        rotvecs[0, coco_body.joints.index(joint)] = torch.tensor(rotvec, dtype=torch.float64)
    rotvecs[1] = -rotvecs[0]
    values, slopes = hinge_values(roma.rotvec_to_rotmat(rotvecs), bends)
    assert (values[0] == 0).all()
    assert (slopes[0] == 0).all()
    torch.testing.assert_close(values[1], torch.full((4,), math.sin(1.0), dtype=torch.float64))
