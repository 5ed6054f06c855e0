"""What people do all day: walk, stand about, talk, carry, sit, point (see `activities`)."""

from __future__ import annotations

import numpy as np

from eval3dpw.openworld.people.curves import (
    Key,
    Time,
    add,
    around,
    both_sides,
    bump,
    cycle,
    drift,
    keyed,
    lower,
    plant,
    stance,
    upright,
)
from eval3dpw.openworld.people.posture import Angles


def _gait(time: Time, rng: np.random.Generator, running: bool) -> tuple[Angles, Time]:
    angles = upright(time, rng)
    stride_hz = around(rng, 1.35, 0.1) if running else around(rng, 0.92, 0.1)
    reach = around(rng, 1.0, 0.15)
    phase = cycle(time, rng, stride_hz)
    swing = max(around(rng, 1.0, 0.35), 0.25)
    elbow = around(rng, 1.55, 0.2) if running else max(around(rng, 0.35, 0.2), 0.1)
    for side, shift in (("l", 0.0), ("r", 0.5)):
        u = phase + shift
        if running:
            hip = 0.32 + reach * 0.6 * np.cos(2 * np.pi * (u + 0.08)) + 0.08 * bump(u, 0.85, 0.08)
            knee = 0.3 + 0.4 * bump(u, 0.15, 0.08) + reach * 1.35 * bump(u, 0.66, 0.11)
            ankle = 0.05 + 0.3 * bump(u, 0.18, 0.08) - 0.5 * bump(u, 0.42, 0.07)
            toe = 0.4 * bump(u, 0.4, 0.06)
        else:
            hip = 0.12 + reach * 0.4 * np.cos(2 * np.pi * u) + 0.12 * bump(u, 0.85, 0.08)
            knee = 0.07 + reach * (0.2 * bump(u, 0.14, 0.06) + 0.98 * bump(u, 0.73, 0.09))
            ankle = -0.1 * bump(u, 0.07, 0.04) + 0.18 * bump(u, 0.42, 0.11) - 0.32 * bump(u, 0.62, 0.06)
            toe = 0.5 * bump(u, 0.57, 0.06)
        arm = -(0.55 if running else 0.38) * swing * np.cos(2 * np.pi * (u + 0.02))
        angles = add(
            angles,
            {
                f"{side}_hip_flex": hip, f"{side}_knee": knee, f"{side}_ankle": ankle, f"{side}_toe": toe,
                f"{side}_hip_abd": -0.05 - 0.03 * bump(u, 0.3, 0.15),
                f"{side}_arm_flex": arm + (-0.15 if running else 0.05),
                f"{side}_elbow": elbow - 0.3 + 0.25 * swing * np.clip(arm, -0.3, None),
                f"{side}_arm_rot": (0.25 if running else 0.0) + 0.2 * arm,
            },
        )  # fmt: skip
    turn = 0.12 * swing * np.cos(2 * np.pi * phase)
    lean = 0.04 * np.cos(2 * np.pi * (phase - 0.3))
    forward = abs(around(rng, 0.14, 0.05)) if running else around(rng, 0.03, 0.03)
    angles = add(angles, {"yaw": -0.6 * turn, "twist": 1.4 * turn, "list": lean, "side": -lean, "bend": forward})
    return add(angles, {"head_turn": -0.8 * turn, "head_nod": -0.6 * forward}), phase


def walk(time: Time, rng: np.random.Generator) -> Angles:
    return _gait(time, rng, running=False)[0]


def run(time: Time, rng: np.random.Generator) -> Angles:
    angles, phase = _gait(time, rng, running=True)
    return angles | {"flight": 0.06 * np.clip(np.cos(4 * np.pi * (phase - 0.47)), 0, None) ** 2}


def climb_stairs(time: Time, rng: np.random.Generator) -> Angles:
    angles = upright(time, rng)
    phase = cycle(time, rng, around(rng, 0.65, 0.08))
    lift = around(rng, 1.0, 0.15)
    for side, shift in (("l", 0.0), ("r", 0.5)):
        u = phase + shift
        knee = 0.15 + lift * 1.35 * bump(u, 0.0, 0.14)
        angles = add(
            angles,
            {
                f"{side}_knee": knee, f"{side}_hip_flex": 0.15 + lift * 1.1 * bump(u, 0.04, 0.13),
                f"{side}_ankle": 0.12 * np.cos(2 * np.pi * u) - 0.15 * bump(u, 0.8, 0.08),
                f"{side}_arm_flex": -0.3 * np.cos(2 * np.pi * u), f"{side}_elbow": 0.3,
            },
        )  # fmt: skip
    return add(angles, {"bend": 0.18, "list": 0.05 * np.cos(2 * np.pi * (phase - 0.3)), "head_nod": 0.1})


