"""Boxes, cylinders and ellipsoids with painted surfaces, seen by a pinhole camera along exact rays.

The world has y up and its ground at y = 0, metres. A solid stands upright: it may be turned about the vertical only.
Surface colours are functions of the place on the solid, so a moving camera sees the same solid from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit

from eval3dpw.openworld.people.noise import hash01, noise2, noise3

BOX, CYLINDER, ELLIPSOID, WALL = 0, 1, 2, 3
(PLAIN, GRASS, PAVING, BRICKS, ASPHALT, PLANKS, WINDOWS, FOLIAGE, SAND, CHEQUER, PICTURE, CAR) = range(12)

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """One solid of the world.

    shape: BOX, CYLINDER (upright), ELLIPSOID, or WALL, a box that is drawn only to a camera on the origin's side of it.
    centre, half: metres. yaw: radians about y. period_m: size of the material's pattern.
    """

    shape: int
    centre: Point
    half: Point
    yaw: float
    material: int
    colour: Colour
    second: Colour
    period_m: float
    seed: int


def pack(solids: tuple[Solid, ...]) -> Float[np.ndarray, "n 18"]:
    """The solids as the rows that the compiled renderer reads."""
    rows = [
        (
            s.shape,
            *s.centre,
            *s.half,
            np.cos(s.yaw),
            np.sin(s.yaw),
            s.material,
            *s.colour,
            *s.second,
            s.period_m,
            s.seed,
        )
        for s in solids
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), 18)


@njit(cache=True, error_model="numpy")
@no_type_check
def material_colour(
    kind: int, u: float, v: float, footprint: float, first: Any, second: Any, period: float, seed: int
) -> Any:
    """Albedo at (u, v) metres on a surface; detail finer than a pixel's `footprint` (metres) fades to its mean."""
    fine = min(max(1.5 - 2.0 * footprint / period, 0.0), 1.0)
    mix, dark = 0.0, 1.0
    if kind == PLAIN:
        dark = 0.92 + 0.16 * noise2(u / period, v / period, seed)
    elif kind == GRASS:
        mix = 0.65 * noise2(u / (6.0 * period), v / (6.0 * period), seed)
        dark = 0.8 + fine * (0.5 * noise2(u / (0.25 * period), v / (0.25 * period), seed + 1) - 0.25)
        dark += 0.3 * (noise2(u / (1.5 * period), v / (1.5 * period), seed + 2) - 0.3)
    elif kind in (PAVING, BRICKS, CHEQUER):
        width = 2.2 * period if kind == BRICKS else period
        row = int(np.floor(v / period))
        across = u / width + (0.5 * (row % 2) if kind == BRICKS else 0.0)
        column = int(np.floor(across))
        fu, fv = across - column, v / period - row
        if kind == CHEQUER:
            mix = 0.5 + fine * (float((row + column) % 2) - 0.5)
        else:
            mix = 0.5 * fine * hash01(row, column, 0, seed)
        joint = min(min(fu, 1.0 - fu) * width, min(fv, 1.0 - fv) * period)
        if joint < 0.03 * period + 0.002:
            dark = 1.0 - 0.4 * fine
        dark *= 0.85 + 0.3 * noise2(u * 1.3, v * 1.3, seed)
    elif kind in (ASPHALT, SAND):
        dark = 0.8 + 0.35 * noise2(u / (8.0 * period), v / (8.0 * period), seed)
        dark += fine * 0.22 * (noise2(u / (0.15 * period), v / (0.15 * period), seed + 1) - 0.5)
        mix = 0.4 * noise2(u / (2.0 * period), v / (2.0 * period), seed + 3)
    elif kind == PLANKS:
        board = int(np.floor(u / period))
        mix = 0.7 * fine * hash01(board, 1, 0, seed)
        dark = 0.85 + 0.3 * noise2(u / (0.3 * period), v / (6.0 * period), seed)
        if u / period - board < 0.06:
            dark *= 1.0 - 0.5 * fine
    elif kind == WINDOWS:
        column, row = int(np.floor(u / period)), int(np.floor(v / (1.15 * period)))
        fu, fv = u / period - column, v / (1.15 * period) - row
        if 0.24 < fu < 0.76 and 0.25 < fv < 0.8:
            lit = hash01(row, column, 2, seed)
            mix = 1.0
            dark = 0.5 + 0.8 * lit
            if abs(fu - 0.5) < 0.02 or abs(fv - 0.55) < 0.015:
                mix, dark = 0.0, 0.7
        else:
            dark = 0.88 + 0.2 * noise2(u * 0.8, v * 0.8, seed)
            if abs(fv - 0.22) < 0.03 and 0.2 < fu < 0.8:
                dark = 1.15
    elif kind == FOLIAGE:
        rough = noise2(u / period, v / period, seed)
        leaf = noise2(u / (0.3 * period), v / (0.3 * period), seed + 1)
        mix = rough
        dark = 0.25 + 0.9 * rough * (0.5 + fine * (leaf - 0.2))
    elif kind == PICTURE:
        rough = noise2(u / period, v / period, seed)
        other = noise2(u / period, v / period, seed + 5)
        mix = 1.0 if rough > 0.5 else 0.15
        dark = 0.5 + 0.9 * other
    elif kind == CAR and v > -0.2 * period:
        mix = 1.0  # glass above the belt line
    dark = max(dark, 0.05)
    return (
        (first[0] * (1.0 - mix) + second[0] * mix) * dark,
        (first[1] * (1.0 - mix) + second[1] * mix) * dark,
        (first[2] * (1.0 - mix) + second[2] * mix) * dark,
    )


