"""One picture of the open world: people, a place, things in front, a camera and what the camera does to the picture.

`render_scene` draws it and says for each pixel whose body is seen there and how far away it is; `degrade` is the
camera's part (blur, noise, exposure); `visible_keypoints` is the depth test that decides which keypoints can be seen.
Everything random comes from the generator that is passed; the same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int16, Integer, UInt8
from numba import njit

from eval3dpw.drawing.rasteriser import bounding_window, rasterise, vertex_normals
from eval3dpw.openworld.people.appearance import Appearance, DressedBody, Light, dress, shade
from eval3dpw.openworld.places.cameras import PinholeCamera
from eval3dpw.openworld.places.solids import Solid
from eval3dpw.openworld.places.surroundings import Surroundings

SUPERSAMPLE = 2
"""Samples per pixel along each axis for people's outlines."""
_LARGE_PX = 250_000


@dataclass(frozen=True)
class Person:
    """A posed body in the camera's frame (metres), its topology, its T-posed template and its looks."""

    vertices_camera: Float[np.ndarray, "v 3"]
    faces: Integer[np.ndarray, "f 3"]
    template: Float[np.ndarray, "v 3"]
    appearance: Appearance


@dataclass(frozen=True)
class Setting:
    """Where people are."""

    place: Surroundings
    props: tuple[Solid, ...] = ()
    """Solids in the world's frame that hide people by depth."""


@dataclass(frozen=True)
class Degradation:
    """What the camera does to a picture.

    motion_px, motion_angle: length (pixels) and direction (radians) of the motion blur. defocus_px: standard deviation
    of a Gaussian blur. noise: standard deviation of the sensor's noise in display levels (of 255). exposure: factor on
    linear light. gamma: exponent on display values. cast: per-channel factors on linear light.
    """

    motion_px: float = 0.0
    motion_angle: float = 0.0
    defocus_px: float = 0.0
    noise: float = 0.0
    exposure: float = 1.0
    gamma: float = 1.0
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @staticmethod
    def sample(rng: np.random.Generator, strength: float = 1.0) -> Degradation:
        """Draw a moderate degradation; blur and noise grow with `strength` (0: only exposure, gamma and cast)."""
        blurred = rng.random() < 0.3
        cast = np.exp(rng.normal(0.0, 0.06, 3))
        return Degradation(
            motion_px=float(blurred * strength * rng.gamma(2.0, 1.5)),
            motion_angle=float(rng.uniform(0.0, np.pi)),
            defocus_px=float(strength * rng.gamma(1.2, 0.45)),
            noise=float(strength * rng.gamma(1.5, 2.2)),
            exposure=float(np.exp(rng.normal(0.0, 0.28))),
            gamma=float(np.exp(rng.normal(0.0, 0.12))),
            cast=(float(cast[0]), float(cast[1]), float(cast[2])),
        )


