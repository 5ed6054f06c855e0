"""Painted materials: the colour at a place on a surface, compiled.

Each pattern returns how much of the second colour is mixed into the first, and a factor of brightness. Detail finer
than a pixel fades to its mean, so that surfaces far away do not flicker: `fine` is 1 where all of it is seen, 0 where
none is.
"""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

from eval3dpw.openworld.people.appearance_painting import Colour
from eval3dpw.openworld.people.noise import hash01, noise2

(PLAIN, GRASS, PAVING, BRICKS, ASPHALT, PLANKS, WINDOWS, FOLIAGE, SAND, CHEQUER, PICTURE, CAR) = range(12)


class Surface(NamedTuple):
    """What something is painted with."""

    material: int
    """One of the names above."""
    colour: Colour
    second: Colour
    period_m: float
    """Size of the pattern."""


@njit(cache=True, error_model="numpy")
@no_type_check
def material_colour(surface: Any, u: float, v: float, footprint: float, seed: int) -> Any:
    """Albedo at (u, v) metres on a surface; detail finer than a pixel's `footprint` (metres) fades to its mean."""
    kind, first, second, period = surface
    fine = min(max(1.5 - 2.0 * footprint / period, 0.0), 1.0)
    mix, dark = 0.0, 1.0
    if kind == PLAIN:
        dark = 0.92 + 0.16 * noise2(u / period, v / period, seed)
    elif kind == GRASS:
        mix, dark = _grass(u, v, fine, period, seed)
    elif kind in (PAVING, BRICKS, CHEQUER):
        mix, dark = _tiles(kind, u, v, fine, period, seed)
    elif kind in (ASPHALT, SAND):
        dark = 0.8 + 0.35 * noise2(u / (8.0 * period), v / (8.0 * period), seed)
        dark += fine * 0.22 * (noise2(u / (0.15 * period), v / (0.15 * period), seed + 1) - 0.5)
        mix = 0.4 * noise2(u / (2.0 * period), v / (2.0 * period), seed + 3)
    elif kind == PLANKS:
        mix, dark = _planks(u, v, fine, period, seed)
    elif kind == WINDOWS:
        mix, dark = _windows(u, v, period, seed)
    elif kind == FOLIAGE:
        mix = noise2(u / period, v / period, seed)
        leaf = noise2(u / (0.3 * period), v / (0.3 * period), seed + 1)
        dark = 0.25 + 0.9 * mix * (0.5 + fine * (leaf - 0.2))
    elif kind == PICTURE:
        mix = 1.0 if noise2(u / period, v / period, seed) > 0.5 else 0.15
        dark = 0.5 + 0.9 * noise2(u / period, v / period, seed + 5)
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
def _grass(u: float, v: float, fine: float, period: float, seed: int) -> Any:
    mix = 0.65 * noise2(u / (6.0 * period), v / (6.0 * period), seed)
    dark = 0.8 + fine * (0.5 * noise2(u / (0.25 * period), v / (0.25 * period), seed + 1) - 0.25)
    dark += 0.3 * (noise2(u / (1.5 * period), v / (1.5 * period), seed + 2) - 0.3)
    return mix, dark


@njit(cache=True, error_model="numpy")
@no_type_check
def _tiles(kind: int, u: float, v: float, fine: float, period: float, seed: int) -> Any:
    """Paving, bricks (wider, every second row shifted) or a chequerboard, with joints between them."""
    width = 2.2 * period if kind == BRICKS else period
    row = int(np.floor(v / period))
    across = u / width + (0.5 * (row % 2) if kind == BRICKS else 0.0)
    column = int(np.floor(across))
    fu, fv = across - column, v / period - row
    if kind == CHEQUER:
        mix = 0.5 + fine * (float((row + column) % 2) - 0.5)
    else:
        mix = 0.5 * fine * hash01(row, column, 0, seed)
    dark = 1.0
    joint = min(min(fu, 1.0 - fu) * width, min(fv, 1.0 - fv) * period)
    if joint < 0.03 * period + 0.002:
        dark = 1.0 - 0.4 * fine
    dark *= 0.85 + 0.3 * noise2(u * 1.3, v * 1.3, seed)
    return mix, dark


@njit(cache=True, error_model="numpy")
@no_type_check
def _planks(u: float, v: float, fine: float, period: float, seed: int) -> Any:
    board = int(np.floor(u / period))
    mix = 0.7 * fine * hash01(board, 1, 0, seed)
    dark = 0.85 + 0.3 * noise2(u / (0.3 * period), v / (6.0 * period), seed)
    if u / period - board < 0.06:
        dark *= 1.0 - 0.5 * fine
    return mix, dark


@njit(cache=True, error_model="numpy")
@no_type_check
def _windows(u: float, v: float, period: float, seed: int) -> Any:
    """A house's front: panes with bars, lit differently, and sills."""
    column, row = int(np.floor(u / period)), int(np.floor(v / (1.15 * period)))
    fu, fv = u / period - column, v / (1.15 * period) - row
    if 0.24 < fu < 0.76 and 0.25 < fv < 0.8:
        if abs(fu - 0.5) < 0.02 or abs(fv - 0.55) < 0.015:
            return 0.0, 0.7
        return 1.0, 0.5 + 0.8 * hash01(row, column, 2, seed)
    if abs(fv - 0.22) < 0.03 and 0.2 < fu < 0.8:
        return 0.0, 1.15
    return 0.0, 0.88 + 0.2 * noise2(u * 0.8, v * 0.8, seed)
