"""Value noise from an integer hash: the same number for the same place on every machine, without stored pictures."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
@no_type_check
def hash01(x: int, y: int, z: int, seed: int) -> float:
    """A number in [0, 1) that looks random, from three integers and a seed."""
    h = np.uint32(x) * np.uint32(0x8DA6B343)
    h ^= np.uint32(y) * np.uint32(0xD8163841)
    h ^= np.uint32(z) * np.uint32(0xCB1AB31F)
    h ^= np.uint32(seed) * np.uint32(0x9E3779B1)
    h ^= h >> np.uint32(15)
    h = np.uint32(h * np.uint32(0x2C1B3C6D))
    h ^= h >> np.uint32(12)
    h = np.uint32(h * np.uint32(0x297A2D39))
    h ^= h >> np.uint32(15)
    return float(h & np.uint32(0xFFFFFF)) / 16777216.0


def _lattice() -> Any:
    """(128, 128) float32 numbers in [0, 1) from an integer hash."""
    row, column = np.meshgrid(np.arange(128, dtype=np.uint32), np.arange(128, dtype=np.uint32), indexing="ij")
    h = row * np.uint32(0x8DA6B343) ^ column * np.uint32(0xD8163841)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 0x9E3779B1), (16, 1)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return ((h >> np.uint32(8)) / np.float32(1 << 24)).astype(np.float32)


LATTICE = _lattice()


@njit(cache=True, error_model="numpy")
@no_type_check
def noise2(x: float, y: float, seed: int) -> float:
    """Smooth value noise in [0, 1] on a lattice of spacing 1, which repeats after 128; the seed shifts it."""
    fx, fy = np.floor(x), np.floor(y)
    i, j = int(fx) + seed, int(fy) + (seed >> 7)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    i0, i1, j0, j1 = i & 127, (i + 1) & 127, j & 127, (j + 1) & 127
    low = LATTICE[j0, i0] * (1.0 - u) + LATTICE[j0, i1] * u
    high = LATTICE[j1, i0] * (1.0 - u) + LATTICE[j1, i1] * u
    return low * (1.0 - v) + high * v


@njit(cache=True, error_model="numpy")
@no_type_check
def noise3(x: float, y: float, z: float, seed: int) -> float:
    """`noise2` in three dimensions: each layer of the lattice is the plane's, shifted."""
    fz = np.floor(z)
    k = int(fz)
    w = z - fz
    w = w * w * (3.0 - 2.0 * w)
    return noise2(x, y, seed + 4001 * k) * (1.0 - w) + noise2(x, y, seed + 4001 * (k + 1)) * w


def linear_from_srgb(colour: Any) -> tuple[float, float, float]:
    """A display colour with channels in [0, 255] as linear light in [0, 1] (gamma 2.2)."""
    red, green, blue = (float(channel) / 255.0 for channel in colour)
    return red**2.2, green**2.2, blue**2.2