@dataclass(frozen=True)
class RenderedScene:
    """A rendered picture and its exact labels.

    rgb: (h, w, 3) display colours. person_index: (h, w) the person who covers most of the pixel (the nearer of two
    who cover as much), where people cover at least half of it; -1 elsewhere. depth: (h, w) z in metres of people and
    props, inf where only surroundings are seen (surroundings never hide anybody). visible_area_px, full_area_px: (n,)
    each person's area inside the frame as seen and as it were with nothing in front, in pixels, over all samples.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    person_index: Int16[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    visible_area_px: Float[np.ndarray, " n"]
    full_area_px: Float[np.ndarray, " n"]


def render_scene(
    people: Sequence[Person],
    setting: Setting,
    camera: PinholeCamera,
    rng: np.random.Generator,
    degradation: Degradation | None = None,
) -> RenderedScene:
    """Draw people and props before a place.

    Args:
        people: in the camera's frame.
        setting: where they are, and what hides them.
        camera: that sees them.
        rng: used for the sensor's noise alone.
        degradation: what the camera does to the picture; nothing by default.
    """
    intrinsics, T_camera_world = camera.intrinsics, camera.T_camera_world
    height, width = camera.size_hw
    rgb, place_depth = _place(setting.place, camera)
    light = setting.place.light(T_camera_world)
    for person in people:
        _cast_shadow(person, setting.place, intrinsics, T_camera_world, place_depth, rgb)
    prop_depth = np.full((height, width), np.inf, dtype=np.float32)
    setting.place.draw(setting.props, intrinsics, T_camera_world, rgb, prop_depth)

    s = SUPERSAMPLE
    fine_depth = np.full((height * s, width * s), np.inf, dtype=np.float32)
    fine_index = np.full((height * s, width * s), -1, dtype=np.int16)
    fine_rgb = np.empty((height * s, width * s, 3), dtype=np.float32)
    fine_intrinsics = supersampled_intrinsics(intrinsics, s)
    full_area = np.zeros(len(people))
    for index, person in enumerate(people):
        full_area[index] = _draw_person(person, index, light, fine_intrinsics, fine_depth, fine_index, fine_rgb)
    person_index, depth, visible_area = _resolve(fine_depth, fine_index, fine_rgb, prop_depth, rgb, s, len(people))
    return RenderedScene(
        rgb=degrade(rgb, degradation or Degradation(), rng),
        person_index=person_index,
        depth=depth,
        visible_area_px=visible_area,
        full_area_px=full_area / (s * s),
    )


def full_mask_area(person: Person, intrinsics: Float[np.ndarray, "3 3"], size_hw: tuple[int, int]) -> float:
    """Pixels inside the frame that a person, dressed, would cover with nothing in front."""
    size_fine = (size_hw[0] * SUPERSAMPLE, size_hw[1] * SUPERSAMPLE)
    vertices = _dressed(person).vertices
    raster = rasterise(vertices, person.faces, supersampled_intrinsics(intrinsics, SUPERSAMPLE), size_fine)
    return float((raster.face >= 0).sum()) / SUPERSAMPLE**2


def visible_keypoints(
    points_camera: Float[np.ndarray, "k 3"],
    depth: Float[np.ndarray, "h w"],
    intrinsics: Float[np.ndarray, "3 3"],
    tolerance_m: float = 0.15,
) -> Bool[np.ndarray, " k"]:
    """Which points lie inside the frame and at most `tolerance_m` behind the surface seen at their pixel.

    points_camera: metres, camera frame. A joint lies inside the body, hence the tolerance; where nothing is drawn
    (depth inf) a point in the frame counts as visible.
    """
    height, width = depth.shape
    points = np.asarray(points_camera, dtype=np.float64)
    ahead = points[:, 2] > 1e-6
    z = np.where(ahead, points[:, 2], 1.0)
    pixels = (points @ np.asarray(intrinsics, dtype=np.float64).T)[:, :2] / z[:, None]
    column, row = np.rint(pixels[:, 0]), np.rint(pixels[:, 1])
    inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    surface = depth[np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)]
    return np.asarray(inside & (points[:, 2] - tolerance_m <= surface))


def degrade(
    linear_rgb: Float[np.ndarray, "h w 3"], degradation: Degradation, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Expose a picture in linear light: blur, exposure, cast, display curve (2.2), gamma, noise, 8 bits."""
    image: Any = np.ascontiguousarray(linear_rgb, dtype=np.float32)
    if degradation.defocus_px > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), degradation.defocus_px)
    if degradation.motion_px > 1.0:
        image = cv2.filter2D(image, -1, _motion_kernel(degradation.motion_px, degradation.motion_angle))
    gain = degradation.exposure * np.asarray(degradation.cast)
    noise = (
        rng.standard_normal(image.shape, dtype=np.float32)
        if degradation.noise > 0.0
        else np.zeros((1, 1, 3), np.float32)
    )
    # Indexed by the square root of linear light, which spends the steps where the eye does.
    curve = (255.0 * np.linspace(0.0, 1.0, 4096) ** (2.0 * degradation.gamma / 2.2)).astype(np.float32)
    return np.asarray(_expose(image, gain, curve, noise, degradation.noise))


