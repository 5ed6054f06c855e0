"""A z-buffer for triangle meshes: depth, face and barycentric maps of a mesh before a pinhole camera.

Vertices are in OpenCV camera coordinates (+x right, +y down, +z forward), metres; pixel (0, 0)'s centre is at
coordinate (0.0, 0.0). A pixel belongs to a face when its centre lies inside the projected triangle. Faces are drawn
from both sides, so an open mesh works too; a face with a corner nearer than `near_m` is dropped, not clipped.

Compiled functions carry `no_type_check`: a run-time type checker would hand the compiler its wrapper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, Int32, Integer
from numba import njit

NEAR_M = 0.05


@dataclass(frozen=True)
class Raster:
    """What `rasterise` finds for each pixel.

    depth: (h, w) z of the nearest surface in metres, inf where there is none.
    face: (h, w) index of the face seen, -1 where there is none.
    barycentric: (h, w, 3) perspective-correct weights of the face's corners, 0 where there is no face.
    """

    depth: Float[np.ndarray, "h w"]
    face: Int32[np.ndarray, "h w"]
    barycentric: Float[np.ndarray, "h w 3"]


def rasterise(
    vertices_camera: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    size_hw: tuple[int, int],
    near_m: float = NEAR_M,
) -> Raster:
    """Draw a mesh into a fresh z-buffer of `size_hw` pixels.

    vertices_camera: metres, camera frame. faces: corner indices. intrinsics: pixels (skew is honoured).
    """
    height, width = size_hw
    depth = np.full((height, width), np.inf, dtype=np.float32)
    face = np.full((height, width), -1, dtype=np.int32)
    barycentric = np.zeros((height, width, 3), dtype=np.float32)
    projected = _project(
        np.asarray(vertices_camera, dtype=np.float64), np.asarray(intrinsics, dtype=np.float64), near_m
    )
    _fill(projected, np.ascontiguousarray(faces, dtype=np.int32), depth, face, barycentric)
    return Raster(depth, face, barycentric)


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Unit normals of a mesh's vertices: the sum of the adjacent faces' normals, weighted by area."""
    return np.asarray(
        _vertex_normals(np.asarray(vertices, dtype=np.float64), np.ascontiguousarray(faces, dtype=np.int32))
    )


def bounding_window(
    vertices_camera: Float[np.ndarray, "v 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    size_hw: tuple[int, int],
    near_m: float = NEAR_M,
) -> tuple[int, int, int, int]:
    """The pixels (x0, y0, x1, y1; ends excluded) that a mesh can touch; x0 == x1 or y0 == y1 where there are none."""
    height, width = size_hw
    projected = _project(
        np.asarray(vertices_camera, dtype=np.float64), np.asarray(intrinsics, dtype=np.float64), near_m
    )
    seen = projected[:, 2] > 0.0
    if not seen.any():
        return 0, 0, 0, 0
    low, high = projected[seen, :2].min(axis=0), projected[seen, :2].max(axis=0)
    x0, x1 = np.clip((np.floor(low[0]), np.ceil(high[0]) + 1), 0, width).astype(int)
    y0, y1 = np.clip((np.floor(low[1]), np.ceil(high[1]) + 1), 0, height).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


@njit(cache=True, error_model="numpy")
@no_type_check
def _project(vertices: Any, intrinsics: Any, near_m: float) -> Any:
    """(v, 3): pixel x, pixel y and 1 / z; the last is 0 for a vertex nearer than the near plane."""
    projected = np.zeros((vertices.shape[0], 3))
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        if z > near_m:
            inverse = 1.0 / z
            projected[i, 0] = (intrinsics[0, 0] * x + intrinsics[0, 1] * y) * inverse + intrinsics[0, 2]
            projected[i, 1] = intrinsics[1, 1] * y * inverse + intrinsics[1, 2]
            projected[i, 2] = inverse
    return projected


@njit(cache=True, error_model="numpy")
@no_type_check
def _fill(projected: Any, faces: Any, depth: Any, face: Any, barycentric: Any) -> None:
    height, width = depth.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = projected[a, 2], projected[b, 2], projected[c, 2]
        if wa <= 0.0 or wb <= 0.0 or wc <= 0.0:
            continue
        ax, ay = projected[a, 0], projected[a, 1]
        bx, by = projected[b, 0], projected[b, 1]
        cx, cy = projected[c, 0], projected[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x_low, x_high = min(ax, bx, cx), max(ax, bx, cx)
        y_low, y_high = min(ay, by, cy), max(ay, by, cy)
        if x_high < 0.0 or y_high < 0.0 or x_low > width - 1 or y_low > height - 1:
            continue
        x0, x1 = int(np.ceil(max(x_low, 0.0))), int(np.floor(min(x_high, width - 1.0)))
        y0, y1 = int(np.ceil(max(y_low, 0.0))), int(np.floor(min(y_high, height - 1.0)))
        scale = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                # Screen-space weights of the corners; 1 / z is linear in them.
                la = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * scale
                lb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * scale
                lc = 1.0 - la - lb
                if la < 0.0 or lb < 0.0 or lc < 0.0:
                    continue
                inverse = la * wa + lb * wb + lc * wc
                z = 1.0 / inverse
                if z < depth[y, x]:
                    depth[y, x] = z
                    face[y, x] = f
                    barycentric[y, x, 0] = la * wa * z
                    barycentric[y, x, 1] = lb * wb * z
                    barycentric[y, x, 2] = lc * wc * z


@njit(cache=True, error_model="numpy")
@no_type_check
def _vertex_normals(vertices: Any, faces: Any) -> Any:
    normals = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for i in range(normals.shape[0]):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2)
        if length > 0.0:
            for k in range(3):
                normals[i, k] /= length
    return normals