def stand(time: Time, rng: np.random.Generator) -> Angles:
    angles = stance(time, rng, upright(time, rng))
    return add(angles, {"head_turn": drift(time, rng, 0.4, 0.3), "head_nod": drift(time, rng, 0.15, 0.3)})


def talk(time: Time, rng: np.random.Generator) -> Angles:
    angles = stand(time, rng)
    for side in "lr":
        if side == "l" or rng.uniform() < 0.75:
            vigour = around(rng, 1.0, 0.25)
            angles = angles | {
                f"{side}_arm_flex": 0.35 + drift(time, rng, 0.35 * vigour, 0.9),
                f"{side}_arm_abd": 0.25 + drift(time, rng, 0.15 * vigour, 0.7),
                f"{side}_arm_rot": 0.25 + drift(time, rng, 0.5 * vigour, 0.9),
                f"{side}_elbow": 1.25 + drift(time, rng, 0.55 * vigour, 1.2),
                f"{side}_pron": drift(time, rng, 0.8, 1.0),
                f"{side}_wrist_flex": drift(time, rng, 0.35, 1.2),
            }
    return add(angles, {"head_nod": drift(time, rng, 0.12, 1.5)})


def cross_arms(time: Time, rng: np.random.Generator) -> Angles:
    depth = around(rng, 0.0, 0.06)
    crossed = both_sides(arm_flex=0.62 + depth, arm_abd=0.2, arm_rot=1.15, elbow=1.75) | {
        "l_elbow": 1.6,
        "l_arm_flex": 0.78,
    }
    return stand(time, rng) | {name: value + drift(time, rng, 0.05) for name, value in crossed.items()}


def hands_on_hips(time: Time, rng: np.random.Generator) -> Angles:
    both = rng.uniform() < 0.6
    posture = {"arm_abd": 0.85, "arm_flex": -0.25, "arm_rot": 0.75, "elbow": 1.75, "pron": -0.3, "wrist_flex": -0.3}
    held = {f"{side}_{name}": value for name, value in posture.items() for side in ("lr" if both else "l")}
    return stand(time, rng) | {name: value + drift(time, rng, 0.06) for name, value in held.items()}


def carry(time: Time, rng: np.random.Generator) -> Angles:
    """Walk or stand with a box before the belly."""
    angles = walk(time, rng) if rng.uniform() < 0.6 else stand(time, rng)
    height = around(rng, 1.35, 0.2)
    held = both_sides(arm_flex=0.35, arm_abd=0.16, arm_rot=0.1, elbow=height, pron=-0.6)
    return add(angles | {name: value + drift(time, rng, 0.05) for name, value in held.items()}, {"bend": -0.08})


def phone(time: Time, rng: np.random.Generator) -> Angles:
    """Stand or walk with a telephone at the ear, or read from it."""
    angles = walk(time, rng) if rng.uniform() < 0.4 else stand(time, rng)
    if rng.uniform() < 0.5:
        held = {
            "l_arm_flex": 0.75,
            "l_arm_abd": 0.45,
            "l_arm_rot": 0.1,
            "l_elbow": 2.4,
            "l_pron": -0.2,
            "head_side": 0.1,
        }
    else:
        held = {"l_arm_flex": 0.55, "l_arm_abd": 0.2, "l_arm_rot": 0.45, "l_elbow": 1.75, "head_nod": 0.45}
    return angles | {name: value + drift(time, rng, 0.06) for name, value in held.items()}


def sit(time: Time, rng: np.random.Generator) -> Angles:
    """Sit upright or leaning, hands on the thighs, in the lap or talking."""
    angles = upright(time, rng)
    tilt, width = around(rng, 0.0, 0.12), abs(around(rng, 0.12, 0.12))
    angles = add(angles, {"tilt": tilt, "bend": 0.12 + drift(time, rng, 0.12)})
    thigh = around(rng, 1.48, 0.1)  # level with the seat on both sides, so that both feet reach the ground
    for side in "lr":
        shin = around(rng, 0.0, 0.15) + drift(time, rng, 0.04)
        angles = plant(angles, side, thigh + shin, shin)
        angles |= {f"{side}_hip_abd": width + drift(time, rng, 0.06), f"{side}_hip_rot": 0.0 * time - 0.1}
        lively = 0.35 if rng.uniform() < 0.35 else 0.05
        for name, value in (("arm_flex", 0.45), ("arm_abd", 0.18), ("arm_rot", 0.35), ("elbow", 0.85)):
            angles[f"{side}_{name}"] = around(rng, value, 0.08) + drift(time, rng, lively, 0.8)
        angles = add(angles, {f"{side}_elbow": 0.25 if lively > 0.1 else 0.0})
    return add(angles, {"head_turn": drift(time, rng, 0.4, 0.3)})


