"""Boxes, cylinders and ellipsoids with painted surfaces, seen by a pinhole camera along exact rays.

The world has y up and its ground at y = 0, metres. A solid stands upright: it may be turned about the vertical only.
Surface colours are functions of the place on the solid, so a moving camera sees the same solid from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit

from eval3dpw.openworld.people.noise import noise3
from eval3dpw.openworld.places.intersections import CYLINDER, ELLIPSOID, WALL, meet_solid
from eval3dpw.openworld.places.materials import CAR, FOLIAGE, Surface, material_colour

Point = tuple[float, float, float]
_NEAREST_M = 0.1


@dataclass(frozen=True)
class Solid:
    """One solid of the world."""

    shape: int
    """BOX, CYLINDER (upright), ELLIPSOID, or WALL, a box that is drawn only to a camera on the origin's side of it."""
    centre: Point
    """Metres."""
    half: Point
    """Half-sizes along its own axes, metres."""
    yaw: float
    """Radians about y."""
    surface: Surface
    seed: int


class CameraArrays(NamedTuple):
    """A camera as the compiled renderer reads it."""

    rotation: Float[np.ndarray, "3 3"]
    """World to camera."""
    origin: Float[np.ndarray, " 3"]
    """The camera's centre in the world, metres."""
    intrinsics: Float[np.ndarray, "3 3"]


def camera_arrays(intrinsics: Float[np.ndarray, "3 3"], T_camera_world: Float[np.ndarray, "4 4"]) -> CameraArrays:
    """A camera for the compiled renderer, in double precision."""
    transform = np.asarray(T_camera_world, dtype=np.float64)
    rotation = np.ascontiguousarray(transform[:3, :3])
    return CameraArrays(rotation, -rotation.T @ transform[:3, 3], np.ascontiguousarray(intrinsics, dtype=np.float64))


def pack(solids: Sequence[Solid]) -> Float[np.ndarray, "n 18"]:
    """The solids as the rows that the compiled renderer reads."""
    rows = [
        (
            s.shape,
            *s.centre,
            *s.half,
            np.cos(s.yaw),
            np.sin(s.yaw),
            s.surface.material,
            *s.surface.colour,
            *s.surface.second,
            s.surface.period_m,
            s.seed,
        )
        for s in solids
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), 18)


@njit(cache=True, error_model="numpy")
@no_type_check
def draw_solids(rows: Any, camera: Any, light: Any, rgb: Any, depth: Any) -> None:
    """Draw packed solids into `rgb` (linear) and `depth` (z, metres), both of which already hold what lies behind.

    The light's directions are the world's.
    """
    for n in range(rows.shape[0]):
        row = rows[n]
        c, s = row[7], row[8]
        # Camera's centre in the solid's own frame.
        ox, oy, oz = camera.origin[0] - row[1], camera.origin[1] - row[2], camera.origin[2] - row[3]
        origin = (c * ox - s * oz, oy, s * ox + c * oz)
        if int(row[0]) != WALL or _faces_the_middle(row, origin):
            _draw_solid(row, origin, camera, light, rgb, depth)


@njit(cache=True, error_model="numpy")
@no_type_check
def _faces_the_middle(row: Any, origin: Any) -> bool:
    """Whether the camera and the world's origin are on the same side of a wall's thin axis."""
    px, pz, hx, hz, c, s = row[1], row[3], row[4], row[6], row[7], row[8]
    inner_x, inner_z = -(c * px - s * pz), -(s * px + c * pz)
    return not ((hx < hz and inner_x * origin[0] < 0.0) or (hz <= hx and inner_z * origin[2] < 0.0))


@njit(cache=True, error_model="numpy")
@no_type_check
def _window(row: Any, camera: Any, height: int, width: int) -> Any:
    """First and last column and row of the pixels that a solid may cover; an empty range where it is behind."""
    rotation, origin, intrinsics = camera
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    hx, hy, hz, c, s = row[4], row[5], row[6], row[7], row[8]
    x0, y0, x1, y1 = float(width), float(height), -1.0, -1.0
    near = 0
    for bit in range(8):
        lx = hx if bit & 1 else -hx
        ly = hy if bit & 2 else -hy
        lz = hz if bit & 4 else -hz
        wx = c * lx + s * lz + row[1] - origin[0]
        wy = ly + row[2] - origin[1]
        wz = -s * lx + c * lz + row[3] - origin[2]
        zc = rotation[2, 0] * wx + rotation[2, 1] * wy + rotation[2, 2] * wz
        if zc < _NEAREST_M:
            near += 1
            continue
        xc = rotation[0, 0] * wx + rotation[0, 1] * wy + rotation[0, 2] * wz
        yc = rotation[1, 0] * wx + rotation[1, 1] * wy + rotation[1, 2] * wz
        x, y = fx * xc / zc + cx, fy * yc / zc + cy
        x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    if near == 8:
        return 0, -1, 0, -1
    if near > 0:
        return 0, width - 1, 0, height - 1
    return (
        int(max(np.floor(x0), 0.0)),
        int(min(np.ceil(x1), width - 1.0)),
        int(max(np.floor(y0), 0.0)),
        int(min(np.ceil(y1), height - 1.0)),
    )


