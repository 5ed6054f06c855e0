"""The compiled painter: the colour of each place of the template's surface, and the light on each pixel.

`a` is an `Appearance` (a named tuple, which numba reads by field). See `appearance` for the template's frame.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import njit

from eval3dpw.openworld.people.noise import noise3

Colour = tuple[float, float, float]

# The kinds of hair, tops' patterns and eyewear, as numbers because the painter is compiled.
BALD, SHORT, LONG, CAP, BEANIE = 0, 1, 2, 3, 4
PLAIN, HOOPS, PINSTRIPES, CHECKS, DOTS, MOTTLED = 0, 1, 2, 3, 4, 5
NO_EYEWEAR, GLASSES, SUNGLASSES = 0, 1, 2


@njit(cache=True, error_model="numpy")
@no_type_check
def _is_hair(x: float, y: float, z: float, a: Any) -> bool:
    """Whether a point of the template's head or neck lies under hair, a cap or a woollen hat."""
    if abs(x) > 0.12 or y < 0.08:
        return False
    if a.hair_kind == BALD:
        return False
    if a.hair_kind == CAP or a.hair_kind == BEANIE:
        return y > (0.458 if a.hair_kind == BEANIE else 0.470) - 0.25 * max(0.10 - z, 0.0)
    if a.hair_kind == LONG and y < 0.40:
        return y > a.hair_end and z < (0.085 if y > 0.30 else 0.045)
    ear = abs(x) > 0.074 and 0.372 < y < 0.436 and 0.06 < z < 0.115
    if ear and a.hair_kind == SHORT:
        return False
    if y > a.hairline:
        return True
    if y > 0.43:
        return z < 0.098 + 0.9 * max(y - 0.43, 0.0) + 0.01 * (abs(x) > 0.06)
    return y > a.hair_end and z < 0.06


@njit(cache=True, error_model="numpy")
@no_type_check
def _pattern(kind: int, across: float, along: float, period: float) -> bool:
    """Whether the second colour of a pattern shows, for a place given across and along the cloth."""
    if kind == HOOPS:
        return along / period - np.floor(along / period) < 0.5
    if kind == PINSTRIPES:
        return across / (0.5 * period) - np.floor(across / (0.5 * period)) < 0.25
    if kind == CHECKS:
        return (int(np.floor(across / period)) + int(np.floor(along / period))) % 2 == 0
    if kind == DOTS:
        u, v = across / period - np.floor(across / period) - 0.5, along / period - np.floor(along / period) - 0.5
        return u * u + v * v < 0.08
    return False


@njit(cache=True, error_model="numpy")
@no_type_check
def _digit(number: int, u: float, v: float) -> bool:
    """A seven-segment figure in the unit square, u to the reader's right and v up."""
    lit = (0b1110111, 0b0010010, 0b1011101, 0b1011011, 0b0111010, 0b1101011, 0b1101111, 0b1010010, 0b1111111, 0b1111011)
    segments = lit[number]
    if not (0.0 <= u <= 1.0 and 0.0 <= v <= 1.0):
        return False
    left, right, thick = u < 0.25, u > 0.75, 0.14
    return (
        (v > 1.0 - thick and (segments >> 6) & 1 == 1)
        or (left and v > 0.5 and (segments >> 5) & 1 == 1)
        or (right and v > 0.5 and (segments >> 4) & 1 == 1)
        or (abs(v - 0.5) < 0.5 * thick and (segments >> 3) & 1 == 1)
        or (left and v < 0.5 and (segments >> 2) & 1 == 1)
        or (right and v < 0.5 and (segments >> 1) & 1 == 1)
        or (v < thick and segments & 1 == 1)
    )


