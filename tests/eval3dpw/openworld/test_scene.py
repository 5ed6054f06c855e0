"""Pictures of the open world: exact labels, occlusion, determinism, and what a sampled look promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from eval3dpw.openworld.people.appearance import Appearance, sample_appearance
from eval3dpw.openworld.people.appearance_painting import _colour
from eval3dpw.openworld.places.cameras import PinholeCamera
from eval3dpw.openworld.places.intersections import BOX, CYLINDER, ELLIPSOID
from eval3dpw.openworld.places.materials import PLAIN, Surface
from eval3dpw.openworld.places.scene import (
    Degradation,
    Person,
    Setting,
    degrade,
    full_mask_area,
    render_scene,
    visible_keypoints,
)
from eval3dpw.openworld.places.solids import Solid
from eval3dpw.openworld.places.surroundings import Surroundings
from eval3dpw.openworld.places.things import sample_prop
from fitting.bodies.body import load_body

SIZE_HW = (128, 96)
INTRINSICS = np.array([[190.0, 0.0, 47.5], [0.0, 190.0, 63.5], [0.0, 0.0, 1.0]])


def camera(distance_m: float = 3.5, height_m: float = 1.2) -> np.ndarray:
    """T_camera_world of a level camera on the z axis that looks along -z, at people who face +z."""
    transform = np.diag((1.0, -1.0, -1.0, 1.0))
    transform[:3, 3] = (0.0, height_m, distance_m)
    return transform


def view(T_camera_world: np.ndarray) -> PinholeCamera:
    return PinholeCamera(INTRINSICS, T_camera_world, (SIZE_HW[1], SIZE_HW[0]))


@pytest.fixture(scope="module")
def template() -> np.ndarray:
    return load_body().v_template.numpy().astype(np.float64)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.asarray(load_body().faces).astype(np.int32)


def standing(template: np.ndarray, faces: np.ndarray, x: float = 0.0, z: float = 0.0, seed: int = 3) -> Person:
    world = template - (0.0, template[:, 1].min(), 0.0) + (x, 0.0, z)
    transform = camera()
    vertices = world @ transform[:3, :3].T + transform[:3, 3]
    return Person(vertices, faces, template, sample_appearance(np.random.default_rng(seed)))


def place(seed: int = 0) -> Surroundings:
    return Surroundings.sample(np.random.default_rng(seed))


def box(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Solid:
    return Solid(BOX, centre, half, 0.0, Surface(PLAIN, (0.5, 0.1, 0.1), (0.5, 0.1, 0.1), 1.0), 0)


def test_same_seed_same_bytes(template: np.ndarray, faces: np.ndarray) -> None:
    def draw() -> bytes:
        rng = np.random.default_rng(11)
        person = standing(template, faces, seed=int(rng.integers(99)))
        setting = Setting(Surroundings.sample(rng), sample_prop(rng, 0.5, 1.5))
        scene = render_scene([person], setting, view(camera()), rng, Degradation.sample(rng))
        return scene.rgb.tobytes() + scene.depth.tobytes() + scene.person_index.tobytes()

    assert draw() == draw()


def test_areas_and_index_of_one_unhidden_person_agree(template: np.ndarray, faces: np.ndarray) -> None:
    person = standing(template, faces)
    scene = render_scene([person], Setting(place()), view(camera()), np.random.default_rng(0))
    assert scene.visible_area_px[0] == scene.full_area_px[0] == full_mask_area(person, INTRINSICS, SIZE_HW)
    assert (scene.person_index == 0).sum() == pytest.approx(scene.visible_area_px[0], rel=0.06)
    assert np.isfinite(scene.depth[scene.person_index == 0]).all()
    assert np.isinf(scene.depth[scene.person_index == -1]).all()


def test_a_wall_in_front_hides_and_the_nearer_person_wins(template: np.ndarray, faces: np.ndarray) -> None:
    near, far = standing(template, faces, z=0.8), standing(template, faces, x=0.15, seed=8)
    both = render_scene([far, near], Setting(place()), view(camera()), np.random.default_rng(0))
    alone = render_scene([near], Setting(place()), view(camera()), np.random.default_rng(0))
    # Where two bodies share a pixel on the outline it may be the nearer one's, though alone it would be the place's.
    outline = ndimage.binary_dilation(alone.person_index == 0) & (alone.person_index == -1)
    np.testing.assert_array_equal((both.person_index == 1)[~outline], (alone.person_index == 0)[~outline])
    assert both.visible_area_px[0] < both.full_area_px[0]
    assert both.visible_area_px[1] == both.full_area_px[1]

    wall = (box((0.0, 0.5, 1.5), (2.0, 0.5, 0.05)),)
    hidden = render_scene([far], Setting(place(), wall), view(camera()), np.random.default_rng(0))
    # The wall's upper edge, 1 m high and 1.95 m away, projects to this row; nothing of the person shows below it.
    edge = 63.5 + 190.0 * (1.2 - 1.0) / 1.95
    assert not (hidden.person_index[int(edge) + 2 :] == 0).any()
    assert (hidden.person_index[: int(edge)] == 0).any()
    np.testing.assert_allclose(hidden.depth[int(edge) + 8, 10], 1.95, rtol=1e-4)


def test_keypoints_are_visible_unless_hidden_or_outside(template: np.ndarray, faces: np.ndarray) -> None:
    person = standing(template, faces)
    chest = np.array([0.0, 1.35, 0.05])
    knee = np.array([0.13, 0.5, 0.03])
    wrist_far_right = np.array([5.0, 1.3, 0.0])
    behind_the_back = np.array([0.0, 1.3, -0.9])
    transform = camera()
    points = np.stack((chest, knee, wrist_far_right, behind_the_back)) @ transform[:3, :3].T + transform[:3, 3]
    open_view = render_scene([person], Setting(place()), view(transform), np.random.default_rng(0))
    assert visible_keypoints(points, open_view.depth, INTRINSICS).tolist() == [True, True, False, False]
    wall = (box((0.0, 0.4, 1.5), (2.0, 0.4, 0.05)),)
    walled = render_scene([person], Setting(place(), wall), view(transform), np.random.default_rng(0))
    assert visible_keypoints(points, walled.depth, INTRINSICS).tolist() == [True, False, False, False]
    assert not visible_keypoints(-points, open_view.depth, INTRINSICS).any()


def test_the_place_is_fixed_to_the_world() -> None:
    """A pure rotation of the camera moves the picture by the rotation's homography."""
    surroundings = place(4)
    turn = np.deg2rad(4.0)
    rotation = np.eye(4)
    rotation[:3, :3] = ((np.cos(turn), 0.0, np.sin(turn)), (0.0, 1.0, 0.0), (-np.sin(turn), 0.0, np.cos(turn)))
    first, _ = surroundings.render(INTRINSICS, camera(), SIZE_HW)
    second, _ = surroundings.render(INTRINSICS, rotation @ camera(), SIZE_HW)
    homography = INTRINSICS @ rotation[:3, :3] @ np.linalg.inv(INTRINSICS)
    row, column = np.meshgrid(np.arange(20, 108), np.arange(24, 72), indexing="ij")
    moved = np.stack((column, row, np.ones_like(row)), -1) @ homography.T
    x, y = moved[..., 0] / moved[..., 2], moved[..., 1] / moved[..., 2]
    warped = ndimage.map_coordinates(second[..., 1], (y, x), order=1)
    still = np.abs(second[20:108, 24:72, 1] - first[20:108, 24:72, 1]).mean()
    assert np.abs(warped - first[20:108, 24:72, 1]).mean() < 0.35 * still


