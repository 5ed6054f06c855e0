"""Pictures of people of the open world: clothes, place, things that stand before them, and the camera's faults.

`take_picture` makes a single picture; a `SequenceStage` keeps clothes, place and things for the pictures of a sequence.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from eval3dpw.openworld.people.appearance import Appearance, sample_appearance
from eval3dpw.openworld.people.people import Person, body_of
from eval3dpw.openworld.places import scene as rendering
from eval3dpw.openworld.places.cameras import PinholeCamera, project, transform
from eval3dpw.openworld.places.intersections import WALL
from eval3dpw.openworld.places.sequence_scenes import SequenceScene
from eval3dpw.openworld.places.solids import Solid
from eval3dpw.openworld.places.surroundings import Surroundings
from eval3dpw.openworld.places.things import sample_prop
from fitting.bodies.body import Gender
from pose2d.skeletons import COCO17, OPENPOSE18, Skeleton

_JOINT_TOLERANCE_M = 0.15  # joints lie inside the body
_FACE_TOLERANCE_M = 0.05  # eyes, ears and nose lie on the skin, under at most some hair
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_PROP_SPREAD_M = 0.35


@dataclass(frozen=True)
class Picture:
    """One picture and what is seen in it.

    Attributes:
        image: RGB.
        masks: for each person the pixels in which that person is seen.
        visible: for each person which keypoints are in the frame and not hidden.
        seen_share: for each person the part of the body's pixels in the frame that nothing hides.
        jpeg_quality: to save it with.
    """

    image: UInt8[np.ndarray, "h w 3"]
    masks: tuple[Bool[np.ndarray, "h w"], ...]
    visible: tuple[Bool[np.ndarray, " k"], ...]
    seen_share: tuple[float, ...]
    jpeg_quality: int


def encode_jpeg(image: UInt8[np.ndarray, "h w 3"], quality: int) -> bytes:
    """JPEG bytes of an RGB image."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return data.tobytes()


def take_picture(
    rng: np.random.Generator,
    people: Sequence[Person],
    T_camera_world: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    size_wh: tuple[int, int],
    occluder: bool,
    height_px: float,
) -> Picture:
    """A picture of people in random clothes in a random place.

    Args:
        rng: decides clothes, place, degradation.
        people: the main person first.
        T_camera_world: the camera.
        intrinsics: of the picture.
        size_wh: of the picture, pixels.
        occluder: put something before the main person.
        height_px: of the main person; small people are blurred less.
    """
    looks = [sample_appearance(rng) for _ in people]
    ground = _ground_points(people)
    position = -T_camera_world[:3, :3].T @ T_camera_world[:3, 3]
    place = with_clear_view(Surroundings.sample(rng), position[None], ground)
    props = _prop_before(rng, ground[0], position) if occluder else ()
    strong = rng.random() < 0.08
    strength = rng.uniform(1.2, 2.2) if strong else rng.uniform(0.2, 0.9)
    degradation = rendering.Degradation.sample(rng, strength * min(1.0, float(np.sqrt(height_px / 160))))
    quality = int(rng.integers(50, 96))
    shot = _Shot(
        rendering.Setting(place, props),
        PinholeCamera(intrinsics, T_camera_world, size_wh),
        degradation,
        quality,
        COCO17,
    )
    return shot.take(rng, people, looks)


