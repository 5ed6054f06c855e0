import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eval3dpw.judging.metrics import (
    acceleration_error_mm,
    acceleration_mm,
    angle_errors_deg,
    auc,
    global_rotations,
    mean_point_error_mm,
    pa_mpjpe_mm,
    pck,
    point_errors_mm,
)
from fitting.bodies.body import load_body


def test_distances_by_hand():
    truth = torch.zeros(1, 2, 3)
    predicted = torch.tensor([[[0.003, 0.004, 0.0], [0.0, 0.0, 0.001]]])
    np.testing.assert_allclose(point_errors_mm(predicted, truth), [[5.0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(mean_point_error_mm(predicted, truth), [3.0], rtol=1e-6)


def test_pa_mpjpe_forgives_a_similarity_only():
    points = torch.randn(3, 14, 3, dtype=torch.float64)
    turn = torch.as_tensor(Rotation.random(3, random_state=0).as_matrix())
    np.testing.assert_allclose(pa_mpjpe_mm(2.0 * points @ turn.mT + 1.0, points), 0, atol=1e-9)
    assert (pa_mpjpe_mm(points * torch.tensor([1.0, 1.0, -1.0]), points) > 100).all()


def test_acceleration_error_by_hand():
    time = torch.arange(5, dtype=torch.float64)
    truth = torch.zeros(5, 1, 3)
    predicted = torch.stack([torch.zeros(5), torch.zeros(5), 0.001 * time**2], dim=-1)[:, None]
    np.testing.assert_allclose(acceleration_error_mm(predicted, truth), [2.0, 2.0, 2.0])
    np.testing.assert_allclose(acceleration_error_mm(predicted + time[:, None, None], predicted), 0, atol=1e-9)


def test_pck_and_auc_by_hand():
    errors_mm = torch.tensor([[0.0, 50.0, 50.001, 500.0]])
    assert pck(errors_mm).item() == 0.5
    assert auc(torch.zeros(1, 3)).item() == pytest.approx(1.0)
    assert auc(torch.full((1, 3), 1000.0)).item() == 0.0
    # One point at 99.5 mm: within from threshold 100 on, i.e. 99 whole steps of 199 and half of the step before.
    assert auc(torch.full((1, 1), 99.5)).item() == pytest.approx(99.5 / 199)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3, 2.0, np.pi - 1e-4, np.pi])
def test_angles_against_scipy(angle):
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    base = Rotation.from_rotvec([0.3, 0.2, -1.0])
    turned = Rotation.from_rotvec(angle * axis) * base
    predicted, truth = (torch.as_tensor(r.as_matrix())[None, None] for r in (turned, base))
    expected = np.rad2deg((turned * base.inv()).magnitude())
    assert angle_errors_deg(predicted, truth).item() == pytest.approx(expected, abs=1e-5)


def test_global_rotations_turn_the_bones_of_the_posed_body():
    """smplx's joints: the bone from a parent to a child is the parent's global rotation of the bone at rest."""
    body = load_body()
    rotations = torch.as_tensor(Rotation.random(24, random_state=3).as_matrix()).float()[None]
    eye = torch.eye(3).expand(1, 24, 3, 3)
    betas = torch.zeros(1, 10)
    with torch.no_grad():
        rest, posed = body(eye, betas).joints[0], body(rotations, betas).joints[0]
    turned = global_rotations(rotations)[0]
    for joint, parent in enumerate(body.parents):
        if parent >= 0:
            expected = turned[parent] @ (rest[joint] - rest[parent])
            torch.testing.assert_close(posed[joint] - posed[parent], expected, atol=1e-5, rtol=0)


def test_acceleration_of_a_thrown_point():
    """0.5 g t^2 at 30 Hz: g / 900 per frame squared, whatever the velocity."""
    time = torch.arange(5, dtype=torch.float64)[:, None, None] / 30
    thrown = (
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) * time
        + 0.5 * torch.tensor([0, 9.81, 0], dtype=torch.float64) * time**2
    )
    np.testing.assert_allclose(acceleration_mm(thrown), np.full(3, 9810 / 900), rtol=1e-9)
    np.testing.assert_allclose(acceleration_error_mm(thrown, thrown + 1.0), 0.0, atol=1e-9)