def supersampled_intrinsics(intrinsics: Float[np.ndarray, "3 3"], supersample: float | int) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of the picture with `supersample` times as many pixels each way; pixels' corners coincide."""
    shift = 0.5 * (supersample - 1)
    scale = np.asarray(((supersample, 0.0, shift), (0.0, supersample, shift), (0.0, 0.0, 1.0)))
    return scale @ np.asarray(intrinsics, dtype=np.float64)


def _place(place: Surroundings, camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth of the place; in large pictures drawn at one pixel in two each way, and enlarged."""
    height, width = camera.size_hw
    if height * width <= _LARGE_PX:
        return place.render(camera.intrinsics, camera.T_camera_world, camera.size_hw)
    coarse = -(-height // 2), -(-width // 2)
    rgb, depth = place.render(supersampled_intrinsics(camera.intrinsics, 0.5), camera.T_camera_world, coarse)
    full = coarse[1] * 2, coarse[0] * 2
    rgb, depth = cv2.resize(rgb, full), cv2.resize(depth, full, interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(rgb[:height, :width]), np.ascontiguousarray(depth[:height, :width])


def _dressed(person: Person) -> DressedBody:
    normals = vertex_normals(person.vertices_camera, person.faces)
    vertices = dress(person.vertices_camera, normals, person.template, person.appearance)
    return DressedBody(vertices, normals, person.faces, person.template, person.appearance)


def _draw_person(person: Person, index: int, light: Light, intrinsics: Any, depth: Any, owner: Any, rgb: Any) -> int:
    """Draw one person into the fine buffers; the number of samples it would cover with nothing in front."""
    body = _dressed(person)
    x0, y0, x1, y1 = bounding_window(body.vertices, intrinsics, depth.shape)
    if x1 <= x0 or y1 <= y0:
        return 0
    shifted = intrinsics.copy()
    shifted[0, 2] -= x0
    shifted[1, 2] -= y0
    raster = rasterise(body.vertices, person.faces, shifted, (y1 - y0, x1 - x0))
    distance = max(float(np.median(person.vertices_camera[:, 2])), 0.1)
    colour = shade(raster, body, light, 0.07 * float(intrinsics[0, 0]) / distance)
    window = (slice(y0, y1), slice(x0, x1))
    _merge(raster.depth, raster.face, colour, index, depth[window], owner[window], rgb[window])
    return int((raster.face >= 0).sum())


def _cast_shadow(
    person: Person, surroundings: Surroundings, intrinsics: Any, T_camera_world: Any, place_depth: Any, rgb: Any
) -> None:
    """Darken the ground where the person stands between it and the sun."""
    rotation = np.asarray(T_camera_world, dtype=np.float64)[:3, :3]
    offset = np.asarray(T_camera_world, dtype=np.float64)[:3, 3]
    world = (np.asarray(person.vertices_camera, dtype=np.float64) - offset) @ rotation
    to_sun = np.asarray(surroundings.world_light.to_sun)
    flat = world - world[:, 1:2] / to_sun[1] * to_sun
    shadow = rasterise(flat @ rotation.T + offset, person.faces, intrinsics, place_depth.shape)
    drawn = np.where(shadow.face >= 0, shadow.depth, -1.0)
    on_ground = (drawn > 0.98 * place_depth) & (drawn < 1.02 * place_depth)
    light = surroundings.world_light
    sky, sun = np.asarray(light.sky), np.asarray(light.sun) * to_sun[1]
    rgb[on_ground] *= (0.8 * sky / (sky + sun)).astype(np.float32)


def _motion_kernel(length_px: float, angle: float) -> Any:
    """A normalised line of the given length and direction."""
    half = int(np.ceil(0.5 * length_px))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    for along in np.linspace(-0.5 * length_px, 0.5 * length_px, 8 * half + 1):
        x, y = half + along * np.cos(angle), half + along * np.sin(angle)
        i, j = min(int(np.floor(y)), 2 * half - 1), min(int(np.floor(x)), 2 * half - 1)
        v, u = y - i, x - j
        kernel[i, j] += (1 - v) * (1 - u)
        kernel[i, j + 1] += (1 - v) * u
        kernel[i + 1, j] += v * (1 - u)
        kernel[i + 1, j + 1] += v * u
    return kernel / kernel.sum()


@njit(cache=True, error_model="numpy")
@no_type_check
def _merge(depth: Any, face: Any, colour: Any, index: int, all_depth: Any, owner: Any, rgb: Any) -> None:
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            if face[y, x] >= 0 and depth[y, x] < all_depth[y, x]:
                all_depth[y, x] = depth[y, x]
                owner[y, x] = index
                for channel in range(3):
                    rgb[y, x, channel] = colour[y, x, channel]


@njit(cache=True, error_model="numpy")
@no_type_check
def _resolve(  # noqa: C901 - compiled by numba in one pass over the pixels
    fine_depth: Any, owner: Any, fine_rgb: Any, prop_depth: Any, rgb: Any, s: int, count: int
) -> Any:
    """Average people's samples over the background `rgb` (in place); index and depth per pixel, areas per person."""
    height, width = prop_depth.shape
    index = np.full((height, width), -1, dtype=np.int16)
    depth = prop_depth.copy()
    area = np.zeros(count)
    votes = np.zeros(count + 1, dtype=np.int64)
    total = np.zeros(3)
    for y in range(height):
        for x in range(width):
            covered = 0
            for j in range(s):
                for i in range(s):
                    if owner[y * s + j, x * s + i] >= 0 and fine_depth[y * s + j, x * s + i] < prop_depth[y, x]:
                        covered += 1
            if covered == 0:
                continue
            votes[:] = 0
            total[:] = 0.0
            for j in range(s):
                for i in range(s):
                    who = owner[y * s + j, x * s + i]
                    if who >= 0 and fine_depth[y * s + j, x * s + i] < prop_depth[y, x]:
                        votes[who] += 1
                        area[who] += 1.0
                        for channel in range(3):
                            total[channel] += fine_rgb[y * s + j, x * s + i, channel]
            share = covered / (s * s)
            for channel in range(3):
                rgb[y, x, channel] = rgb[y, x, channel] * (1.0 - share) + total[channel] / (s * s)
            if 2 * covered >= s * s:
                # The person with most samples, the nearer one where two have as many.
                best, nearest = -1, np.inf
                for who in range(count):
                    if votes[who] == 0 or (best >= 0 and votes[who] < votes[best]):
                        continue
                    z = np.inf
                    for j in range(s):
                        for i in range(s):
                            if owner[y * s + j, x * s + i] == who:
                                z = min(z, fine_depth[y * s + j, x * s + i])
                    if best < 0 or votes[who] > votes[best] or z < nearest:
                        best, nearest = who, z
                index[y, x] = best
                depth[y, x] = min(depth[y, x], nearest)
    return index, depth, area / (s * s)


@njit(cache=True, error_model="numpy")
@no_type_check
def _expose(image: Any, gain: Any, curve: Any, noise: Any, level: float) -> Any:
    height, width = image.shape[:2]
    shown = np.empty((height, width, 3), dtype=np.uint8)
    noisy = noise.shape[0] == height and level > 0.0
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                linear = image[y, x, channel] * gain[channel]
                value = curve[int(np.sqrt(min(max(linear, 0.0), 1.0)) * 4095.0 + 0.5)]
                if noisy:
                    value += level * noise[y, x, channel]
                shown[y, x, channel] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
    return shown
