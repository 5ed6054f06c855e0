"""What stands before the camera in one picture of the open world's crops, and which part of the view is kept.

A virtual photo of 640x480 or 480x640 pixels is taken of one to three people on a plane; the crop is a window of it
about the main person, cut by the image border for some. `CropStatistics` says how often each difficulty occurs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eval3dpw.openworld.people.motion import sample_pose
from eval3dpw.openworld.people.people import Person, standing_person
from eval3dpw.openworld.places.cameras import (
    focal_of_field,
    intrinsics_of,
    look_at,
    project,
    transform,
    turned_camera,
    window_intrinsics,
)

_DEGREE = np.pi / 180
_NOMINAL_STATURE_M = 1.7
_LONG_SIDE_PX, _SHORT_SIDE_PX = 640, 480


@dataclass(frozen=True)
class CropStatistics:
    """How the pictures are spread over sizes, views and difficulties; angles in degrees, sizes in pixels.

    Attributes:
        height_px: range of a standing person's height in the image, log-uniform.
        usual_height_px: narrower range that `usual_height_share` of the people are drawn from.
        facing_share, facing_deg: people who face the camera to within that angle.
        behind_share, behind_deg: people seen from behind to within that angle; the rest stand at any angle.
        camera_pitch_deg: range of the line of sight's inclination, positive downwards.
        camera_roll_deg: standard deviation.
        field_of_view_deg: range along the long side of the virtual photo.
        occluder_share: an object stands before a part of the main person.
        second_person_share: another person stands in front of the main person or beside.
        third_person_share: a person in the background.
        truncation_share, truncation_cut: the border cuts off that part of the main person's box.
        window_factor: window size over the main person's box.
        jump_share: the person is off the ground.
    """

    height_px: tuple[float, float] = (60.0, 400.0)
    usual_height_px: tuple[float, float] = (90.0, 300.0)
    usual_height_share: float = 0.8
    facing_share: float = 0.6
    facing_deg: float = 60.0
    behind_share: float = 0.15
    behind_deg: float = 40.0
    camera_pitch_deg: tuple[float, float] = (-5.0, 25.0)
    camera_roll_deg: float = 3.0
    field_of_view_deg: tuple[float, float] = (30.0, 70.0)
    occluder_share: float = 0.3
    second_person_share: float = 0.25
    third_person_share: float = 0.08
    truncation_share: float = 0.2
    truncation_cut: tuple[float, float] = (0.08, 0.45)
    window_factor: tuple[float, float] = (1.3, 2.2)
    jump_share: float = 0.03


@dataclass(frozen=True)
class CropScene:
    """People before a camera, and the window that is photographed.

    Attributes:
        people: the main person first.
        T_camera_world: world to camera.
        intrinsics: of the window.
        size_wh: of the window, pixels.
        occluder: whether an object is to be put before the main person.
        main_height_px: height of the main person's box, before any cut.
    """

    people: tuple[Person, ...]
    T_camera_world: Float[np.ndarray, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    size_wh: tuple[int, int]
    occluder: bool
    main_height_px: float


def sample_heading(rng: np.random.Generator, statistics: CropStatistics) -> float:
    """A person's heading relative to the direction towards the camera, radians."""
    kind = rng.random()
    if kind < statistics.facing_share:
        return rng.uniform(-1, 1) * statistics.facing_deg * _DEGREE
    if kind < statistics.facing_share + statistics.behind_share:
        return np.pi + rng.uniform(-1, 1) * statistics.behind_deg * _DEGREE
    return rng.uniform(-np.pi, np.pi)


