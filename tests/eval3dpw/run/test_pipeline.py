"""What is observed of a sequence's actors goes to each actor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from eval3dpw.dataset.boxes import track_boxes
from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.dataset.sequences import Track
from eval3dpw.judging.protocols import find_protocol
from eval3dpw.run.pipeline import Observations, Stages, observe, read_fittable
from eval3dpw.run.stage_networks import load_2d_stage
from fitting.bodies.body import load_body
from fitting.evidence import KeypointEvidence
from fitting.methods.catalogue import METHODS
from fitting.regressor.model import load_regressor
from pose2d.networks.options import NetworkOptions

FRAMES = 4
DIFFERENT = ("xy_px", "boxes_xywh", "raw_score", "confidence", "rotations", "translation", "crops")
"""What differs between actors even with networks of random weights."""


@pytest.fixture
def two_actors(tmp_path: Path, make_sequence: Callable, write_sequence: Callable) -> list[Track]:
    """Two persons in the same frames of noise, one in the left third of the images and one in the right."""
    data = make_sequence("two", frames=FRAMES, actors=2)
    rng = np.random.default_rng(1)
    for keypoints, left in zip(data["poses2d"], (4, 44), strict=True):
        keypoints[:, 0] = rng.uniform(left, left + 16, keypoints[:, 0].shape)
    write_sequence(tmp_path, data)
    for frame in range(FRAMES):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "imageFiles" / "two" / f"image_{frame:05d}.jpg"), image)
    dataset = open_dataset(tmp_path)
    return read_fittable(dataset, dataset.find("test")[0], find_protocol("camerahmr"), None)


@pytest.fixture
def stages(random_networks: dict[str, Path]) -> Stages:
    """Networks of random weights with every calibration, for the method that keeps its crops."""
    network, calibrators, _ = load_2d_stage(
        NetworkOptions(checkpoint=random_networks["pose"]), random_networks["ccnet"], ["ccnet", "rescored"]
    )
    assert METHODS["network"].moves_regressor
    return Stages(
        find_body=lambda gender: load_body(None, gender),
        pose_network=network,
        calibrators=calibrators,
        initial=load_regressor(random_networks["regressor"]),
        method="network",
        decode_threads=0,
    )


def arrays_of(seen: Observations) -> dict[str, np.ndarray]:
    """Everything that was observed of a track, by name, a row a frame."""
    crops = seen.crops
    assert crops is not None
    found = {field.name: getattr(seen.evidence, field.name) for field in fields(KeypointEvidence)}
    found |= {name: getattr(seen.initial, name) for name in ("rotations", "betas", "translation")}
    found |= {"xy_px": seen.poses.xy_px, "boxes_xywh": seen.poses.boxes_xywh, "crops": crops.images.astype(float)}
    found |= {"crop_centers": crops.centers_px}
    return {name: values for name, values in found.items() if values is not None}


def test_each_actor_gets_its_own_keypoints_scores_and_body(two_actors: list[Track], stages: Stages) -> None:
    """Images are opened in the order of frames, both actors' at once: all must be put back in the order of actors."""
    together = observe(two_actors, stages, oracle=True)
    for track, seen in zip(two_actors, together, strict=True):
        np.testing.assert_array_equal(seen.poses.boxes_xywh, track_boxes(track))
        middle_px = seen.poses.boxes_xywh[:, 0] + seen.poses.boxes_xywh[:, 2] / 2
        # Keypoints lie in the crop that they were found in, which is centred on the person.
        assert (np.abs(seen.poses.xy_px[..., 0].mean(1) - middle_px) < 20).all()
    alone = [observe([track], stages, oracle=True)[0] for track in two_actors]
    left, right = (arrays_of(seen) for seen in together)
    assert {"confidence", "visibility", "presence", "rescored", "oracle", "falloff", "raw_score"} <= left.keys()
    for mine, theirs, by_itself in ((left, right, alone[0]), (right, left, alone[1])):
        for name, expected in arrays_of(by_itself).items():
            np.testing.assert_allclose(
                mine[name], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max(), err_msg=name
            )
            if name in DIFFERENT:
                assert np.abs(mine[name] - theirs[name]).max() > 0.01 * np.abs(expected).max(), name


def test_an_actor_with_fewer_frames_keeps_its_rows(two_actors: list[Track], stages: Stages) -> None:
    """The second actor is there from the third frame on."""
    late = two_actors[1].select(np.array([2, 3]))
    first, second = observe([two_actors[0], late], stages, oracle=False)
    whole = observe(two_actors, stages, oracle=False)
    np.testing.assert_allclose(first.poses.xy_px, whole[0].poses.xy_px, atol=1e-2)
    np.testing.assert_allclose(second.poses.xy_px, whole[1].poses.xy_px[2:], atol=1e-2)


def test_given_bodies_are_each_actors_own(two_actors: list[Track], stages: Stages, tmp_path: Path) -> None:
    from eval3dpw.results.fits import GivenPredictions

    eye = np.tile(np.eye(3), (FRAMES, 24, 1, 1))
    for number, track in enumerate(two_actors):
        depth = np.full((FRAMES, 3), 2.0 + number) + np.arange(FRAMES)[:, None]
        np.savez(
            tmp_path / f"{track.name}.npz",
            rotations=eye,
            betas=np.zeros((FRAMES, 10)),
            translation=depth,
            frame_ids=track.frame_ids,
        )
    given = replace(stages, initial=GivenPredictions(tmp_path), method="params")
    for number, seen in enumerate(observe(two_actors, given, oracle=False)):
        assert seen.crops is None
        np.testing.assert_array_equal(seen.initial.translation[:, 2], 2.0 + number + np.arange(FRAMES))