def sit_down(time: Time, rng: np.random.Generator) -> Angles:
    """Sit down and stand up again."""
    phase = cycle(time, rng, 1 / around(rng, 5.0, 0.6))
    depth = keyed(
        phase, [(0.0, {"d": 0.0}), (0.2, {"d": 0.0}), (0.48, {"d": 1.0}), (0.75, {"d": 1.0}), (0.97, {"d": 0.0})]
    )["d"]
    between = 4 * depth * (1 - depth)
    angles = lower(upright(time, rng), depth, 0.05, 1.5, 0.0)
    angles = add(angles, {"tilt": 0.45 * between, "bend": 0.35 * between})
    for side in "lr":  # leaning forward needs the hips to bend as well, and brings the shins forward
        angles[f"{side}_ankle"] = angles[f"{side}_ankle"] + 0.3 * between
        angles[f"{side}_hip_flex"] = angles[f"{side}_knee"] - angles[f"{side}_ankle"] + angles["tilt"]
        angles = add(angles, {f"{side}_arm_flex": 0.45 * depth + 0.5 * between, f"{side}_elbow": 0.5 * depth})
        angles = add(angles, {f"{side}_hip_abd": 0.08 * depth, f"{side}_arm_rot": 0.2 * depth})
    return add(angles, {"head_nod": -0.3 * between})


def wave(time: Time, rng: np.random.Generator) -> Angles:
    phase = cycle(time, rng, around(rng, 1.5, 0.3))
    raised = around(rng, 1.5, 0.25)
    angles = stand(time, rng)
    for side in "lr" if rng.uniform() < 0.25 else "l":
        swing = np.sin(2 * np.pi * phase)
        angles |= {
            f"{side}_arm_abd": raised + 0.12 * swing, f"{side}_arm_flex": 0.35 + drift(time, rng, 0.1),
            f"{side}_arm_rot": -1.15 + 0.15 * swing, f"{side}_elbow": 1.35 - 0.4 * swing,
            f"{side}_pron": 0.3 + drift(time, rng, 0.1), f"{side}_wrist_dev": 0.15 * swing,
        }  # fmt: skip
    return angles


def pick_up(time: Time, rng: np.random.Generator) -> Angles:
    """Bend down, take something from the ground, come up."""
    phase = cycle(time, rng, 1 / around(rng, 3.6, 0.4))
    knees = rng.uniform(0.15, 1.0)
    depth = keyed(
        phase, [(0.0, {"d": 0.0}), (0.15, {"d": 0.0}), (0.45, {"d": 1.0}), (0.58, {"d": 1.0}), (0.92, {"d": 0.0})]
    )["d"]
    angles = lower(upright(time, rng), depth, 1.15 - 0.5 * knees, 0.25 + 1.45 * knees, 0.4 * knees)
    reach = {"l": 1.0, "r": 1.0 if rng.uniform() < 0.5 else 0.3}
    for side in "lr":
        angles = add(angles, {f"{side}_arm_flex": 1.25 * reach[side] * depth, f"{side}_elbow": 0.2 * depth})
        angles = add(angles, {f"{side}_hip_abd": 0.08 * depth})
    return add(angles, {"bend": (0.75 - 0.2 * knees) * depth, "head_nod": -0.25 * depth, "twist": -0.2 * depth})


def point_at(time: Time, rng: np.random.Generator) -> Angles:
    """Stand and point at something, the head following."""
    height, aside = rng.uniform(1.0, 1.9), rng.uniform(-0.2, 1.1)
    keys: list[Key] = [(0.0, {}), (0.2, {"p": 1.0}), (0.65, {"p": 0.9}), (0.88, {})]
    p = keyed(cycle(time, rng, 1 / around(rng, 4.0, 0.5)), keys)["p"]
    angles = stand(time, rng)
    arm = {"l_arm_flex": height * np.cos(aside), "l_arm_abd": height * np.sin(aside), "l_elbow": 0.1, "l_arm_rot": 0.1}
    angles |= {name: angles[name] * (1 - p) + value * p for name, value in arm.items()}
    return add(angles, {"head_turn": 0.5 * aside * p, "twist": 0.25 * aside * p})
