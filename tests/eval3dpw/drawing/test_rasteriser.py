"""The z-buffer against planes and spheres in closed form, and against a ray cast through every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from eval3dpw.drawing.rasteriser import bounding_window, rasterise, vertex_normals

SIZE_HW = (40, 60)
INTRINSICS = np.array([[50.0, 0.0, 30.3], [0.0, 55.0, 19.6], [0.0, 0.0, 1.0]])


def pixel_rays(intrinsics: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) rays with z = 1 through the pixels' centres, pixel (0, 0)'s at coordinate (0, 0)."""
    row, column = np.meshgrid(np.arange(size_hw[0]), np.arange(size_hw[1]), indexing="ij")
    return np.stack((column, row, np.ones_like(row)), axis=-1) @ np.linalg.inv(intrinsics).T


def sphere(centre: np.ndarray, radius: float, rings: int = 60) -> tuple[np.ndarray, np.ndarray]:
    polar, azimuth = np.linspace(1e-3, np.pi - 1e-3, rings), np.linspace(0.0, 2.0 * np.pi, 2 * rings, endpoint=False)
    p, a = np.meshgrid(polar, azimuth, indexing="ij")
    vertices = np.stack((np.sin(p) * np.cos(a), np.cos(p), np.sin(p) * np.sin(a)), axis=-1).reshape(-1, 3)
    index = np.arange(rings * 2 * rings).reshape(rings, 2 * rings)
    here, right, down, diagonal = index[:-1], np.roll(index, -1, 1)[:-1], index[1:], np.roll(index, -1, 1)[1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((here, right, down), (right, diagonal, down))])
    return vertices * radius + centre, faces


def moller_trumbore(ray: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (inf where missed) and barycentrics of one ray from the origin with every triangle (f, 3, 3)."""
    a, edge_b, edge_c = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    cross = np.cross(ray, edge_c)
    determinant = np.einsum("fk,fk->f", edge_b, cross)
    u = np.einsum("fk,fk->f", -a, cross) / determinant
    other = np.cross(-a, edge_b)
    v = other @ ray / determinant
    t = np.einsum("fk,fk->f", edge_c, other) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return np.where(hit, t, np.inf), np.stack((1 - u - v, u, v), axis=-1)


def test_slanted_plane_has_the_depth_of_its_equation() -> None:
    normal, offset = np.array([0.3, -0.2, 1.0]), 4.0
    x, y = np.array([-6.0, 6.0, 6.0, -6.0]), np.array([-6.0, -6.0, 6.0, 6.0])
    vertices = np.stack((x, y, (offset - normal[0] * x - normal[1] * y) / normal[2]), axis=-1)
    raster = rasterise(vertices, np.array([[0, 1, 2], [0, 2, 3]]), INTRINSICS, SIZE_HW)
    expected = offset / (pixel_rays(INTRINSICS, SIZE_HW) @ normal)
    np.testing.assert_allclose(raster.depth, expected, rtol=1e-6)


def test_sphere_has_the_depth_of_its_equation_inside_its_outline() -> None:
    centre, radius = np.array([0.2, -0.1, 3.0]), 0.8
    raster = rasterise(*sphere(centre, radius), INTRINSICS, SIZE_HW)
    rays = pixel_rays(INTRINSICS, SIZE_HW)
    a, b = (rays**2).sum(-1), rays @ centre
    root = b**2 - a * (centre @ centre - radius**2)
    expected = (b - np.sqrt(np.maximum(root, 0.0))) / a
    grazing = np.abs(root) < 0.25
    assert (raster.face >= 0)[(root > 0) & ~grazing].all()
    assert not (raster.face >= 0)[(root < 0) & ~grazing].any()
    inner = root > 0.25
    np.testing.assert_allclose(raster.depth[inner], expected[inner], atol=4e-3)


@pytest.mark.parametrize("seed", range(3))
def test_triangle_soup_agrees_with_a_ray_through_every_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(0.0, 1.0, (36, 3)) * (1.2, 0.8, 0.7) + (0.0, 0.0, 4.0)
    faces = np.arange(36).reshape(12, 3)
    raster = rasterise(vertices, faces, INTRINSICS, SIZE_HW)
    rays = pixel_rays(INTRINSICS, SIZE_HW)
    for y in range(SIZE_HW[0]):
        for x in range(SIZE_HW[1]):
            depth, weights = moller_trumbore(rays[y, x], vertices[faces])
            nearest = int(np.argmin(depth))
            if not np.isfinite(depth[nearest]):
                assert raster.face[y, x] == -1
                assert np.isinf(raster.depth[y, x])
                continue
            assert raster.face[y, x] == nearest
            assert raster.depth[y, x] == pytest.approx(depth[nearest], rel=1e-5)
            np.testing.assert_allclose(raster.barycentric[y, x], weights[nearest], atol=1e-5)


def test_pixel_centres_are_at_whole_coordinates() -> None:
    intrinsics = np.eye(3)
    vertices = np.array([[2.6, 1.6, 1.0], [3.4, 1.6, 1.0], [3.4, 2.4, 1.0], [2.6, 2.4, 1.0]])
    raster = rasterise(vertices, np.array([[0, 1, 2], [0, 2, 3]]), intrinsics, (5, 6))
    assert np.argwhere(raster.face >= 0).tolist() == [[2, 3]]
    assert bounding_window(vertices, intrinsics, (5, 6)) == (2, 1, 5, 4)


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    vertices, faces = sphere(np.array([0.0, 0.0, -3.0]), 1.0, rings=8)
    assert (rasterise(vertices, faces, INTRINSICS, SIZE_HW).face == -1).all()
    assert bounding_window(vertices, INTRINSICS, SIZE_HW) == (0, 0, 0, 0)
    around, faces = sphere(np.zeros(3), 2.0, rings=12)
    assert np.isfinite(rasterise(around, faces, INTRINSICS, SIZE_HW).depth).all()


def test_normals_of_a_sphere_point_along_its_radius() -> None:
    centre = np.array([0.0, 0.0, 3.0])
    vertices, faces = sphere(centre, 0.5)
    normals = vertex_normals(vertices, faces)
    radial = (vertices - centre) / 0.5
    away_from_poles = np.abs(radial[:, 1]) < 0.95
    cosine = (normals * radial).sum(-1)[away_from_poles]
    assert (np.abs(cosine) > 0.999).all()
    assert np.ptp(np.sign(cosine)) == 0.0
