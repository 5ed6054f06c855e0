"""Cameras of the open world against OpenCV's projection and against what a camera must do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from eval3dpw.openworld.places.cameras import (
    focal_of_field,
    handheld_track,
    intrinsics_of,
    look_at,
    project,
    smooth_noise,
    transform,
    turned_camera,
    window_intrinsics,
)

SIZE_WH = (640, 480)
INTRINSICS = intrinsics_of(700.0, SIZE_WH)
POSITION, TARGET = np.array([2.0, 1.6, 5.0]), np.array([0.3, 0.9, -0.4])


def test_projection_agrees_with_opencv() -> None:
    points = np.random.default_rng(0).normal(0.0, 0.5, (50, 3))
    T_camera_world = look_at(POSITION, TARGET, roll=0.2)
    rotation_vector = cv2.Rodrigues(T_camera_world[:3, :3])[0]
    expected = cv2.projectPoints(points, rotation_vector, T_camera_world[:3, 3], INTRINSICS, None)[0][:, 0]
    np.testing.assert_allclose(project(transform(T_camera_world, points), INTRINSICS), expected, atol=1e-8)


def test_a_level_camera_sees_its_target_in_the_middle_and_up_above() -> None:
    T_camera_world = look_at(POSITION, TARGET)
    middle = project(transform(T_camera_world, TARGET), INTRINSICS)
    np.testing.assert_allclose(middle, INTRINSICS[:2, 2], atol=1e-9)
    higher = project(transform(T_camera_world, TARGET + [0.0, 0.1, 0.0]), INTRINSICS)
    assert higher[1] < middle[1] - 5
    assert higher[0] == pytest.approx(middle[0], abs=1e-9)
    rotation = T_camera_world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_roll_turns_the_picture_by_its_angle() -> None:
    raised = TARGET + [0.0, 0.1, 0.0]
    points = project(transform(look_at(POSITION, TARGET, roll=0.3), np.stack([TARGET, raised])), INTRINSICS)
    across, down = points[1] - points[0]
    assert np.arctan2(abs(across), -down) == pytest.approx(0.3, abs=1e-6)


def test_a_turned_camera_stays_in_place_and_sees_the_target_where_told() -> None:
    T_camera_world = turned_camera(look_at(POSITION, TARGET), INTRINSICS, TARGET, np.array([120.0, 400.0]))
    np.testing.assert_allclose(project(transform(T_camera_world, TARGET), INTRINSICS), (120.0, 400.0), atol=1e-8)
    np.testing.assert_allclose(transform(T_camera_world, POSITION), 0.0, atol=1e-12)


def test_a_window_moves_every_pixel_by_its_corner() -> None:
    points = np.array([[0.1, 0.2, 3.0], [-0.4, 0.0, 5.0]])
    window = window_intrinsics(INTRINSICS, 30, 12)
    np.testing.assert_allclose(project(points, window), project(points, INTRINSICS) - (30, 12))


def test_field_of_view_reaches_the_border() -> None:
    focal = focal_of_field(np.deg2rad(60), SIZE_WH[0])
    assert 2 * np.arctan(SIZE_WH[0] / 2 / focal) == pytest.approx(np.deg2rad(60))


def test_smooth_noise_has_unit_variance_and_is_smooth() -> None:
    noise = smooth_noise(np.random.default_rng(1), 60_000, 1, 0.3, 30.0)[:, 0]
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert np.abs(np.diff(noise)).max() < 0.6


def test_a_handheld_camera_keeps_a_walker_in_sight_without_jumps() -> None:
    seconds = np.arange(90) / 30.0
    walk = np.stack([1.3 * seconds, np.full(90, 0.95), np.zeros(90)], axis=1)
    cameras = handheld_track(np.random.default_rng(2), walk, azimuth=0.4, distance=6.0, height=1.6)
    seen = np.stack([project(transform(T, point), INTRINSICS) for T, point in zip(cameras, walk, strict=True)])
    assert (seen > 0).all() and (seen < SIZE_WH).all()
    centres = -np.einsum("nji,nj->ni", cameras[:, :3, :3], cameras[:, :3, 3])
    assert np.abs(np.diff(centres, axis=0)).max() < 0.1
    assert np.ptp(centres, axis=0).max() > 0.02  # it does move
