"""Value noise from an integer hash: the same number for the same place on every machine, without stored textures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True)
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


@njit(cache=True)
def noise2(x: float, y: float, seed: int) -> float:
    """Smooth value noise in [0, 1] with a period of 1 in each direction (the lattice's spacing)."""
    fx, fy = np.floor(x), np.floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    low = hash01(i, j, 0, seed) * (1.0 - u) + hash01(i + 1, j, 0, seed) * u
    high = hash01(i, j + 1, 0, seed) * (1.0 - u) + hash01(i + 1, j + 1, 0, seed) * u
    return low * (1.0 - v) + high * v


@njit(cache=True)
def noise3(x: float, y: float, z: float, seed: int) -> float:
    """`noise2` in three dimensions."""
    fz = np.floor(z)
    k = int(fz)
    w = z - fz
    w = w * w * (3.0 - 2.0 * w)
    fx, fy = np.floor(x), np.floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    total = 0.0
    for step in range(2):
        low = hash01(i, j, k + step, seed) * (1.0 - u) + hash01(i + 1, j, k + step, seed) * u
        high = hash01(i, j + 1, k + step, seed) * (1.0 - u) + hash01(i + 1, j + 1, k + step, seed) * u
        total += (low * (1.0 - v) + high * v) * (w if step else 1.0 - w)
    return total


def linear_from_srgb(colour: Any) -> tuple[float, float, float]:
    """A display colour with channels in [0, 255] as linear light in [0, 1] (gamma 2.2)."""
    red, green, blue = (float(channel) / 255.0 for channel in colour)
    return red**2.2, green**2.2, blue**2.2
