"""What people do for sport and fun: jump, kick, throw, dance, box (see `activities`)."""

from __future__ import annotations

import numpy as np

from eval3dpw.openworld.people.curves import (
    Key,
    Time,
    add,
    around,
    both_sides,
    cycle,
    drift,
    keyed,
    lower,
    plant,
    stance,
    upright,
)
from eval3dpw.openworld.people.posture import Angles


def squat(time: Time, rng: np.random.Generator) -> Angles:
    phase = cycle(time, rng, 1 / around(rng, 2.8, 0.4))
    reach = around(rng, 0.85, 0.13)
    depth = reach * keyed(phase, [(0.0, {"d": 0.0}), (0.1, {"d": 0.0}), (0.45, {"d": 1.0}), (0.58, {"d": 1.0})])["d"]
    angles = lower(upright(time, rng), depth, 0.35, 1.95, 0.46)
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
    angles = lower(upright(time, rng), 0.7 * depth, 0.4, 1.9, 0.5)
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