def test_ground_has_the_depth_of_the_plane() -> None:
    bare = dataclasses.replace(place(1), solids=())
    _, depth = bare.render(INTRINSICS, camera(height_m=1.2), SIZE_HW)
    row = np.arange(70, 128)
    np.testing.assert_allclose(depth[70:, 40], 1.2 * 190.0 / (row - 63.5), rtol=1e-5)


@pytest.mark.parametrize("shape", [BOX, CYLINDER, ELLIPSOID])
def test_solids_have_their_front_where_it_is(shape: int) -> None:
    solid = dataclasses.replace(box((0.0, 1.2, 0.0), (0.5, 0.6, 0.4)), shape=shape)
    rgb, depth = np.zeros((*SIZE_HW, 3), np.float32), np.full(SIZE_HW, np.inf, np.float32)
    centred = INTRINSICS - ((0, 0, 0.5), (0, 0, 0.5), (0, 0, 0))
    place().draw((solid,), centred, camera(), rgb, depth)
    assert depth[63, 47] == pytest.approx(3.5 - 0.4, rel=1e-5)
    shown = np.isfinite(depth)
    assert (rgb[shown] > 0.0).any(axis=-1).all()
    # An ellipsoid's outline is where rays touch it; the others end at the edge of their front.
    half_height = 190.0 * 0.6 / (np.sqrt(3.5**2 - 0.4**2) if shape == ELLIPSOID else 3.1)
    assert shown[:, 47].sum() == pytest.approx(2 * half_height, abs=2)


