"""The Laplace evidence against a dense numerical integral, and the scale that it finds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from fitting.bodies.body import Body
from fitting.methods.preparation import prepare
from fitting.objective import Problem, keypoint_costs, value
from fitting.refinement_config import objective_constants
from fitting.solving.solvers import solve
from fitting.start.evidence import FALLBACK_SCALE, choose_scale, negative_log_evidence
from fitting.start_prior import joint_table
from tests.fitting.conftest import make_persons

CONFIG = replace(
    objective_constants("probability"),
    solver="compiled",
    tolerance=1e-12,
    max_iterations=200,
    start_prior=joint_table(1.0),
    posterior=False,
)
SIGMA_PX = 4.0


def seen(body: Body, scale: float, count: int = 60, seed: int = 0) -> Problem:
    """Persons whose starts err by the joint table times `scale`, and keypoints with Student noise of `SIGMA_PX`."""
    exact = make_persons(body, count, seed, error_rad=0.0)
    rng = np.random.default_rng(seed + 1)
    prior = joint_table(scale)
    turns = torch.tensor(rng.normal(size=(count, 24, 3)) * np.array(prior.rotation_std_rad))
    truth = exact.truth
    rotations = (torch.tensor(truth.rotations) @ roma.rotvec_to_rotmat(turns)).numpy()
    betas = truth.betas + rng.normal(size=truth.betas.shape) * prior.betas_std
    depth = truth.translation[:, 2:]
    translation = truth.translation + depth * rng.normal(size=truth.translation.shape) * prior.translation_std
    start = replace(exact.initial, rotations=rotations, betas=np.clip(betas, -9, 9), translation=translation)
    noise = rng.standard_t(4, size=exact.xy_px.shape) * SIGMA_PX * exact.size_px[:, None, None] / 256
    persons = replace(exact, initial=start, xy_px=exact.xy_px + noise)
    weights = np.full(exact.xy_px.shape[:2], SIGMA_PX**-2)
    return prepare(persons.inputs(body, weights), CONFIG).problem


def test_evidence_equals_a_dense_integral(body64: Body) -> None:
    """All unknowns but two are held at the start by tiny deviations; over those two the integral is summed densely."""
    persons = make_persons(body64, 1)
    persons = replace(persons, initial=persons.truth)
    weights = np.full(persons.xy_px.shape[:2], 0.05)
    problem = prepare(persons.inputs(body64, weights), CONFIG).problem.select(slice(0, 1))
    std = torch.full_like(problem.std, 1e-7)
    std[:, 0], std[:, -1] = 0.03, 0.02
    problem = replace(problem, std=std)
    solution = solve(problem, CONFIG)
    laplace = negative_log_evidence(problem, solution.z)[0]
    grid = torch.linspace(-9, 9, 361, dtype=torch.float64)
    one, two = torch.meshgrid(grid, grid, indexing="ij")
    z = torch.zeros(one.numel(), std.shape[1], dtype=torch.float64)
    z[:, 0], z[:, -1] = one.flatten(), two.flatten()
    repeated = problem.select(torch.zeros(len(z), dtype=torch.int64))
    cell = float(grid[1] - grid[0]) ** 2
    dense = -(torch.logsumexp(-value(repeated, z) / 2, 0) + math.log(cell / (2 * math.pi)))
    assert abs(float(laplace - dense)) < 0.05


@pytest.mark.parametrize("scale", [0.25, 0.6])
def test_the_scale_of_the_errors_is_found(scale: float, body64: Body) -> None:
    problem = seen(body64, scale)
    choice = choose_scale(problem, np.arange(len(problem)) // 2, CONFIG)
    assert choice.why == "evidence"
    assert choice.num_tracks == 30
    assert scale / 1.35 < choice.scale < scale * 1.35
    assert choice.interval[0] <= choice.scale <= choice.interval[1]
    assert choice.agreement > 1
    assert min(choice.nats) == 0


def test_tracks_with_keypoints_of_somebody_else_do_not_set_the_scale(body64: Body) -> None:
    problem = seen(body64, 0.25)
    xy = problem.xy.clone()
    xy[:4] += 400
    tracks = np.arange(len(problem)) // 2
    clean, spoilt = (choose_scale(p, tracks, CONFIG).scale for p in (problem, replace(problem, xy=xy)))
    assert spoilt == pytest.approx(clean, rel=0.25)


def test_noise_alone_agrees_with_the_keypoints(body64: Body) -> None:
    """At the truth a keypoint costs (nu + 2) 2 / nu = 3 on average, the mean of its density."""
    problem = seen(body64, 1e-9, count=400)
    # Noise per axis is an independent t here; its two axes together cost a little less than a 2D Student's.
    assert float(keypoint_costs(problem).mean()) == pytest.approx(3, rel=0.12)


def test_flat_evidence_falls_back(body64: Body) -> None:
    problem = seen(body64, 0.25, count=8)
    unbent = replace(problem.constants, hinge_std=1e6)
    problem = replace(problem, weights=problem.weights * 1e-12, constants=unbent)
    choice = choose_scale(problem, np.arange(len(problem)), CONFIG)
    assert (choice.why, choice.scale) == ("flat", FALLBACK_SCALE)
    assert choice.record()["chosen_by"] == "flat"


def test_no_frame_falls_back(body64: Body) -> None:
    problem = seen(body64, 0.25, count=4).select(slice(0, 0))
    choice = choose_scale(problem, np.zeros(0, dtype=int), CONFIG)
    assert (choice.why, choice.scale) == ("no track", FALLBACK_SCALE)
