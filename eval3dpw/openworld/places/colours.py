"""Colours drawn at random, linear light."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval3dpw.openworld.people.appearance_painting import Colour
from eval3dpw.openworld.people.noise import linear_from_srgb


def triple(values: Any) -> Colour:
    """Three numbers as plain floats, which compiled code reads."""
    return float(values[0]), float(values[1]), float(values[2])


def vary(rng: np.random.Generator, srgb: Any, spread: float = 12.0) -> Colour:
    """A linear colour near an sRGB one (0 ... 255), lighter or darker and a little tinted."""
    return linear_from_srgb(
        np.clip(np.asarray(srgb) + rng.normal(0.0, spread) + rng.normal(0.0, 0.5 * spread, 3), 4, 252)
    )


def pick(rng: np.random.Generator, tones: Any, spread: float = 12.0) -> Colour:
    """A linear colour near one of some sRGB ones."""
    return vary(rng, tones[int(rng.integers(len(tones)))], spread)