def mirrored(look: Appearance) -> Appearance:
    return look._replace(logo_x=-look.logo_x)


def test_nothing_tells_left_from_right_by_colour(template: np.ndarray) -> None:
    """Apart from a logo, a number and noise, which fall on either side, a look is symmetric."""
    points = template[::97]
    for seed in range(15):
        look = sample_appearance(np.random.default_rng(seed))
        plain = look._replace(logo=0, back_number=0, top_pattern=0, bottom_pattern=0, hair_kind=0)
        for x, y, z in points:
            np.testing.assert_allclose(_colour(x, y, z, plain), _colour(-x, y, z, plain), rtol=1e-9)
    sides = [np.sign(sample_appearance(np.random.default_rng(seed)).logo_x) for seed in range(200)]
    assert 70 < sides.count(1.0) < 130


def test_face_and_back_of_the_head_differ(template: np.ndarray) -> None:
    """At 20 pixels a head, the mean colour of the face differs from that of the back of the head for most people."""
    head = template[(template[:, 1] > 0.33)]
    contrast = []
    for seed in range(40):
        look = sample_appearance(np.random.default_rng(seed))
        front = np.mean([_colour(x, y, z, look) for x, y, z in head[head[:, 2] > 0.13][::23]], axis=0)
        back = np.mean([_colour(x, y, z, look) for x, y, z in head[head[:, 2] < 0.05][::23]], axis=0)
        contrast.append(np.abs(front ** (1 / 2.2) - back ** (1 / 2.2)).max())
    assert np.median(contrast) > 0.12


def test_blur_keeps_light_and_noise_has_its_level() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((64, 64, 3), 0.2, np.float32)
    level = 255.0 * 0.2 ** (1.0 / 2.2)
    clean = degrade(flat, Degradation(), rng)
    assert np.abs(clean - level).max() <= 1.0
    blurred = degrade(flat, Degradation(motion_px=7.0, motion_angle=0.4, defocus_px=1.5), rng)
    assert np.abs(blurred.astype(int) - clean.astype(int)).max() <= 1
    noisy = degrade(flat, Degradation(noise=6.0), rng).astype(float)
    assert noisy.std() == pytest.approx(6.0, rel=0.05)
    step = np.zeros((32, 32, 3), np.float32)
    step[:, 16:] = 1.0
    assert degrade(step, Degradation(motion_px=9.0, motion_angle=0.0), rng)[16, 14, 0] > 30
    assert degrade(step, Degradation(motion_px=9.0, motion_angle=np.pi / 2), rng)[16, 14, 0] < 5