def sample_scene(rng: np.random.Generator, statistics: CropStatistics) -> CropScene:
    """Draw the people, the camera and the window of one picture."""
    usual = rng.random() < statistics.usual_height_share
    low, high = statistics.usual_height_px if usual else statistics.height_px
    height_px = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    field = rng.uniform(*statistics.field_of_view_deg) * _DEGREE
    focal = focal_of_field(field, _LONG_SIDE_PX)
    distance = focal * _NOMINAL_STATURE_M / height_px
    portrait = rng.random() < 0.45
    photo_wh = (_SHORT_SIDE_PX, _LONG_SIDE_PX) if portrait else (_LONG_SIDE_PX, _SHORT_SIDE_PX)

    lift = rng.uniform(0.05, 0.4) if rng.random() < statistics.jump_share else 0.0
    main = standing_person(rng, sample_pose(rng), sample_heading(rng, statistics), lift)
    T_camera_world, intrinsics = _camera(rng, statistics, main, distance, focal, photo_wh)
    people = [main]
    if rng.random() < statistics.second_person_share:
        people.append(_companion(rng, statistics, distance))
    if rng.random() < statistics.third_person_share:
        offset = np.array([rng.uniform(-0.3, 0.3) * distance, 0.0, -rng.uniform(1.0, 0.5 * distance + 2.0)])
        people.append(standing_person(rng, sample_pose(rng), sample_heading(rng, statistics)).moved(offset))

    box = _projected_box(main, T_camera_world, intrinsics)
    left, top, width, height = _window(rng, statistics, box, photo_wh)
    return CropScene(
        people=tuple(people),
        T_camera_world=T_camera_world,
        intrinsics=window_intrinsics(intrinsics, left, top),
        size_wh=(width, height),
        occluder=bool(rng.random() < statistics.occluder_share),
        main_height_px=float(box[3] - box[1]),
    )


def _camera(
    rng: np.random.Generator,
    statistics: CropStatistics,
    main: Person,
    distance: float,
    focal: float,
    photo_wh: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """A camera in the direction +z of the main person, who is seen somewhere about the middle of the photo."""
    target = 0.5 * (main.vertices.min(axis=0) + main.vertices.max(axis=0))
    low, high = (angle * _DEGREE for angle in statistics.camera_pitch_deg)
    # Low inclinations are commoner than high ones; the camera stays above the ground and below a first floor's ceiling.
    pitch = low + (high - low) * rng.beta(1.2, 2.2)
    rise = np.clip(distance * np.sin(pitch), 0.3 - target[1], 6.0 - target[1])
    position = target + np.array([0.0, rise, np.sqrt(distance**2 - min(rise**2, 0.9 * distance**2))])
    roll = np.clip(rng.normal(0.0, statistics.camera_roll_deg), -12, 12) * _DEGREE
    intrinsics = intrinsics_of(focal, photo_wh)
    size = np.array(photo_wh, dtype=float)
    at_px = size / 2 + np.clip(rng.normal(0.0, 0.16, 2), -0.35, 0.35) * size
    return turned_camera(look_at(position, target, roll), intrinsics, target, at_px), intrinsics


def _companion(rng: np.random.Generator, statistics: CropStatistics, distance: float) -> Person:
    """A second person: half of them between the camera and the main person, to one side; half beside."""
    side = rng.choice((-1.0, 1.0))
    if rng.random() < 0.5 and distance > 2.0:
        offset = [side * rng.uniform(0.15, 0.6), 0.0, rng.uniform(0.5, min(0.35 * distance, 2.0) + 0.05)]
    else:
        offset = [side * rng.uniform(0.6, 1.2), 0.0, rng.uniform(-0.3, 0.3)]
    person = standing_person(rng, sample_pose(rng), sample_heading(rng, statistics))
    return person.moved(np.array(offset))


def _projected_box(person: Person, T_camera_world: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """(x0, y0, x1, y1) of a person's silhouette, whether inside the image or not."""
    points = project(transform(T_camera_world, person.vertices), intrinsics)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _window(
    rng: np.random.Generator, statistics: CropStatistics, box: np.ndarray, photo_wh: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the part of the photo that is kept."""
    box_wh = box[2:] - box[:2]
    factor = rng.uniform(*statistics.window_factor) * rng.uniform(0.9, 1.1, 2)
    least = np.array([max(0.55 * box_wh[1], 128.0), 128.0])
    size = np.clip(np.maximum(box_wh * factor, least), None, photo_wh).round().astype(int)
    slack = size - box_wh
    start = box[:2] - slack * rng.uniform(0.15, 0.85, 2)
    if rng.random() < statistics.truncation_share:
        cut = rng.uniform(*statistics.truncation_cut) * box_wh
        side = rng.choice(("bottom", "top", "left", "right"), p=(0.45, 0.1, 0.225, 0.225))
        if side == "bottom":
            start[1] = box[3] - cut[1] - size[1]
        elif side == "top":
            start[1] = box[1] + cut[1]
        elif side == "left":
            start[0] = box[0] + cut[0]
        else:
            start[0] = box[2] - cut[0] - size[0]
    left, top = np.round(start).astype(int)
    return int(left), int(top), int(size[0]), int(size[1])