@njit(cache=True, error_model="numpy")
@no_type_check
def _head_colour(x: float, y: float, z: float, a: Any) -> Colour:
    side = abs(x)
    if _is_hair(x, y, z, a):
        shadow = 0.8 + 0.35 * noise3(x * 90.0, y * 25.0, z * 90.0, a.seed)
        if a.hair_kind == CAP and z > 0.14 and y < 0.488:
            shadow = 0.35
        return a.hair[0] * shadow, a.hair[1] * shadow, a.hair[2] * shadow
    r, g, b = a.skin
    if z < 0.10:
        if side > 0.072 and 0.37 < y < 0.44 and z > 0.055:
            return r * 0.80, g * 0.62, b * 0.60
        return r, g, b
    dark_r, dark_g, dark_b = a.facial_hair[0] * 0.15, a.facial_hair[1] * 0.15, a.facial_hair[2] * 0.15
    if a.eyewear == SUNGLASSES and 0.405 < y < 0.442 and side < 0.062:
        return 0.012, 0.012, 0.014
    eye_x, eye_y = (side - 0.031) / 0.0155, (y - 0.4235) / 0.0075
    if eye_x * eye_x + eye_y * eye_y < 1.0:
        if (side - 0.031) ** 2 + (y - 0.4235) ** 2 < 0.0068**2:
            return 0.015, 0.011, 0.01
        return 0.62, 0.60, 0.57
    if a.eyewear == GLASSES and 0.402 < y < 0.446 and side < 0.066:
        rim_x, rim_y = abs(side - 0.032) - 0.026, abs(y - 0.424) - 0.016
        if max(rim_x, rim_y) > -0.001 and max(rim_x, rim_y) < 0.006:
            return 0.02, 0.02, 0.02
    if 0.011 < side < 0.052 and abs(y - (0.4445 - 6.0 * (side - 0.03) ** 2)) < 0.0055:
        return dark_r + 0.05 * r, dark_g + 0.05 * g, dark_b + 0.05 * b
    mouth = side / 0.029
    if mouth < 1.0 and abs(y - 0.3490) < 0.0095 * (1.0 - 0.6 * mouth * mouth):
        if abs(y - 0.3500) < 0.0022:
            return a.lips[0] * 0.2, a.lips[1] * 0.2, a.lips[2] * 0.2
        return a.lips
    if a.beard > 0.0 and y < 0.385 - 0.35 * max(0.05 - side, 0.0) and (y < 0.366 or side > 0.04):
        keep = 1.0 - a.beard
        return (
            r * keep + a.facial_hair[0] * a.beard,
            g * keep + a.facial_hair[1] * a.beard,
            b * keep + a.facial_hair[2] * a.beard,
        )
    if y < 0.374 and y > 0.366 and side < 0.016:
        return r * 0.35, g * 0.25, b * 0.25
    socket = np.exp(-0.5 * ((side - 0.03) / 0.018) ** 2 - 0.5 * ((y - 0.428) / 0.011) ** 2)
    cheek = np.exp(-0.5 * ((side - 0.048) / 0.016) ** 2 - 0.5 * ((y - 0.385) / 0.016) ** 2)
    darker = 1.0 - 0.45 * socket
    return r * darker, g * darker * (1.0 - 0.16 * cheek), b * darker * (1.0 - 0.16 * cheek)


@njit(cache=True, error_model="numpy")
@no_type_check
def _top_covers(x: float, y: float, z: float, a: Any) -> bool:
    side = abs(x)
    if side > a.sleeve_end or y < a.hem:
        return False
    # A tank top: straps over the shoulders, open arm holes.
    if a.sleeve_end < 0.2 and y > 0.12 and side > 0.115 + 0.35 * max(0.2 - y, 0.0):
        return False
    neck_line = a.collar - 0.6 * max(0.1 - side, 0.0) * (0.35 if z < 0.03 else 1.0) * (a.collar < 0.26)
    if z > 0.03 and a.v_neck > 0.0:
        neck_line = min(neck_line, a.collar - a.v_neck + 1.6 * side)
    return y < neck_line


