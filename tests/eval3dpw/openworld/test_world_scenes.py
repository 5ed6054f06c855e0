"""What stands before the open world's cameras: sizes, headings, feet on the ground, a clear view."""

from __future__ import annotations

import numpy as np
import pytest

from eval3dpw.openworld.people.motion import sample_pose
from eval3dpw.openworld.people.people import (
    camera_frame_smpl,
    heading_of,
    posed_people,
    sample_betas,
    standing_person,
    turned,
)
from eval3dpw.openworld.places.cameras import look_at, project, transform
from eval3dpw.openworld.places.crop_scenes import CropStatistics, sample_heading, sample_scene
from eval3dpw.openworld.places.intersections import BOX, WALL
from eval3dpw.openworld.places.materials import PLAIN, Surface
from eval3dpw.openworld.places.sequence_scenes import SequenceStatistics, sample_sequence
from eval3dpw.openworld.places.solids import Solid
from eval3dpw.openworld.places.surroundings import Surroundings
from eval3dpw.openworld.world.pictures import with_clear_view


def test_a_standing_person_is_on_the_ground_and_faces_the_heading() -> None:
    rng = np.random.default_rng(0)
    for heading in (-2.5, 0.0, 1.0):
        person = standing_person(rng, sample_pose(rng), heading)
        assert person.vertices[:, 1].min() == pytest.approx(0.0, abs=1e-6)
        np.testing.assert_allclose(person.joints[0, [0, 2]], 0.0, atol=1e-6)
        assert np.cos(heading_of(person.pose) - heading) == pytest.approx(1.0, abs=1e-6)


def test_turning_a_pose_turns_the_body_about_the_vertical() -> None:
    pose = sample_pose(np.random.default_rng(1))
    before, after = (
        posed_people("male", np.zeros(10), p[None], np.zeros((1, 3)))[0].joints for p in (pose, turned(pose, 0.7))
    )
    cos, sin = np.cos(0.7), np.sin(0.7)
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    np.testing.assert_allclose(after - after[0], (before - before[0]) @ rotation.T, atol=1e-5)


def test_camera_frame_parameters_give_the_same_body_seen_from_the_camera() -> None:
    rng = np.random.default_rng(2)
    person = standing_person(rng, sample_pose(rng), 0.3)
    T_camera_world = look_at(np.array([1.0, 1.7, 4.0]), np.array([0.0, 0.9, 0.0]), roll=0.1)
    pose, translation = camera_frame_smpl(person, T_camera_world)
    seen = posed_people(person.gender, person.betas, pose[None], translation[None])[0]
    np.testing.assert_allclose(seen.vertices, transform(T_camera_world, person.vertices), atol=1e-5)


def test_shapes_are_standard_normal_and_cut() -> None:
    rng = np.random.default_rng(3)
    betas = np.stack([sample_betas(rng) for _ in range(2000)])
    assert np.abs(betas).max() <= 2.5
    assert betas.std() == pytest.approx(0.98, abs=0.02)


def test_headings_have_the_shares_they_are_told() -> None:
    rng = np.random.default_rng(4)
    headings = np.array([sample_heading(rng, CropStatistics()) for _ in range(5000)])
    away = np.abs(np.angle(np.exp(1j * headings)))
    any_angle = 0.25
    assert (away < np.deg2rad(60)).mean() == pytest.approx(0.6 + any_angle / 3, abs=0.03)
    assert (away > np.deg2rad(140)).mean() == pytest.approx(0.15 + any_angle * 40 / 180, abs=0.03)


def test_crop_scenes_stay_within_their_limits() -> None:
    rng = np.random.default_rng(5)
    cut = 0
    scenes = [sample_scene(rng, CropStatistics()) for _ in range(40)]
    for scene in scenes:
        width, height = scene.size_wh
        assert max(width, height) <= 640 and min(width, height) <= 480
        position = -scene.T_camera_world[:3, :3].T @ scene.T_camera_world[:3, 3]
        assert 0.29 < position[1] < 6.01
        points = transform(scene.T_camera_world, scene.people[0].vertices)
        assert (points[:, 2] > 0.5).all()
        pixels = project(points, scene.intrinsics)
        assert 15 < np.ptp(pixels[:, 1]) < 600
        inside = ((pixels > -0.5) & (pixels < np.array(scene.size_wh) - 0.5)).all(axis=1).mean()
        assert inside > 0.2
        cut += inside < 0.97
    assert 2 <= cut <= 18
    assert 2 <= sum(len(scene.people) > 1 for scene in scenes) <= 24


@pytest.mark.parametrize("num_actors", [1, 2])
def test_actors_of_a_sequence_stay_on_the_ground_and_before_the_camera(num_actors: int) -> None:
    rng = np.random.default_rng(6)
    scene = sample_sequence(rng, num_actors, 20, SequenceStatistics())
    assert len(scene.actors) == num_actors
    assert len(scene.frame_ids) == len(scene.T_camera_world) == len(scene.lost_camera) == 20
    for actor in scene.actors:
        assert len(actor.poses_60hz) == scene.frame_ids[-1] + 1
        people = posed_people(
            actor.gender, actor.betas, actor.poses_60hz[scene.frame_ids], actor.translations_60hz[scene.frame_ids]
        )
        lowest = np.array([person.vertices[:, 1].min() for person in people])
        assert lowest.min() > -0.1
        assert abs(np.percentile(lowest, 10)) < 0.05
        steps = np.diff([person.joints[0] for person in people], axis=0)
        assert np.linalg.norm(steps, axis=1).max() < 0.3  # nobody moves faster than 9 m/s
        for person, T_camera_world in zip(people, scene.T_camera_world, strict=True):
            assert transform(T_camera_world, person.joints[0])[2] > 1.4


def test_sequences_are_the_same_for_the_same_generator_state() -> None:
    first, second = (sample_sequence(np.random.default_rng(7), 2, 8, SequenceStatistics()) for _ in range(2))
    np.testing.assert_array_equal(first.T_camera_world, second.T_camera_world)
    np.testing.assert_array_equal(first.actors[1].poses_60hz, second.actors[1].poses_60hz)


def test_what_stands_between_camera_and_person_goes_and_the_rest_stays() -> None:
    def solid(shape: int, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Solid:
        grey = (0.5, 0.5, 0.5)
        return Solid(shape, centre, half, 0.0, Surface(PLAIN, grey, grey, 1.0), 0)

    between = solid(BOX, (0.2, 1.0, 4.0), (0.5, 1.0, 0.5))
    its_top = solid(BOX, (1.5, 2.5, 4.0), (0.2, 0.2, 0.2))
    behind = solid(BOX, (0.0, 3.0, -9.0), (3.0, 3.0, 3.0))
    beside = solid(BOX, (7.0, 1.0, 4.0), (0.5, 1.0, 0.5))
    wall = solid(WALL, (0.0, 1.5, 5.0), (4.0, 1.5, 0.05))
    place = Surroundings.sample(np.random.default_rng(8))
    object.__setattr__(place, "solids", (between, its_top, behind, beside, wall))
    cleared = with_clear_view(place, np.array([[0.0, 1.6, 8.0]]), np.zeros((1, 3)))
    assert cleared.solids == (behind, beside, wall)
