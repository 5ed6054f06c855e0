"""What happens in one sequence of the open world: who moves how, and how the hand-held camera follows.

World: metres, +y up, the ground at y = 0. Times run at two rates, as in 3DPW: motion at 60 Hz, images at 30 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eval3dpw.openworld.people.activities import FREQUENCY
from eval3dpw.openworld.people.motion import sample_motion
from eval3dpw.openworld.people.people import (
    heading_of,
    posed_people,
    rest_person,
    sample_betas,
    sample_gender,
    turned,
)
from eval3dpw.openworld.places.cameras import handheld_track, intrinsics_of, transform
from eval3dpw.openworld.places.crop_scenes import CropStatistics, sample_heading
from fitting.bodies.body import Gender

IMAGE_RATE = 30.0
MOTION_RATE = 60.0
_SIZES_WH = ((640, 360), (960, 540), (540, 960))
_SIZE_SHARES = (0.55, 0.15, 0.3)
_FOCAL_OVER_LONG_SIDE = 1969 / 1920  # 3DPW's telephone camera
_NOMINAL_STATURE_M = 1.7
_MIN_DEPTH_M = 1.6
_MAX_ATTEMPTS = 50


@dataclass(frozen=True)
class SequenceStatistics:
    """How sequences are spread over sizes and difficulties; sizes in pixels.

    Attributes:
        height_px: range of a standing person's height, log-uniform, at 360 image rows (grows with the image).
        passing_share: in sequences with two actors, the second one walks past before the first.
        occluder_share: an object stands between the camera and the first actor for a part of the sequence.
        off_centre: standard deviation of where the cameraman aims, as a part of half the image's width and height.
        cut_share: the cameraman aims so badly that the border cuts the first actor.
        lost_camera_share: some frames' camera pose is marked as not valid.
    """

    height_px: tuple[float, float] = (95.0, 330.0)
    passing_share: float = 0.45
    occluder_share: float = 0.4
    off_centre: tuple[float, float] = (0.3, 0.1)
    cut_share: float = 0.15
    lost_camera_share: float = 0.25


@dataclass(frozen=True)
class Actor:
    """One actor's body and movement; poses and translations at 60 Hz, world frame."""

    gender: Gender
    betas: Float[np.ndarray, "10"]
    activity: str
    poses_60hz: Float[np.ndarray, "m 72"]
    translations_60hz: Float[np.ndarray, "m 3"]