@dataclass(frozen=True)
class SequenceStage:
    """What stays the same through a sequence: clothes, place, things, the camera's faults."""

    scene: SequenceScene
    looks: tuple[Appearance, ...]
    place: Surroundings
    props: tuple[Solid, ...]
    degradation: rendering.Degradation
    shutter: float
    jpeg_quality: int

    @staticmethod
    def sample(rng: np.random.Generator, scene: SequenceScene, people: Sequence[Sequence[Person]]) -> SequenceStage:
        """Draw the stage for the actors' bodies (actor, image)."""
        positions = -np.einsum("nji,nj->ni", scene.T_camera_world[:, :3, :3], scene.T_camera_world[:, :3, 3])
        ground = np.concatenate([_ground_points(track) for track in people])
        place = with_clear_view(Surroundings.sample(rng), positions[::8], ground[::8])
        props: tuple[Solid, ...] = ()
        if scene.occluder_frame is not None:
            frame = scene.occluder_frame
            props = _prop_before(rng, _ground_points([people[0][frame]])[0], positions[frame])
        dim = rng.random() < 0.12
        strength = rng.uniform(1.0, 1.8) if dim else rng.uniform(0.2, 0.8)
        return SequenceStage(
            scene=scene,
            looks=tuple(sample_appearance(rng) for _ in people),
            place=place,
            props=props,
            degradation=replace(rendering.Degradation.sample(rng, strength), motion_px=0.0),
            shutter=rng.uniform(0.5, 1.0) if dim else rng.uniform(0.05, 0.5),
            jpeg_quality=int(rng.integers(65, 96)),
        )

    def take(self, rng: np.random.Generator, frame: int, people: Sequence[Person]) -> Picture:
        """The picture of one frame; it is blurred along the camera's movement at the first actor."""
        moved = self._camera_movement(frame, people[0].joints[0])
        degradation = replace(
            self.degradation,
            motion_px=float(self.shutter * np.linalg.norm(moved)),
            motion_angle=float(np.arctan2(moved[1], moved[0])),
        )
        camera = PinholeCamera(self.scene.intrinsics, self.scene.T_camera_world[frame], self.scene.size_wh)
        shot = _Shot(rendering.Setting(self.place, self.props), camera, degradation, self.jpeg_quality, OPENPOSE18)
        return shot.take(rng, people, self.looks)

    def _camera_movement(self, frame: int, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "2"]:
        """How far a resting point moves through the picture from this frame to the next, pixels."""
        cameras = self.scene.T_camera_world
        first = min(frame, max(len(cameras) - 2, 0))
        pair = np.stack([transform(T, point) for T in cameras[first : first + 2]])
        places = project(pair, self.scene.intrinsics)
        return np.asarray(places[-1] - places[0])

    def clothes_image(self, actor: int) -> UInt8[np.ndarray, "64 64 3"]:
        """A small picture of the colours that an actor wears: skin, top and bottom in stripes."""
        look = self.looks[actor]
        stripes = np.array([look.skin, look.top, look.bottom, look.shoes]) ** (1 / 2.2)
        return np.repeat(np.tile((255 * stripes).round().astype(np.uint8)[:, None], (1, 64, 1)), 16, axis=0)


@functools.cache
def _topology(gender: Gender) -> tuple[np.ndarray, np.ndarray]:
    body = body_of(gender)
    return body.faces, body.v_template.double().numpy()


@dataclass(frozen=True)
class _Shot:
    """All of a picture but the people in it."""

    setting: rendering.Setting
    camera: PinholeCamera
    degradation: rendering.Degradation
    jpeg_quality: int
    skeleton: Skeleton
    """Whose keypoints are looked for."""

    def take(self, rng: np.random.Generator, people: Sequence[Person], looks: Sequence[Appearance]) -> Picture:
        """The picture of some people in their clothes."""
        T_camera_world, intrinsics = self.camera.T_camera_world, self.camera.intrinsics
        bodies = [
            rendering.Person(transform(T_camera_world, person.vertices), *_topology(person.gender), look)
            for person, look in zip(people, looks, strict=True)
        ]
        rendered = rendering.render_scene(bodies, self.setting, self.camera, rng, self.degradation)
        points = [transform(T_camera_world, person.keypoints(self.skeleton)) for person in people]
        visible = tuple(
            _visible(rendered, number, of_person, intrinsics, self.skeleton) for number, of_person in enumerate(points)
        )
        masks = tuple(rendered.person_index == number for number in range(len(people)))
        shares = rendered.visible_area_px / np.maximum(rendered.full_area_px, 1.0)
        return Picture(rendered.rgb, masks, visible, tuple(shares.tolist()), self.jpeg_quality)