@njit(cache=True, error_model="numpy")
@no_type_check
def draw_solids(
    rows: Any,
    rotation: Any,
    origin: Any,
    intrinsics: Any,
    to_sun: Any,
    sun: Any,
    sky: Any,
    ground: Any,
    rgb: Any,
    depth: Any,
) -> None:
    """Draw packed solids into `rgb` (linear) and `depth` (z, metres), both of which already hold what lies behind.

    rotation: world to camera. origin: the camera's centre in the world. The light's directions are the world's.
    """
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    corner = np.zeros(3)
    for n in range(rows.shape[0]):
        row = rows[n]
        shape, material, period, seed = int(row[0]), int(row[9]), row[16], int(row[17])
        px, py, pz = row[1], row[2], row[3]
        hx, hy, hz, c, s = row[4], row[5], row[6], row[7], row[8]
        first, second = (row[10], row[11], row[12]), (row[13], row[14], row[15])
        # Camera's centre in the solid's own frame.
        ox, oy, oz = origin[0] - px, origin[1] - py, origin[2] - pz
        ox, oz = c * ox - s * oz, s * ox + c * oz
        if shape == WALL:
            # The side of the thin axis on which the camera and the world's origin are must be the same.
            inner_x, inner_z = -(c * px - s * pz), -(s * px + c * pz)
            if (hx < hz and inner_x * ox < 0.0) or (hz <= hx and inner_z * oz < 0.0):
                continue
        x0, y0, x1, y1 = float(width), float(height), -1.0, -1.0
        near, behind = 0, 0
        for bit in range(8):
            lx = hx if bit & 1 else -hx
            ly = hy if bit & 2 else -hy
            lz = hz if bit & 4 else -hz
            corner[0] = c * lx + s * lz + px - origin[0]
            corner[1] = ly + py - origin[1]
            corner[2] = -s * lx + c * lz + pz - origin[2]
            zc = rotation[2, 0] * corner[0] + rotation[2, 1] * corner[1] + rotation[2, 2] * corner[2]
            if zc < 0.1:
                near += 1
                behind += 1
                continue
            xc = rotation[0, 0] * corner[0] + rotation[0, 1] * corner[1] + rotation[0, 2] * corner[2]
            yc = rotation[1, 0] * corner[0] + rotation[1, 1] * corner[1] + rotation[1, 2] * corner[2]
            x, y = fx * xc / zc + cx, fy * yc / zc + cy
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        if behind == 8:
            continue
        if near > 0:
            x0, y0, x1, y1 = 0.0, 0.0, width - 1.0, height - 1.0
        column0, column1 = int(max(np.floor(x0), 0.0)), int(min(np.ceil(x1), width - 1.0))
        row0, row1 = int(max(np.floor(y0), 0.0)), int(min(np.ceil(y1), height - 1.0))
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
                dx, dy, dz = left_x + xx * step_x, left_y + xx * step_y, left_z + xx * step_z
                t, nx, ny, nz = -1.0, 0.0, 0.0, 0.0
                if shape == ELLIPSOID:
                    ax, ay, az, bx, by, bz = dx / hx, dy / hy, dz / hz, ox / hx, oy / hy, oz / hz
                    aa, ab, bb = (
                        ax * ax + ay * ay + az * az,
                        ax * bx + ay * by + az * bz,
                        bx * bx + by * by + bz * bz - 1.0,
                    )
                    root = ab * ab - aa * bb
                    if root <= 0.0:
                        continue
                    t = (-ab - np.sqrt(root)) / aa
                    nx, ny, nz = (bx + t * ax) / hx, (by + t * ay) / hy, (bz + t * az) / hz
                elif shape == CYLINDER:
                    aa = dx * dx / (hx * hx) + dz * dz / (hz * hz) + 1e-12
                    ab = dx * ox / (hx * hx) + dz * oz / (hz * hz)
                    bb = ox * ox / (hx * hx) + oz * oz / (hz * hz) - 1.0
                    root = ab * ab - aa * bb
                    if root <= 0.0:
                        continue
                    t = (-ab - np.sqrt(root)) / aa
                    at = oy + t * dy
                    if abs(at) > hy:
                        if dy == 0.0:
                            continue
                        t = ((hy if oy > 0.0 else -hy) - oy) / dy
                        ex, ez = (ox + t * dx) / hx, (oz + t * dz) / hz
                        if ex * ex + ez * ez > 1.0:
                            continue
                        ny = 1.0 if oy > 0.0 else -1.0
                    else:
                        nx, nz = (ox + t * dx) / (hx * hx), (oz + t * dz) / (hz * hz)
                else:
                    # Slabs; a direction along a slab divides by nearly nothing and stays outside or inside it.
                    tx, ty, tz = 1.0 / (dx + 1e-12), 1.0 / (dy + 1e-12), 1.0 / (dz + 1e-12)
                    x_in, y_in, z_in = -ox * tx - abs(hx * tx), -oy * ty - abs(hy * ty), -oz * tz - abs(hz * tz)
                    x_out, y_out, z_out = (
                        x_in + 2.0 * abs(hx * tx),
                        y_in + 2.0 * abs(hy * ty),
                        z_in + 2.0 * abs(hz * tz),
                    )
                    t = max(x_in, y_in, z_in)
                    if t > min(x_out, y_out, z_out):
                        continue
                    if t == x_in:
                        nx = -np.sign(dx)
                    elif t == y_in:
                        ny = -np.sign(dy)
                    else:
                        nz = -np.sign(dz)
                if t < 0.1 or t >= depth[yy, xx]:
                    continue
                lx, ly, lz = ox + t * dx, oy + t * dy, oz + t * dz
                length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
                nx, ny, nz = nx / length, ny / length, nz / length
                if shape == CYLINDER:
                    u, v = np.arctan2(lx, lz) * hx, ly + hy
                elif shape == ELLIPSOID:
                    u, v = lx + 0.7 * lz, ly + 0.7 * lz
                elif abs(nx) > 0.5:
                    u, v = lz, ly
                elif abs(ny) > 0.5:
                    u, v = lx, lz
                else:
                    u, v = lx, ly
                if material != CAR and shape != CYLINDER:
                    u, v = u + 20.0, v + hy
                red, green, blue = material_colour(material, u, v, t / fx, first, second, period, seed)
                if material == FOLIAGE:
                    clump = 1.4 * (noise3(lx / period, ly / period, lz / period, seed) - 0.5)
                    ny += clump
                    nx += 1.4 * (noise3(lx / period + 9.0, ly / period, lz / period, seed) - 0.5)
                gx, gz = c * nx + s * nz, -s * nx + c * nz
                facing = max(gx * to_sun[0] + ny * to_sun[1] + gz * to_sun[2], 0.0)
                upward = min(max(0.5 + 0.5 * ny, 0.0), 1.0)
                # Near the ground less of the sky is seen.
                contact = 1.0 - 0.35 * np.exp(-max(ly + py, 0.0) / 0.15)
                depth[yy, xx] = t
                for channel in range(3):
                    albedo = red if channel == 0 else (green if channel == 1 else blue)
                    ambient = sky[channel] * upward + ground[channel] * (1.0 - upward)
                    rgb[yy, xx, channel] = albedo * (ambient * contact + sun[channel] * facing)