@njit(cache=True, error_model="numpy")
@no_type_check
def _draw_solid(row: Any, origin: Any, camera: Any, light: Any, rgb: Any, depth: Any) -> None:
    """Draw one packed solid; `origin` is the camera's centre in its frame."""
    rotation, _, intrinsics = camera
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    shape, half, seed, c, s = int(row[0]), (row[4], row[5], row[6]), int(row[17]), row[7], row[8]
    surface = (int(row[9]), (row[10], row[11], row[12]), (row[13], row[14], row[15]), row[16])
    column0, column1, row0, row1 = _window(row, camera, depth.shape[0], depth.shape[1])
    # In the solid's frame the ray through (x, y) is left(y) + x * step.
    wx, wy, wz = rotation[0, 0] / fx, rotation[0, 1] / fx, rotation[0, 2] / fx
    step_x, step_y, step_z = c * wx - s * wz, wy, s * wx + c * wz
    for yy in range(row0, row1 + 1):
        rx, ry = -cx / fx, (yy - cy) / fy
        wx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
        wy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
        wz = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
        left_x, left_y, left_z = c * wx - s * wz, wy, s * wx + c * wz
        for xx in range(column0, column1 + 1):
            ray = (left_x + xx * step_x, left_y + xx * step_y, left_z + xx * step_z)
            t, nx, ny, nz = meet_solid(shape, half, origin, ray)
            if t < _NEAREST_M or t >= depth[yy, xx]:
                continue
            depth[yy, xx] = t
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            normal = (nx / length, ny / length, nz / length)
            place = (origin[0] + t * ray[0], origin[1] + t * ray[1], origin[2] + t * ray[2])
            u, v = _place_on_surface(shape, surface[0], half, place, normal)
            albedo = material_colour(surface, u, v, t / fx, seed)
            if surface[0] == FOLIAGE:
                normal = _ruffled(place, normal, surface[3], seed)
            nx, ny, nz = normal
            gx, gz = c * nx + s * nz, -s * nx + c * nz
            facing = max(gx * light.to_sun[0] + ny * light.to_sun[1] + gz * light.to_sun[2], 0.0)
            upward = min(max(0.5 + 0.5 * ny, 0.0), 1.0)
            # Near the ground less of the sky is seen.
            contact = 1.0 - 0.35 * np.exp(-max(place[1] + row[2], 0.0) / 0.15)
            for channel in range(3):
                ambient = light.sky[channel] * upward + light.ground[channel] * (1.0 - upward)
                rgb[yy, xx, channel] = albedo[channel] * (ambient * contact + light.sun[channel] * facing)


@njit(cache=True, error_model="numpy")
@no_type_check
def _place_on_surface(shape: int, material: int, half: Any, place: Any, normal: Any) -> Any:
    """Metres along and up a solid's surface."""
    lx, ly, lz = place
    if shape == CYLINDER:
        return np.arctan2(lx, lz) * half[0], ly + half[1]
    if shape == ELLIPSOID:
        u, v = lx + 0.7 * lz, ly + 0.7 * lz
    elif abs(normal[0]) > 0.5:
        u, v = lz, ly
    elif abs(normal[1]) > 0.5:
        u, v = lx, lz
    else:
        u, v = lx, ly
    return (u, v) if material == CAR else (u + 20.0, v + half[1])


@njit(cache=True, error_model="numpy")
@no_type_check
def _ruffled(place: Any, normal: Any, period: float, seed: int) -> Any:
    """A leafy surface's normal."""
    lx, ly, lz = place[0] / period, place[1] / period, place[2] / period
    return (
        normal[0] + 1.4 * (noise3(lx + 9.0, ly, lz, seed) - 0.5),
        normal[1] + 1.4 * (noise3(lx, ly, lz, seed) - 0.5),
        normal[2],
    )
