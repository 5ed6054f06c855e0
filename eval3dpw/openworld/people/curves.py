"""Building blocks of the activities: curves over time, postures, feet on the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from eval3dpw.openworld.people.posture import LIMITS, Angles

Time = Float[np.ndarray, " n"]
#: A key posture: when in the cycle, in [0, 1), and its channels.
Key = tuple[float, Mapping[str, float]]


def around(rng: np.random.Generator, mean: float, spread: float) -> float:
    """A value near the mean: normal, cut at two spreads."""
    return mean + spread * float(np.clip(rng.standard_normal(), -2, 2))


def drift(
    time: Float[np.ndarray, "*rows n"], rng: np.random.Generator, amplitude: float, fastest_hz: float = 0.6
) -> Float[np.ndarray, "*rows n"]:
    """Slow aimless movement, another for every row: three sines of random frequency and phase."""
    frequency, phase = rng.uniform(0.0, 1.0, (2, 3, *time.shape[:-1], 1))
    frequency = 0.05 + (fastest_hz - 0.05) * frequency
    return np.asarray(amplitude * 0.5 * np.sin(2 * np.pi * (frequency * time + phase)).sum(axis=0))


def cycle(time: Time, rng: np.random.Generator, rate_hz: float) -> Time:
    """Phase in cycles at about the given rate, from a random start, the tempo wandering by some percent."""
    return np.asarray(rng.uniform() + rate_hz * time + drift(time, rng, 0.04, 0.3))


def bump(phase: Time, centre: float, width: float) -> Time:
    """A periodic bell curve of height 1."""
    return np.exp((np.cos(2 * np.pi * (phase - centre)) - 1) / (2 * np.pi * width) ** 2)


def keyed(phase: Time, keys: Sequence[Key], rest: Mapping[str, float] | None = None) -> Angles:
    """Periodic, monotone interpolation between key postures at the given phases in [0, 1).

    A channel that a key leaves out has its value of ``rest`` there, or 0.
    """
    at = np.array([key[0] for key in keys])
    at = np.concatenate([at - 1, at, at + 1])
    u = np.mod(phase, 1.0)
    rest = rest or {}
    channels = {name for _, posture in keys for name in posture} | set(rest)
    curves = {}
    for name in sorted(channels):
        values = np.array([posture.get(name, rest.get(name, 0.0)) for _, posture in keys])
        curves[name] = PchipInterpolator(at, np.tile(values, 3))(u)
    return curves


def both_sides(**channels: float) -> dict[str, float]:
    return {f"{side}_{name}": value for name, value in channels.items() for side in "lr"}


def upright(time: Time, rng: np.random.Generator) -> Angles:
    """Upright stance with relaxed arms: everybody's own posture, and a little sway."""
    angles = {name: np.zeros_like(time) for name in LIMITS}
    spread = {"bend": 0.06, "side": 0.03, "twist": 0.04, "head_nod": 0.12, "head_side": 0.06, "head_turn": 0.2}
    for name, size in spread.items():
        angles[name] = around(rng, 0.03 if name == "bend" else 0.0, size) + drift(time, rng, size * 0.8)
    for side in "lr":
        for name, mean, size in (
            ("arm_abd", 0.2, 0.05), ("arm_flex", 0.0, 0.08), ("arm_rot", 0.1, 0.2), ("elbow", 0.3, 0.12),
            ("pron", 0.2, 0.25), ("wrist_flex", 0.05, 0.12), ("collar_up", 0.0, 0.04),
            ("hip_abd", -0.05, 0.03), ("hip_rot", -0.1, 0.08),
        ):  # fmt: skip
            angles[f"{side}_{name}"] = around(rng, mean, size) + drift(time, rng, size * 0.6)
    return angles


def add(angles: Angles, more: Mapping[str, np.ndarray | float]) -> Angles:
    return angles | {name: np.asarray(angles.get(name, 0.0) + value) for name, value in more.items()}


def plant(angles: Angles, side: str, knee: Time, ankle: Time | float) -> Angles:
    """Put one foot flat: bend the knee, lean the shin by ``ankle``, and let the hip make up for the rest."""
    leg: Angles = {
        f"{side}_knee": knee,
        f"{side}_ankle": np.asarray(ankle + np.zeros_like(knee)),
        f"{side}_hip_flex": knee - ankle + angles["tilt"],
    }
    return angles | leg


def stance(time: Time, rng: np.random.Generator, angles: Angles) -> Angles:
    """Stand on both feet, the weight now and then more on one of them."""
    lean = around(rng, 0.0, 0.03) + drift(time, rng, 0.03)
    shift = around(rng, 0.0, 0.02) + drift(time, rng, 0.02)
    width = around(rng, -0.01, 0.05)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        angles = plant(angles, side, np.clip(0.1 + sign * 2.5 * lean, 0.02, 1), np.clip(0.03 + sign * 1.2 * lean, 0, 1))
        # level feet under a slanted pelvis
        angles = add(angles, {f"{side}_hip_abd": width + sign * (0.7 * lean - shift)})
    return add(angles, {"list": 0.7 * lean, "side": -0.7 * lean})


def lower(angles: Angles, depth: Time, tilt: float, knee: float, ankle: float) -> Angles:
    """Go down with both feet flat: ``depth`` in [0, 1] scales pelvis tilt, knees and ankles."""
    angles = add(angles, {"tilt": tilt * depth})
    for side in "lr":
        angles = plant(angles, side, 0.06 + knee * depth, 0.02 + ankle * depth)
    return angles