@dataclass(frozen=True)
class SequenceScene:
    """Actors before a moving camera.

    Attributes:
        actors: one or two.
        frame_ids: 60 Hz frame of each image.
        T_camera_world: camera of each image.
        size_wh: of the images, pixels.
        occluder_frame: image in which an object hides a part of the first actor, or None.
        lost_camera: images whose camera pose is marked as not valid.
    """

    actors: tuple[Actor, ...]
    frame_ids: np.ndarray
    T_camera_world: Float[np.ndarray, "n 4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    size_wh: tuple[int, int]
    occluder_frame: int | None
    lost_camera: np.ndarray


def sample_sequence(
    rng: np.random.Generator, num_actors: int, num_frames: int, statistics: SequenceStatistics
) -> SequenceScene:
    """Draw the actors, their movements and the camera of one sequence.

    Draws again where someone comes too near to the camera.
    """
    for _ in range(_MAX_ATTEMPTS):
        scene = _draw(rng, num_actors, num_frames, statistics)
        depths = [
            transform(T, actor.translations_60hz[frame])[2]
            for actor in scene.actors
            for frame, T in zip(scene.frame_ids, scene.T_camera_world, strict=True)
        ]
        if min(depths) > _MIN_DEPTH_M:
            return scene
    raise RuntimeError(f"no sequence with room between camera and actors in {_MAX_ATTEMPTS} attempts")


def _draw(rng: np.random.Generator, num_actors: int, num_frames: int, statistics: SequenceStatistics) -> SequenceScene:
    size_wh = _SIZES_WH[rng.choice(len(_SIZES_WH), p=_SIZE_SHARES)]
    height = size_wh[1]
    focal = _FOCAL_OVER_LONG_SIDE * max(size_wh) * rng.uniform(0.93, 1.07)
    intrinsics = intrinsics_of(focal, size_wh)
    low, high = np.array(statistics.height_px) * min(height / 360, 1.35)
    height_px = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    distance = focal * _NOMINAL_STATURE_M / height_px

    frame_ids = 2 * np.arange(num_frames)
    azimuth = rng.uniform(-np.pi, np.pi)
    first = _actor(rng, 2 * num_frames - 1, azimuth + sample_heading(rng, CropStatistics()))
    actors = [first]
    if num_actors > 1:
        actors.append(_second_actor(rng, first, azimuth, distance, statistics))

    roots = first.translations_60hz[frame_ids] + _root_offset(first)
    T_camera_world = handheld_track(
        rng,
        roots + _aim(rng, statistics, azimuth, distance, focal, size_wh, height_px),
        azimuth,
        distance,
        height=rng.uniform(1.2, 1.9),
        frame_rate=IMAGE_RATE,
    )
    lost_camera = np.zeros(num_frames, dtype=bool)
    if rng.random() < statistics.lost_camera_share:
        start = rng.integers(num_frames)
        lost_camera[start : start + rng.integers(1, max(num_frames // 10, 1) + 1)] = True
    occluded = rng.random() < statistics.occluder_share
    occluder_frame = int(rng.integers(num_frames)) if occluded else None
    return SequenceScene(tuple(actors), frame_ids, T_camera_world, intrinsics, size_wh, occluder_frame, lost_camera)


def _root_offset(actor: Actor) -> Float[np.ndarray, "3"]:
    """Rest position of the root joint, which SMPL adds to the translation."""
    return np.asarray(rest_person(actor.gender, actor.betas).joints[0])


def _aim(
    rng: np.random.Generator,
    statistics: SequenceStatistics,
    azimuth: float,
    distance: float,
    focal: float,
    size_wh: tuple[int, int],
    height_px: float,
) -> Float[np.ndarray, "3"]:
    """Where the cameraman aims, relative to the first actor's pelvis, metres."""
    half_wh = np.array(size_wh) / 2 * distance / focal
    body_m = height_px * distance / focal
    across, up = rng.normal(0.0, 1.0, 2) * np.array(statistics.off_centre) * half_wh
    across = np.clip(across, -0.7 * half_wh[0], 0.7 * half_wh[0])
    # The whole body stays in view where it fits.
    room = max(half_wh[1] - 0.55 * body_m, 0.0)
    up = np.clip(up, -room, room)
    if rng.random() < statistics.cut_share:
        if rng.random() < 0.6:
            up = half_wh[1] - body_m * rng.uniform(0.15, 0.5)
        else:
            across = np.sign(across) * (half_wh[0] - body_m * rng.uniform(0.0, 0.2))
    return np.array([across * np.cos(azimuth), up, -across * np.sin(azimuth)])


def _actor(rng: np.random.Generator, num_frames: int, heading: float, activity: str | None = None) -> Actor:
    """Someone who does something about the origin; ``heading`` is the direction faced half-way through."""
    if activity is None:
        names = sorted(FREQUENCY)
        shares = np.array([FREQUENCY[name] for name in names])
        activity = names[rng.choice(len(names), p=shares / shares.sum())]
    motion = sample_motion(activity, num_frames, rng, fps=MOTION_RATE)
    middle = num_frames // 2
    turn = heading - heading_of(motion.poses[middle])
    poses = np.stack([turned(pose, turn) for pose in motion.poses])
    gender, betas = sample_gender(rng), sample_betas(rng)

    # The motion is made for the neutral body: take longer steps with longer legs, and set the feet on the ground.
    neutral, own = rest_person("neutral", np.zeros(10)), rest_person(gender, betas)
    legs = [person.joints[0, 1] - person.vertices[:, 1].min() for person in (neutral, own)]
    path = (motion.translation + neutral.joints[0]) * legs[1] / legs[0]
    cos, sin = np.cos(turn), np.sin(turn)
    path = path @ np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
    path[:, [0, 2]] -= path[middle, [0, 2]]
    translations = path - own.joints[0]
    lowest = [person.vertices[:, 1].min() for person in posed_people(gender, betas, poses[::4], translations[::4])]
    translations[:, 1] -= np.percentile(lowest, 10)
    return Actor(gender, betas, activity, poses, translations)


def _second_actor(
    rng: np.random.Generator, first: Actor, azimuth: float, distance: float, statistics: SequenceStatistics
) -> Actor:
    """Another actor: walking past between the camera and the first, or near the first."""
    num_frames = len(first.poses_60hz)
    side = rng.choice((-1.0, 1.0))
    to_camera = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    across = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    if rng.random() < statistics.passing_share and distance > 3.2:
        heading = azimuth + side * rng.uniform(0.35, 0.65) * np.pi
        actor = _actor(rng, num_frames, heading, "walk")
        offset = rng.uniform(0.7, min(0.4 * distance, 1.8)) * to_camera + rng.uniform(-0.4, 0.4) * across
    else:
        actor = _actor(rng, num_frames, azimuth + sample_heading(rng, CropStatistics()))
        offset = side * rng.uniform(0.7, 1.5) * across + rng.uniform(-0.5, 0.5) * to_camera
    return Actor(actor.gender, actor.betas, actor.activity, actor.poses_60hz, actor.translations_60hz + offset)
