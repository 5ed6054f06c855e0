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

from eval3dpw.openworld.people.activities_daily import (
    carry,
    climb_stairs,
    cross_arms,
    hands_on_hips,
    phone,
    pick_up,
    point_at,
    run,
    sit,
    sit_down,
    stand,
    talk,
    walk,
    wave,
)
from eval3dpw.openworld.people.activities_sport import box, dance, jump, kick, lunge, squat, stretch, throw
from eval3dpw.openworld.people.curves import Time
from eval3dpw.openworld.people.posture import Angles

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
