"""What people do: each activity gives joint angles over time, with a random style.

An activity is a function ``(time, rng) -> Angles``: it draws one person's way of doing it (amplitude, tempo, phase,
posture) from the generator, then evaluates it at the given seconds, which may be a single instant. Cycles of walking
and running follow the usual curves of gait analysis (heel strike at phase 0, toe off near 0.6).
Besides the channels of ``posture.LIMITS`` an activity may give ``flight``: the height in metres by which the body
leaves the ground.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eval3dpw.openworld.curves import (
    Key,
    Time,
    add,
    around,
    both_sides,
    bump,
    cycle,
    drift,
    keyed,
    plant,
    stance,
    upright,
)
from eval3dpw.openworld.posture import Angles


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


def _lower(time: Time, angles: Angles, depth: Time, tilt: float, knee: float, ankle: float) -> Angles:
    """Go down with both feet flat: ``depth`` in [0, 1] scales pelvis tilt, knees and ankles."""
    angles = add(angles, {"tilt": tilt * depth})
    for side in "lr":
        angles = plant(angles, side, 0.06 + knee * depth, 0.02 + ankle * depth)
    return angles


def sit_down(time: Time, rng: np.random.Generator) -> Angles:
    """Sit down and stand up again."""
    phase = cycle(time, rng, 1 / around(rng, 5.0, 0.6))
    depth = keyed(
        phase, [(0.0, {"d": 0.0}), (0.2, {"d": 0.0}), (0.48, {"d": 1.0}), (0.75, {"d": 1.0}), (0.97, {"d": 0.0})]
    )["d"]
    between = 4 * depth * (1 - depth)
    angles = _lower(time, upright(time, rng), depth, 0.05, 1.5, 0.0)
    angles = add(angles, {"tilt": 0.45 * between, "bend": 0.35 * between})
    for side in "lr":  # leaning forward needs the hips to bend as well, and brings the shins forward
        angles[f"{side}_ankle"] = angles[f"{side}_ankle"] + 0.3 * between
        angles[f"{side}_hip_flex"] = angles[f"{side}_knee"] - angles[f"{side}_ankle"] + angles["tilt"]
        angles = add(angles, {f"{side}_arm_flex": 0.45 * depth + 0.5 * between, f"{side}_elbow": 0.5 * depth})
        angles = add(angles, {f"{side}_hip_abd": 0.08 * depth, f"{side}_arm_rot": 0.2 * depth})
    return add(angles, {"head_nod": -0.3 * between})


def squat(time: Time, rng: np.random.Generator) -> Angles:
    phase = cycle(time, rng, 1 / around(rng, 2.8, 0.4))
    reach = around(rng, 0.85, 0.13)
    depth = reach * keyed(phase, [(0.0, {"d": 0.0}), (0.1, {"d": 0.0}), (0.45, {"d": 1.0}), (0.58, {"d": 1.0})])["d"]
    angles = _lower(time, upright(time, rng), depth, 0.35, 1.95, 0.46)
    forward = rng.uniform() < 0.6
    for side in "lr":
        angles = add(angles, {f"{side}_hip_abd": 0.06 + 0.18 * depth, f"{side}_hip_rot": -0.25 * depth})
        angles = add(angles, {f"{side}_arm_flex": (1.2 if forward else 0.5) * depth})
        angles = add(angles, {f"{side}_elbow": (-0.2 if forward else 1.2) * depth, f"{side}_arm_rot": 0.25 * depth})
    return add(angles, {"bend": 0.3 * depth, "head_nod": -0.4 * depth})


def jump(time: Time, rng: np.random.Generator) -> Angles:
    """Jump on the spot: crouch, swing the arms, fly, land."""
    period, air = around(rng, 1.9, 0.2), around(rng, 0.42, 0.05)
    phase = cycle(time, rng, 1 / period)
    off = 0.42
    land = off + air / period
    keys = [(0.0, {}), (0.08, {}), (0.3, {"d": 1.0}), (off, {"d": 0.0, "air": 1.0})]
    keys += [(0.5 * (off + land), {"d": 0.12, "air": 0.6}), (land, {"d": 0.08, "air": 0.6}), (land + 0.13, {"d": 0.7})]
    curves = keyed(phase, keys)
    depth, stretched = curves["d"], curves["air"]
    angles = _lower(time, upright(time, rng), 0.7 * depth, 0.4, 1.9, 0.5)
    high = rng.uniform(0.6, 2.0)
    spread = abs(around(rng, 0.0, 0.3))
    for side in "lr":
        angles = add(
            angles,
            {
                f"{side}_ankle": -0.65 * stretched, f"{side}_hip_abd": spread * stretched * 0.6,
                f"{side}_arm_flex": -0.7 * depth + high * stretched, f"{side}_elbow": 0.3 * depth,
                f"{side}_arm_abd": spread * stretched,
            },
        )  # fmt: skip
    u = np.clip((np.mod(phase, 1.0) - off) / (land - off), 0, 1)
    return add(angles, {"bend": 0.35 * depth, "head_nod": -0.2 * depth}) | {"flight": 9.81 * air**2 / 2 * u * (1 - u)}


def kick(time: Time, rng: np.random.Generator) -> Angles:
    """Kick a ball with the right foot (the mirrored variant with the left)."""
    phase = cycle(time, rng, 1 / around(rng, 2.3, 0.3))
    power = around(rng, 1.0, 0.15)
    keys: list[Key] = [
        (0.0, {}),
        (0.25, {"l_knee": 0.2, "r_hip_flex": -0.1, "r_knee": 0.4}),
        (0.42, {"l_knee": 0.35, "r_hip_flex": -0.4 * power, "r_knee": 1.5, "twist": -0.2, "l_arm_abd": 0.8,
                "r_arm_flex": 0.5, "bend": 0.1}),
        (0.55, {"l_knee": 0.3, "r_hip_flex": 1.1 * power, "r_knee": 0.35, "r_ankle": -0.4, "twist": 0.3,
                "l_arm_abd": 1.0, "l_arm_flex": 0.3, "r_arm_flex": -0.5, "bend": 0.15, "tilt": -0.15}),
        (0.65, {"l_knee": 0.25, "r_hip_flex": 1.2 * power, "r_knee": 0.6, "r_ankle": -0.2, "twist": 0.2,
                "l_arm_abd": 0.6, "bend": 0.2, "tilt": -0.15}),
        (0.85, {"l_knee": 0.15, "r_hip_flex": 0.15, "r_knee": 0.4}),
    ]  # fmt: skip
    curves = keyed(phase, keys)
    angles = add(upright(time, rng), curves)
    standing = plant(angles, "l", curves["l_knee"] + 0.05, 0.6 * curves["l_knee"])
    return add(standing, {"list": 0.06, "l_hip_abd": 0.06, "r_hip_abd": 0.05})


def throw(time: Time, rng: np.random.Generator) -> Angles:
    """Throw overarm with the right hand."""
    phase = cycle(time, rng, 1 / around(rng, 2.4, 0.3))
    high = around(rng, 1.55, 0.15)
    keys: list[Key] = [
        (0.0, {}),
        (0.15, {"r_arm_flex": 0.5, "r_elbow": 1.2, "l_arm_flex": 0.6, "l_elbow": 1.0}),
        (0.42, {"r_arm_abd": high, "r_arm_flex": -0.35, "r_arm_rot": -1.2, "r_elbow": 1.6, "l_arm_flex": 1.2,
                "l_arm_abd": 0.4, "twist": -0.6, "bend": -0.15, "side": 0.1, "step": 0.3}),
        (0.56, {"r_arm_abd": high, "r_arm_flex": 0.5, "r_arm_rot": -0.5, "r_elbow": 0.9, "l_arm_flex": 0.4,
                "l_arm_abd": 0.4, "l_elbow": 0.8, "twist": 0.3, "bend": 0.15, "step": 0.8}),
        (0.66, {"r_arm_abd": 0.5, "r_arm_flex": 1.0, "r_arm_rot": 0.5, "r_elbow": 0.3, "l_arm_flex": -0.3,
                "l_elbow": 0.8, "twist": 0.55, "bend": 0.4, "step": 1.0}),
        (0.85, {"step": 0.5, "r_arm_flex": 0.3}),
    ]  # fmt: skip
    curves = keyed(phase, keys)
    step = curves.pop("step")
    angles = add(upright(time, rng), curves)
    angles = plant(angles, "l", 0.15 + 0.35 * step, 0.0 * step)
    angles = plant(angles, "r", 0.15 + 0.2 * step, 0.1 + 0.4 * step)
    return add(
        angles, {"l_hip_flex": 0.15 * step, "l_ankle": -0.15 * step, "r_toe": 0.3 * step, "r_ankle": -0.25 * step}
    )


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


def dance(time: Time, rng: np.random.Generator) -> Angles:
    """Step from side to side to a beat, hips and arms moving."""
    phase = cycle(time, rng, around(rng, 0.9, 0.12))
    angles = upright(time, rng)
    groove, beat = around(rng, 1.0, 0.2), 2 * np.pi * phase
    sway = np.sin(beat)
    angles = add(angles, {"list": 0.14 * groove * sway, "side": -0.2 * groove * sway, "twist": 0.25 * np.sin(beat + 1)})
    for side, sign in (("l", 1.0), ("r", -1.0)):
        bounce = 0.3 + 0.2 * groove * (np.cos(2 * beat) + sign * sway)
        angles = plant(angles, side, np.clip(bounce, 0.05, None), 0.45 * np.clip(bounce, 0.05, None))
        lift = np.clip(-sign * sway - 0.3, 0, None) ** 2
        angles = add(
            angles,
            {
                f"{side}_hip_abd": 0.02 + 0.14 * groove * sign * sway + 0.2 * lift,
                f"{side}_knee": lift,
                f"{side}_hip_flex": lift,
            },
        )
        raised = rng.uniform(0.1, 2.0)
        speed = rng.choice([1.0, 2.0])
        angles |= {
            f"{side}_arm_abd": 0.35 + 0.5 * raised + 0.3 * groove * np.sin(beat + rng.uniform(0, 6)),
            f"{side}_arm_flex": 0.25 + 0.4 * raised + 0.35 * groove * np.sin(speed * beat + rng.uniform(0, 6)),
            f"{side}_arm_rot": 0.35 - 0.5 * raised + 0.3 * np.sin(beat + rng.uniform(0, 6)),
            f"{side}_elbow": 1.2 + 0.5 * groove * np.sin(speed * beat + rng.uniform(0, 6)),
            f"{side}_wrist_flex": 0.3 * np.sin(beat + rng.uniform(0, 6)),
        }
    return add(angles, {"head_nod": 0.12 * np.cos(2 * beat), "head_side": 0.12 * sway})


def stretch(time: Time, rng: np.random.Generator) -> Angles:
    """Arms up, bend to the side, arms down again."""
    phase = cycle(time, rng, 1 / around(rng, 5.0, 0.7))
    high = around(rng, 2.6, 0.25)
    ahead = rng.uniform(0.0, 0.9)
    up = both_sides(
        arm_abd=high * np.cos(ahead), arm_flex=high * np.sin(ahead), elbow=rng.uniform(0.05, 0.6), arm_rot=-0.3
    )
    lean = rng.uniform(0.0, 0.5)
    keys: list[Key] = [
        (0.0, {}),
        (0.3, up | {"bend": -0.15, "head_nod": -0.25}),
        (0.5, up | {"side": lean, "head_side": 0.5 * lean}),
        (0.7, up | {"side": -lean, "head_side": -0.5 * lean}),
        (0.92, {}),
    ]
    return add(stance(time, rng, upright(time, rng)), keyed(phase, keys))


def box(time: Time, rng: np.random.Generator) -> Angles:
    """Boxing: guard, jab with the left, cross with the right, bouncing on staggered feet."""
    phase = cycle(time, rng, 1 / around(rng, 1.7, 0.2))
    level = around(rng, 1.35, 0.12)
    guard = both_sides(arm_flex=0.75, arm_abd=0.3, arm_rot=0.3, elbow=2.2)
    jab = {"l_arm_flex": level, "l_elbow": 0.2, "l_arm_rot": 0.5, "twist": -0.3}
    cross = {"r_arm_flex": level, "r_elbow": 0.2, "r_arm_rot": 0.5, "twist": 0.55}
    rest = guard | {"twist": -0.15}
    keys: list[Key] = [(0.0, rest), (0.14, guard | jab), (0.3, rest), (0.44, guard | cross), (0.6, rest)]
    curves = keyed(phase, keys)
    angles = upright(time, rng)
    angles |= {name: value + drift(time, rng, 0.06) for name, value in curves.items() if name != "twist"}
    angles = add(angles, {"twist": curves["twist"], "head_turn": -0.6 * curves["twist"], "bend": 0.12})
    bounce = 0.35 + 0.1 * np.sin(4 * np.pi * phase)
    angles = plant(angles, "l", bounce, 0.1)
    angles = plant(angles, "r", bounce + 0.05, 0.45)
    return add(angles, {"l_hip_flex": 0.2, "l_ankle": -0.2, "yaw": -0.3, "head_nod": 0.1, "r_hip_abd": 0.1})


def pick_up(time: Time, rng: np.random.Generator) -> Angles:
    """Bend down, take something from the ground, come up."""
    phase = cycle(time, rng, 1 / around(rng, 3.6, 0.4))
    knees = rng.uniform(0.15, 1.0)
    depth = keyed(
        phase, [(0.0, {"d": 0.0}), (0.15, {"d": 0.0}), (0.45, {"d": 1.0}), (0.58, {"d": 1.0}), (0.92, {"d": 0.0})]
    )["d"]
    angles = _lower(time, upright(time, rng), depth, 1.15 - 0.5 * knees, 0.25 + 1.45 * knees, 0.4 * knees)
    reach = {"l": 1.0, "r": 1.0 if rng.uniform() < 0.5 else 0.3}
    for side in "lr":
        angles = add(angles, {f"{side}_arm_flex": 1.25 * reach[side] * depth, f"{side}_elbow": 0.2 * depth})
        angles = add(angles, {f"{side}_hip_abd": 0.08 * depth})
    return add(angles, {"bend": (0.75 - 0.2 * knees) * depth, "head_nod": -0.25 * depth, "twist": -0.2 * depth})


def lunge(time: Time, rng: np.random.Generator) -> Angles:
    """Lunge with the left foot in front."""
    phase = cycle(time, rng, 1 / around(rng, 3.0, 0.4))
    far = around(rng, 0.85, 0.12)
    depth = (
        far
        * keyed(
            phase, [(0.0, {"d": 0.0}), (0.1, {"d": 0.0}), (0.45, {"d": 1.0}), (0.6, {"d": 1.0}), (0.95, {"d": 0.0})]
        )["d"]
    )
    angles = upright(time, rng)
    hands = rng.uniform() < 0.5
    angles = add(angles, {"l_knee": 0.05 + 1.45 * depth, "l_hip_flex": 0.03 + 1.4 * depth, "l_ankle": 0.04 * depth})
    angles = add(angles, {"r_knee": 0.05 + 1.35 * depth, "r_hip_flex": 0.03 - 0.25 * depth, "r_ankle": 0.1 * depth})
    angles = add(angles, {"r_toe": 0.75 * depth, "bend": 0.08 * depth})
    for side in "lr":
        if hands:
            angles = add(angles, {f"{side}_arm_abd": 0.6 * depth, f"{side}_arm_rot": 0.5 * depth})
        angles = add(angles, {f"{side}_elbow": (1.3 if hands else 0.3) * depth, f"{side}_arm_flex": 0.15 * depth})
    return angles


def point_at(time: Time, rng: np.random.Generator) -> Angles:
    """Stand and point at something, the head following."""
    height, aside = rng.uniform(1.0, 1.9), rng.uniform(-0.2, 1.1)
    keys: list[Key] = [(0.0, {}), (0.2, {"p": 1.0}), (0.65, {"p": 0.9}), (0.88, {})]
    p = keyed(cycle(time, rng, 1 / around(rng, 4.0, 0.5)), keys)["p"]
    angles = stand(time, rng)
    arm = {"l_arm_flex": height * np.cos(aside), "l_arm_abd": height * np.sin(aside), "l_elbow": 0.1, "l_arm_rot": 0.1}
    angles |= {name: angles[name] * (1 - p) + value * p for name, value in arm.items()}
    return add(angles, {"head_turn": 0.5 * aside * p, "twist": 0.25 * aside * p})


#: Every activity by name.
ACTIVITIES: dict[str, Callable[[Time, np.random.Generator], Angles]] = {
    "walk": walk,
    "run": run,
    "climb_stairs": climb_stairs,
    "stand": stand,
    "talk": talk,
    "cross_arms": cross_arms,
    "hands_on_hips": hands_on_hips,
    "carry": carry,
    "phone": phone,
    "sit": sit,
    "sit_down": sit_down,
    "squat": squat,
    "jump": jump,
    "kick": kick,
    "throw": throw,
    "wave": wave,
    "dance": dance,
    "stretch": stretch,
    "box": box,
    "pick_up": pick_up,
    "lunge": lunge,
    "point_at": point_at,
}
#: Relative frequency in single images and mixed sets: everyday movement before sport.
FREQUENCY = dict.fromkeys(ACTIVITIES, 1.0) | {"walk": 3.0, "talk": 2.0, "stand": 1.5, "run": 1.5, "sit": 1.5}