@njit(cache=True, error_model="numpy")
@no_type_check
def _top_colour(x: float, y: float, z: float, a: Any) -> Colour:
    side = abs(x)
    arm = side > 0.19 and y > 0.09
    front = z > 0.055
    if not arm:
        if front and a.open_jacket and side < 0.035 + 0.12 * max(0.15 - y, 0.0):
            return a.inside
        if front and not a.open_jacket:
            if a.fastening == 1 and side < 0.006:
                return a.trim
            if a.fastening == 2 and side < 0.012 and (y / 0.075 - np.floor(y / 0.075)) < 0.25:
                return a.trim
            if a.logo == 1 and abs(x - a.logo_x) < 0.028 and abs(y - a.logo_y) < 0.028:
                return a.logo_colour
            if a.logo == 2 and side < 0.10 and abs(y - a.logo_y + 0.03) < 0.028:
                return a.logo_colour
            if a.logo == 3 and (x / 0.095) ** 2 + ((y - 0.06) / 0.095) ** 2 < 1.0:
                return a.logo_colour
        if not front and a.back_number > 0 and z < 0.04:
            # Read from behind, the reader's right is the person's right: minus x.
            v = (y + 0.02) / 0.17
            tens = a.back_number // 10
            if tens == 0:
                if _digit(a.back_number, (0.045 - x) / 0.09, v):
                    return a.logo_colour
            elif _digit(tens, (0.1 - x) / 0.085, v) or _digit(a.back_number % 10, (-0.015 - x) / 0.085, v):
                return a.logo_colour
        if y < a.hem + 0.015 or (y > 0.19 and side < 0.09 and not _top_covers(x, y + 0.018, z, a)):
            return a.trim if a.fastening != 0 else (a.top[0] * 0.6, a.top[1] * 0.6, a.top[2] * 0.6)
        if not front and a.back_differs:
            return a.back
    elif side > a.sleeve_end - 0.015:
        return a.trim if a.fastening != 0 else (a.top[0] * 0.6, a.top[1] * 0.6, a.top[2] * 0.6)
    across, along = (y, side) if arm else (x + 100.0, y)
    if a.top_pattern == MOTTLED:
        if noise3(x * 14.0, y * 14.0, z * 14.0, a.seed) > 0.55:
            return a.top_second
    elif _pattern(a.top_pattern, across + 10.0, along + 10.0, a.top_period_m):
        return a.top_second
    return a.top


@njit(cache=True, error_model="numpy")
@no_type_check
def _colour(x: float, y: float, z: float, a: Any) -> Colour:
    """Albedo of a point of the template."""
    side = abs(x)
    if side < 0.13 and (y > 0.29 or (y > 0.08 and _is_hair(x, y, z, a))):
        return _head_colour(x, y, z, a)
    if _top_covers(x, y, z, a):
        return _top_colour(x, y, z, a)
    if y < -1.128 and y < a.shoes_top:
        return a.sole
    if y < a.shoes_top:
        if (
            z > 0.09
            and side > 0.0
            and abs(side - 0.16) < 0.022
            and (z / 0.024 - np.floor(z / 0.024)) < 0.4
            and z < 0.17
        ):
            return a.sole
        return a.shoes
    if side < 0.5 and a.bottom_end < y < max(a.hem, -0.2):
        if y > a.hem - 0.03 and side < 0.2:
            return a.bottom[0] * 0.45, a.bottom[1] * 0.45, a.bottom[2] * 0.45
        if a.side_stripe and side > 0.175 and abs(z - 0.03) < 0.022:
            return a.trim
        if -0.36 < y < -0.24 and z < -0.03 and 0.035 < side < 0.125:
            return a.bottom[0] * 0.7, a.bottom[1] * 0.7, a.bottom[2] * 0.7
        if y > -0.36 and z > 0.06 and side < 0.006:
            return a.bottom[0] * 0.4, a.bottom[1] * 0.4, a.bottom[2] * 0.4
        if a.bottom_pattern == MOTTLED:
            faded = 0.75 + 0.5 * noise3(x * 12.0, y * 12.0, z * 12.0, a.seed)
            return a.bottom[0] * faded, a.bottom[1] * faded, a.bottom[2] * faded
        if _pattern(a.bottom_pattern, z + 10.0, y + 10.0, 0.05):
            return a.bottom[0] * 0.55, a.bottom[1] * 0.55, a.bottom[2] * 0.55
        return a.bottom
    if y < a.sock_top:
        return a.sock
    if side > 0.79:
        return a.skin[0] * 0.95, a.skin[1] * 0.82, a.skin[2] * 0.8
    return a.skin


@njit(cache=True, error_model="numpy")
@no_type_check
def dress_vertices(vertices: Any, normals: Any, template: Any, a: Any) -> Any:
    """Vertices (v, 3) moved along their normals by the thickness of what covers them; `a` is an `Appearance`."""
    moved = vertices.copy()
    for i in range(vertices.shape[0]):
        x, y, z = template[i, 0], template[i, 1], template[i, 2]
        side = abs(x)
        out = 0.0
        if y > 0.08 and side < 0.13 and _is_hair(x, y, z, a):
            if a.hair_kind == CAP and z > 0.15:
                out = 0.035
            elif a.hair_kind == LONG:
                out = 0.022
            else:
                out = 0.013
        elif y < 0.30 and _top_covers(x, y, z, a):
            out = 0.002 + a.looseness_m * (1.4 if y < 0.0 else 1.0) + (0.006 if a.open_jacket else 0.0)
        elif y < a.shoes_top:
            out = 0.008
        elif side < 0.5 and a.bottom_end < y < max(a.hem, -0.2):
            out = 0.002 + a.looseness_m
        for k in range(3):
            moved[i, k] += out * normals[i, k]
    return moved