def _visible(
    rendered: rendering.RenderedScene,
    number: int,
    points: Float[np.ndarray, "k 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    skeleton: Skeleton,
) -> Bool[np.ndarray, " k"]:
    """Keypoints of one person that the depth test finds in sight and no other person's pixels cover."""
    visible = rendering.visible_keypoints(points, rendered.depth, intrinsics, _JOINT_TOLERANCE_M)
    face = skeleton.indices(_FACE)
    visible[face] &= rendering.visible_keypoints(points[face], rendered.depth, intrinsics, _FACE_TOLERANCE_M)
    columns, rows = np.rint(project(points, intrinsics)).T
    for keypoint in np.flatnonzero(visible):
        row, column = int(rows[keypoint]), int(columns[keypoint])
        if rendered.person_index[row, column] not in (-1, number):
            visible[keypoint] = points[keypoint, 2] < rendered.depth[row, column]
    return visible


def _ground_points(people: Sequence[Person]) -> Float[np.ndarray, "n 3"]:
    """Where people stand: below their pelvis."""
    return np.stack([person.joints[0] * (1.0, 0.0, 1.0) for person in people])


def _prop_before(
    rng: np.random.Generator, person: Float[np.ndarray, "3"], camera: Float[np.ndarray, "3"]
) -> tuple[Solid, ...]:
    """Something between a person and the camera, to one side of the line of sight; nothing where there is no room."""
    line = (camera - person) * (1.0, 0.0, 1.0)
    distance = float(np.linalg.norm(line))
    if distance < 2.4:
        return ()
    along = line / distance
    across = np.array([along[2], 0.0, -along[0]])
    nearer = rng.uniform(0.7, min(1.9, 0.55 * distance))
    place = person + nearer * along + rng.normal(0.0, _PROP_SPREAD_M) * across
    return sample_prop(rng, float(place[0]), float(place[2]))


def with_clear_view(
    place: Surroundings, cameras: Float[np.ndarray, "c 3"], people: Float[np.ndarray, "p 3"]
) -> Surroundings:
    """The place without the solids that stand between a camera and a person."""
    solids = place.solids
    if not solids:
        return place
    centres = np.array([solid.centre for solid in solids])
    halves = np.array([solid.half for solid in solids])
    radius = np.hypot(halves[:, 0], halves[:, 2])
    ceiling = (halves[:, 1] < 0.1) & (radius > 2.5)
    wall = np.array([solid.shape == WALL for solid in solids])
    blocking = np.zeros(len(solids), dtype=bool)
    for camera in cameras:
        for person in people:
            blocking |= _distance_to_segment(centres, camera, person) < radius + 0.9
    blocking &= ~ceiling & ~wall
    # A thing consists of several solids near one another: they go together.
    small = centres[blocking & (radius < 3.0)][:, [0, 2]]
    if len(small):
        gaps = np.linalg.norm(centres[:, None, [0, 2]] - small[None], axis=-1).min(axis=1)
        blocking |= (gaps < 2.0) & (radius < 3.0) & ~wall
    blocking |= ceiling & (centres[:, 1] < cameras[:, 1].max() + 0.2)
    return replace(place, solids=tuple(solid for solid, drop in zip(solids, blocking, strict=True) if not drop))


def _distance_to_segment(
    points: Float[np.ndarray, "n 3"], start: Float[np.ndarray, "3"], end: Float[np.ndarray, "3"]
) -> Float[np.ndarray, " n"]:
    """Horizontal distance of points to the line of sight between two points."""
    flat, a, b = points[:, [0, 2]], start[[0, 2]], end[[0, 2]]
    along = b - a
    part = np.clip((flat - a) @ along / max(float(along @ along), 1e-9), 0.0, 1.0)
    return np.asarray(np.linalg.norm(flat - a - part[:, None] * along, axis=1))
