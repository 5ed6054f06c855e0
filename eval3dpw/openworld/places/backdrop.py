"""Ground, sky and skyline of a place, compiled."""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

from eval3dpw.openworld.people.appearance_painting import Colour
from eval3dpw.openworld.people.noise import noise2
from eval3dpw.openworld.places.materials import material_colour

_FARTHEST_M = 150.0


class Sky(NamedTuple):
    """What is seen where nothing stands; linear RGB."""

    top: Colour
    base: Colour
    cloudiness: float
    """0 for none, 1 for all over."""
    skyline: float
    """Height of hills, woods or roofs far away, tangent of the angle."""
    roughness: float
    """Of the skyline."""
    far: Colour
    """Of the skyline."""


@njit(cache=True, error_model="numpy")
@no_type_check
def draw_sky_and_ground(camera: Any, ground: Any, sky: Any, light: Any, seed: int, rgb: Any, depth: Any) -> None:
    """Fill what is farther than `depth`: `rgb` linear, `depth` z in metres. `ground` is a `Surface`."""
    rotation, origin, intrinsics = camera
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    for y in range(height):
        for x in range(width):
            rx, ry = (x - cx) / fx, (y - cy) / fy
            dx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
            dy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
            dz = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            haze = 0.0
            red, green, blue = 0.0, 0.0, 0.0
            t = -origin[1] / dy if dy < 0.0 and origin[1] > 0.0 else 1e30
            on_ground = t < _FARTHEST_M
            if min(t, 1e30) >= depth[y, x] and (on_ground or depth[y, x] < 1e30):
                continue
            if on_ground:
                depth[y, x] = t
                # A pixel's length on the ground along the ray grows with the slant.
                footprint = t / fx * min(length / -dy, 6.0)
                u, v = origin[0] + t * dx, origin[2] + t * dz
                red, green, blue = material_colour(ground, u, v, footprint, seed)
                red = red * (light.sky[0] + light.sun[0] * light.to_sun[1])
                green = green * (light.sky[1] + light.sun[1] * light.to_sun[1])
                blue = blue * (light.sky[2] + light.sun[2] * light.to_sun[1])
                haze = min(t * length / _FARTHEST_M, 1.0)
            if not on_ground or haze > 0.0:
                r, g, b = _sky_colour(sky, (dx, dy, dz), length, on_ground, seed)
                if on_ground:
                    red, green, blue = red + (r - red) * haze, green + (g - green) * haze, blue + (b - blue) * haze
                else:
                    red, green, blue = r, g, b
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = red, green, blue


@njit(cache=True, error_model="numpy")
@no_type_check
def _sky_colour(sky: Any, ray: Any, length: float, on_ground: bool, seed: int) -> Any:
    """Sky, clouds and skyline along a ray of the world; without clouds for the haze over the ground."""
    dx, dy, dz = ray
    up = max(dy / length, 0.0)
    # A far skyline, of the azimuth alone: hills, woods or roofs.
    level = np.sqrt(dx * dx + dz * dz) + 1e-9
    ax, az = dx / level, dz / level
    line = sky.skyline * (
        0.3 + noise2(2.0 * ax, 2.0 * az, seed + 7) + sky.roughness * noise2(40.0 * ax, 40.0 * az, seed + 8)
    )
    rise = np.sqrt(up)
    r = sky.base[0] * (1.0 - rise) + sky.top[0] * rise
    g = sky.base[1] * (1.0 - rise) + sky.top[1] * rise
    b = sky.base[2] * (1.0 - rise) + sky.top[2] * rise
    if up > 0.02 and not on_ground:
        u, v = 2.0 * dx / (dy + 0.12 * length), 2.0 * dz / (dy + 0.12 * length)
        cloud = (
            0.55 * noise2(u, v, seed)
            + 0.3 * noise2(2.3 * u, 2.3 * v, seed + 1)
            + 0.15 * noise2(5.0 * u, 5.0 * v, seed + 2)
        )
        cover = min(max(3.0 * (cloud - 1.0 + sky.cloudiness), 0.0), 1.0) * min(up * 8.0, 1.0)
        r, g, b = r + (0.85 - r) * cover, g + (0.86 - g) * cover, b + (0.88 - b) * cover
    if up * length < line * level:
        dim = 0.75 + 0.4 * noise2(60.0 * ax, 60.0 * az, seed + 9)
        r, g, b = (
            0.35 * r + 0.65 * sky.far[0] * dim,
            0.35 * g + 0.65 * sky.far[1] * dim,
            0.35 * b + 0.65 * sky.far[2] * dim,
        )
    return r, g, b
