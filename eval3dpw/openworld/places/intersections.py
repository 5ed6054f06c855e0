"""Where a ray meets a solid in the solid's own frame, compiled.

Every function returns the ray's parameter t (a negative one for a miss) and a normal of any length.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import njit

BOX, CYLINDER, ELLIPSOID, WALL = 0, 1, 2, 3
_MISS = (-1.0, 0.0, 0.0, 0.0)


@njit(cache=True, error_model="numpy")
@no_type_check
def meet_solid(shape: int, half: Any, origin: Any, ray: Any) -> Any:
    """The nearest meeting of the ray origin + t ray with a solid of half-sizes `half` about (0, 0, 0)."""
    if shape == ELLIPSOID:
        return _meet_ellipsoid(half, origin, ray)
    if shape == CYLINDER:
        return _meet_cylinder(half, origin, ray)
    return _meet_box(half, origin, ray)


@njit(cache=True, error_model="numpy")
@no_type_check
def _meet_ellipsoid(half: Any, origin: Any, ray: Any) -> Any:
    (hx, hy, hz), (ox, oy, oz), (dx, dy, dz) = half, origin, ray
    ax, ay, az, bx, by, bz = dx / hx, dy / hy, dz / hz, ox / hx, oy / hy, oz / hz
    aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz - 1.0
    root = ab * ab - aa * bb
    if root <= 0.0:
        return _MISS
    t = (-ab - np.sqrt(root)) / aa
    return t, (bx + t * ax) / hx, (by + t * ay) / hy, (bz + t * az) / hz


@njit(cache=True, error_model="numpy")
@no_type_check
def _meet_cylinder(half: Any, origin: Any, ray: Any) -> Any:
    (hx, hy, hz), (ox, oy, oz), (dx, dy, dz) = half, origin, ray
    aa = dx * dx / (hx * hx) + dz * dz / (hz * hz) + 1e-12
    ab = dx * ox / (hx * hx) + dz * oz / (hz * hz)
    bb = ox * ox / (hx * hx) + oz * oz / (hz * hz) - 1.0
    root = ab * ab - aa * bb
    if root <= 0.0:
        return _MISS
    t = (-ab - np.sqrt(root)) / aa
    if abs(oy + t * dy) <= hy:
        return t, (ox + t * dx) / (hx * hx), 0.0, (oz + t * dz) / (hz * hz)
    if dy == 0.0:
        return _MISS
    t = ((hy if oy > 0.0 else -hy) - oy) / dy  # the lid that the ray comes from
    ex, ez = (ox + t * dx) / hx, (oz + t * dz) / hz
    if ex * ex + ez * ez > 1.0:
        return _MISS
    return t, 0.0, 1.0 if oy > 0.0 else -1.0, 0.0


@njit(cache=True, error_model="numpy")
@no_type_check
def _meet_box(half: Any, origin: Any, ray: Any) -> Any:
    """Slabs; a direction along a slab divides by nearly nothing and stays outside or inside it."""
    (hx, hy, hz), (ox, oy, oz), (dx, dy, dz) = half, origin, ray
    tx, ty, tz = 1.0 / (dx + 1e-12), 1.0 / (dy + 1e-12), 1.0 / (dz + 1e-12)
    x_in, y_in, z_in = -ox * tx - abs(hx * tx), -oy * ty - abs(hy * ty), -oz * tz - abs(hz * tz)
    x_out, y_out, z_out = x_in + 2.0 * abs(hx * tx), y_in + 2.0 * abs(hy * ty), z_in + 2.0 * abs(hz * tz)
    t = max(x_in, y_in, z_in)
    if t > min(x_out, y_out, z_out):
        return _MISS
    if t == x_in:
        return t, -np.sign(dx), 0.0, 0.0
    if t == y_in:
        return t, 0.0, -np.sign(dy), 0.0
    return t, 0.0, 0.0, -np.sign(dz)
