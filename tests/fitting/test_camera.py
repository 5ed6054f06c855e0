"""Cameras: projection against OpenCV, crop and full image, translation from 2D."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from fitting.camera import (
    crop_to_full_translation,
    diagonal_focal_px,
    intrinsics_from_focal,
    project,
    translation_from_2d,
)


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    points = torch.randn(5, 9, 3, dtype=torch.float64) * 0.5
    translation = torch.tensor([0.3, -0.2, 4.0], dtype=torch.float64) + torch.rand(5, 3, dtype=torch.float64)
    intrinsics = torch.tensor([[900.0, 0, 310], [0, 950, 255], [0, 0, 1]], dtype=torch.float64).repeat(5, 1, 1)
    return points, translation, intrinsics


def test_projection_is_opencvs() -> None:
    points, translation, intrinsics = scene()
    pixels, depth = project(points + translation[:, None], intrinsics)
    reference, _ = cv2.projectPoints(
        points[0].numpy(), np.zeros(3), translation[0].numpy(), intrinsics[0].numpy(), np.zeros(4)
    )
    np.testing.assert_allclose(pixels[0].numpy(), reference[:, 0], rtol=1e-9)
    torch.testing.assert_close(depth, points[..., 2] + translation[:, 2:])


def test_crop_camera_puts_the_body_where_the_crop_sees_it() -> None:
    """A point in the plane of the body's origin lies at s (X + t) half sides from the crop's middle."""
    _, _, intrinsics = scene()
    intrinsics[:, 1, 1] = 900
    boxes = torch.tensor([[100.0, 50.0, 180.0, 180.0]], dtype=torch.float64).repeat(5, 1)
    camera = torch.tensor([[0.9, 0.1, -0.2]], dtype=torch.float64).repeat(5, 1)
    translation = crop_to_full_translation(camera, boxes, intrinsics)
    flat = torch.tensor([[[0.0, 0, 0], [0.4, -0.3, 0]]], dtype=torch.float64).repeat(5, 1, 1)
    pixels, _ = project(flat + translation[:, None], intrinsics)
    expected = torch.tensor([190.0, 140.0]) + 90 * 0.9 * (flat[..., :2] + torch.tensor([0.1, -0.2]))
    torch.testing.assert_close(pixels, expected.double(), rtol=1e-6, atol=1e-4)


def test_crop_camera_is_cliffs() -> None:
    """CLIFF's formula as published: tz = 2 f / (b s), tx + 2 (cx - w/2) / (b s), principal point in the middle."""
    width, height, b, s, tx, ty = 640.0, 480.0, 150.0, 0.8, 0.05, -0.1
    focal = diagonal_focal_px(torch.tensor([width]), torch.tensor([height]))
    assert focal.item() == 800
    intrinsics = intrinsics_from_focal(focal, torch.tensor([width]), torch.tensor([height]))
    box = torch.tensor([[200.0, 100.0, b, b]])
    ours = crop_to_full_translation(torch.tensor([[s, tx, ty]]), box, intrinsics)
    cx, cy = 275.0 + 0.5, 175.0 + 0.5  # CLIFF counts pixels from their corner
    expected = [tx + 2 * (cx - width / 2) / (b * s), ty + 2 * (cy - height / 2) / (b * s), 2 * 800 / (b * s)]
    torch.testing.assert_close(ours, torch.tensor([expected]), rtol=1e-5, atol=1e-5)


def test_translation_from_exact_2d() -> None:
    points, translation, intrinsics = scene()
    pixels, _ = project(points + translation[:, None], intrinsics)
    weights = torch.rand(5, 9, dtype=torch.float64)
    weights[:, 4] = 0
    pixels[:, 4] = torch.nan
    torch.testing.assert_close(translation_from_2d(points, pixels, weights, intrinsics), translation)


def test_translation_of_nothing_is_not_a_number() -> None:
    points, _, intrinsics = scene()
    found = translation_from_2d(points, points[..., :2], torch.zeros(5, 9, dtype=torch.float64), intrinsics)
    assert torch.isnan(found).all()