@njit(cache=True, error_model="numpy")
@no_type_check
def shade_pixels(
    depth: Any, face: Any, barycentric: Any, faces: Any, vertices: Any, normals: Any, template: Any,
    a: Any, light: Any, radius: float, rgb: Any,
) -> None:  # fmt: skip
    """Fill `rgb` for the pixels of one body's raster; `a` is an `Appearance`, `light` a `Light`."""
    height, width = depth.shape
    for py in range(height):
        for px in range(width):
            f = face[py, px]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            u, v, w = barycentric[py, px, 0], barycentric[py, px, 1], barycentric[py, px, 2]
            x = u * template[i, 0] + v * template[j, 0] + w * template[k, 0]
            y = u * template[i, 1] + v * template[j, 1] + w * template[k, 1]
            z = u * template[i, 2] + v * template[j, 2] + w * template[k, 2]
            nx = u * normals[i, 0] + v * normals[j, 0] + w * normals[k, 0]
            ny = u * normals[i, 1] + v * normals[j, 1] + w * normals[k, 1]
            nz = u * normals[i, 2] + v * normals[j, 2] + w * normals[k, 2]
            vx = u * vertices[i, 0] + v * vertices[j, 0] + w * vertices[k, 0]
            vy = u * vertices[i, 1] + v * vertices[j, 1] + w * vertices[k, 1]
            vz = u * vertices[i, 2] + v * vertices[j, 2] + w * vertices[k, 2]
            red, green, blue = _colour(x, y, z, a)
            if y < 0.27:
                # Folds of cloth: bend the normal by a smooth noise that is fixed to the body.
                bend = 0.5 + 12.0 * a.looseness_m
                nx += bend * (noise3(x * 22.0, y * 13.0, z * 22.0, a.seed) - 0.5)
                ny += bend * (noise3(x * 22.0 + 7.0, y * 13.0, z * 22.0, a.seed) - 0.5)
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            nx, ny, nz = nx / length, ny / length, nz / length
            far = np.sqrt(vx * vx + vy * vy + vz * vz)
            facing = -(nx * vx + ny * vy + nz * vz) / far
            if facing < 0.0:
                nx, ny, nz = -nx, -ny, -nz
            # Nearer parts of the same body around the pixel take away light from the sky.
            hidden = 0
            for step in range(8):
                dx = (1, 1, 0, -1, -1, -1, 0, 1)[step]
                dy = (0, 1, 1, 1, 0, -1, -1, -1)[step]
                reach = radius * (1.0 if step % 2 == 0 else 0.55)
                qx, qy = px + int(dx * reach), py + int(dy * reach)
                if 0 <= qx < width and 0 <= qy < height:
                    nearer = depth[py, px] - depth[qy, qx]
                    if 0.03 < nearer < 0.5:
                        hidden += 1
            open_sky = 1.0 - 0.09 * hidden
            sun = nx * light.to_sun[0] + ny * light.to_sun[1] + nz * light.to_sun[2]
            sun = max(sun, 0.0) * (1.0 - 0.07 * hidden)
            upward = 0.5 + 0.5 * (nx * light.up[0] + ny * light.up[1] + nz * light.up[2])
            hx, hy, hz = light.to_sun[0] - vx / far, light.to_sun[1] - vy / far, light.to_sun[2] - vz / far
            half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
            gloss = max((nx * hx + ny * hy + nz * hz) / half, 0.0)
            gloss = 0.035 * gloss**24 if sun > 0.0 else 0.0
            for channel in range(3):
                albedo = red if channel == 0 else (green if channel == 1 else blue)
                ambient = light.sky[channel] * upward + light.ground[channel] * (1.0 - upward)
                rgb[py, px, channel] = (
                    albedo * (ambient * open_sky + light.sun[channel] * sun) + gloss * light.sun[channel]
                )
