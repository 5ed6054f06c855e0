"""A tiny open world, opened with pickle, numpy and pycocotools alone, as a stranger's code would."""

from __future__ import annotations

import errno
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from eval3dpw.openworld.world import make as world
from eval3dpw.openworld.world.crop_files import CropConfig, LabelRules, keypoint_flags, make_crop
from eval3dpw.openworld.world.make import WORLD_SIZES, MakeWorldConfig, WorldCounts, make_world
from pose2d.errors import InputError

COUNTS = WorldCounts(test_sequences=2, frames=3, test_crops=5)
FRAMES = COUNTS.frames

# 3DPW's poses2d and the SMPL joints under the same names: neck, shoulders, elbows, wrists, hips, knees, ankles.
POSES2D_JOINTS = list(range(1, 14))
SMPL_JOINTS = [12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7]


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(MakeWorldConfig(tmp_path_factory.mktemp("world") / "out", seed=3, workers=1, counts=COUNTS))


def sequences(root: Path) -> list[dict[str, Any]]:
    loaded = []
    for path in sorted((root / "3dpw" / "sequenceFiles" / "test").glob("*.pkl")):
        with open(path, "rb") as file:
            loaded.append(pickle.load(file, encoding="latin1"))
    return loaded


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_pickles_hold_every_key_in_3dpws_types_and_shapes(tiny_world: Path) -> None:
    actors = []
    for data in sequences(tiny_world):
        number = len(data["poses"])
        actors.append(number)
        assert isinstance(data["sequence"], str)
        assert set(data["genders"]) <= {"m", "f"}
        motion_frames = len(data["poses_60Hz"][0])
        per_actor = {
            "betas": (10,),
            "betas_clothed": (10,),
            "poses": (FRAMES, 72),
            "trans": (FRAMES, 3),
            "poses_60Hz": (motion_frames, 72),
            "trans_60Hz": (motion_frames, 3),
            "poses2d": (FRAMES, 3, 18),
            "jointPositions": (FRAMES, 72),
            "campose_valid": (FRAMES,),
            "v_template_clothed": (6880, 3),
            "texture_maps": (64, 64, 3),
        }
        for key, shape in per_actor.items():
            assert isinstance(data[key], list) and len(data[key]) == number, key
            assert all(isinstance(value, np.ndarray) and value.shape == shape for value in data[key]), key
            assert all(np.isfinite(value).all() for value in data[key]), key
        shapes = {"cam_poses": (FRAMES, 4, 4), "cam_intrinsics": (3, 3), "img_frame_ids": (FRAMES,)}
        for key, shape in shapes.items():
            assert data[key].shape == shape, key
        assert data.keys() == per_actor.keys() | shapes.keys() | {"sequence", "genders"}
        for key in ("poses", "trans"):
            for at_30, at_60 in zip(data[key], data[f"{key}_60Hz"], strict=True):
                np.testing.assert_array_equal(at_30, at_60[data["img_frame_ids"]])
    assert actors == [1, 2] or actors == [2, 1]


def test_joints_reproject_onto_the_annotated_2d_within_a_pixel(tiny_world: Path) -> None:
    compared = 0
    for data in sequences(tiny_world):
        rotation, offset = data["cam_poses"][:, :3, :3], data["cam_poses"][:, :3, 3]
        np.testing.assert_allclose(
            rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (FRAMES, 1, 1)), atol=1e-9
        )
        for poses2d, joints in zip(data["poses2d"], data["jointPositions"], strict=True):
            camera = np.einsum("nij,nkj->nki", rotation, joints.reshape(FRAMES, 24, 3)) + offset[:, None]
            pixels = camera @ data["cam_intrinsics"].T
            pixels = pixels[..., :2] / pixels[..., 2:]
            seen = poses2d[:, 2, POSES2D_JOINTS] > 0
            error = np.linalg.norm(pixels[:, SMPL_JOINTS] - poses2d[:, :2, POSES2D_JOINTS].transpose(0, 2, 1), axis=-1)
            assert (error[seen] < 1.0).all()
            assert (camera[..., 2] > 0).all()
            compared += int(seen.sum())
    assert compared > 50


def test_joints_are_the_posed_bodys(tiny_world: Path) -> None:
    """The pelvis is the translation plus one constant for each actor, and bones keep their lengths."""
    for data in sequences(tiny_world):
        for joints, translation in zip(data["jointPositions"], data["trans"], strict=True):
            joints = joints.reshape(FRAMES, 24, 3)
            assert np.ptp(joints[:, 0] - translation, axis=0).max() < 1e-5
            shins = np.linalg.norm(joints[:, 4] - joints[:, 7], axis=1)
            assert np.ptp(shins) < 1e-4
            assert 0.3 < shins[0] < 0.55


def test_detections_lie_in_the_image_or_are_zero(tiny_world: Path) -> None:
    for data in sequences(tiny_world):
        images = sorted((tiny_world / "3dpw" / "imageFiles" / data["sequence"]).iterdir())
        assert [path.name for path in images] == [f"image_{number:05d}.jpg" for number in range(FRAMES)]
        height, width = cv2.imread(str(images[0])).shape[:2]
        for poses2d in data["poses2d"]:
            found = poses2d[:, 2] > 0
            assert set(found.sum(axis=1)) & set(range(1, 6)) == set()
            assert (poses2d[:, :2].transpose(0, 2, 1)[~found] == 0).all()
            assert (poses2d[:, 2] <= 1).all()
            x, y = poses2d[:, 0][found], poses2d[:, 1][found]
            assert (x > -1).all() and (x < width).all() and (y > -1).all() and (y < height).all()


def test_crops_open_with_pycocotools_and_agree_with_themselves(tiny_world: Path) -> None:
    root = tiny_world / "coco"
    coco = COCO(str(root / "annotations" / "person_keypoints_test.json"))
    assert len(coco.getImgIds()) == COUNTS.test_crops
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["person"]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert {annotation["image_id"] for annotation in annotations} == set(coco.getImgIds())
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = cv2.imread(str(root / "images" / "test" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
        assert pixels.std() > 3
        assert image["width"] * image["height"] <= 640 * 480
    for annotation in annotations:
        image = coco.loadImgs(annotation["image_id"])[0]
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and x + width <= image["width"] and y + height <= image["height"]
        assert 0 < annotation["area"] <= width * height
        keypoints = np.array(annotation["keypoints"], dtype=float).reshape(17, 3)
        labelled = keypoints[:, 2] > 0
        assert annotation["num_keypoints"] == labelled.sum()
        assert set(keypoints[:, 2]) <= {0, 1, 2}
        assert (keypoints[~labelled] == 0).all()
        inside = keypoints[labelled, :2]
        assert (inside > -0.5).all() and (inside < (image["width"] - 0.5, image["height"] - 0.5)).all()


def test_smpl_parameters_put_the_body_where_the_keypoints_are(tiny_world: Path) -> None:
    """Posed by smplx from the file's numbers alone, hips and shoulders fall on the COCO keypoints."""
    import smplx
    import torch

    from fitting.bodies.body import OPEN_BODY_DIR

    annotations = tiny_world / "coco" / "annotations"
    parameters = json.loads((annotations / "person_smpl_test.json").read_text())
    persons = json.loads((annotations / "person_keypoints_test.json").read_text())["annotations"]
    assert parameters.keys() == {str(person["id"]) for person in persons}
    for person in persons:
        smpl, camera = parameters[str(person["id"])]["smpl_param"], parameters[str(person["id"])]["cam_param"]
        with np.load(OPEN_BODY_DIR / f"OPENBODY_{smpl['gender'].upper()}.npz") as arrays:
            struct = smplx.utils.Struct(**{name: arrays[name] for name in arrays.files})
        body = smplx.SMPL("", data_struct=struct)
        pose = torch.tensor(smpl["pose"])[None]
        joints = body(
            betas=torch.tensor(smpl["shape"])[None],
            global_orient=pose[:, :3],
            body_pose=pose[:, 3:],
            transl=torch.tensor(smpl["trans"])[None],
        ).joints[0].detach().numpy()  # fmt: skip
        pixels = joints[:, :2] / joints[:, 2:] * camera["focal"] + camera["princpt"]
        keypoints = np.array(person["keypoints"], dtype=float).reshape(17, 3)
        for coco_keypoint, smpl_joint in ((5, 16), (6, 17), (11, 1), (12, 2), (15, 7)):
            if keypoints[coco_keypoint, 2] > 0:
                np.testing.assert_allclose(pixels[smpl_joint], keypoints[coco_keypoint, :2], atol=0.05)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(tiny_world: Path, tmp_path: Path) -> None:
    again = make_world(MakeWorldConfig(tmp_path / "again", seed=3, workers=2, counts=COUNTS))
    assert files_of(again) == files_of(tiny_world)


def test_a_crop_depends_on_seed_split_and_index_alone() -> None:
    config = CropConfig(seed=7, split="train")
    assert make_crop(4, config) == make_crop(4, config)
    assert make_crop(4, config).jpeg != make_crop(5, config).jpeg
    assert make_crop(4, config).jpeg != make_crop(4, CropConfig(seed=8, split="train")).jpeg
    assert make_crop(4, config).jpeg != make_crop(4, CropConfig(seed=7, split="test")).jpeg


def test_hidden_keypoints_are_left_out_as_often_as_told() -> None:
    rng = np.random.default_rng(0)
    hidden, inside = np.zeros(17, dtype=bool), np.ones(17, dtype=bool)
    flags = np.stack([keypoint_flags(rng, hidden, inside, LabelRules()) for _ in range(4000)])
    assert set(flags.ravel()) == {0, 1}
    assert (flags[:, :5] == 0).mean() == pytest.approx(0.8, abs=0.02)
    assert (flags[:, 5:] == 0).mean() == pytest.approx(0.55, abs=0.02)
    assert (keypoint_flags(rng, inside, inside, LabelRules()) == 2).all()
    assert (keypoint_flags(rng, inside, ~inside, LabelRules()) == 0).all()


def test_the_full_world_is_as_large_as_a_table_needs() -> None:
    full = WORLD_SIZES["full"]
    tracks = full.test_sequences + full.test_sequences // 2  # every second sequence has two actors
    assert tracks >= 64
    assert tracks * full.frames >= 3000
    assert full.test_crops * 1 >= 2600


def test_an_existing_world_is_not_overwritten_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "world"
    one = MakeWorldConfig(out, counts=WorldCounts(test_crops=1), workers=1)
    make_world(one)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        make_world(one)
    assert (out / "mine.txt").read_text() == "mine"
    make_world(replace(one, overwrite=True))
    assert not (out / "mine.txt").exists()
    assert (out / "coco" / "annotations" / "person_keypoints_test.json").is_file()


def test_a_directory_that_is_no_world_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no open world"):
        make_world(MakeWorldConfig(tmp_path, counts=WorldCounts(test_crops=1), workers=1, overwrite=True))
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_interrupted_world_is_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world, "write_crop_split", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_world(MakeWorldConfig(tmp_path / "world", counts=WorldCounts(test_crops=1), workers=1))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "000000000001.jpg")

    monkeypatch.setattr(world, "write_crop_split", full)
    with pytest.raises(InputError, match=r"000000000001.jpg cannot be written \(No space left"):
        make_world(MakeWorldConfig(tmp_path / "world", counts=WorldCounts(test_crops=1), workers=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seed": -1}, "seed"),
        ({"workers": -2}, "workers"),
        ({"parts": ()}, "parts"),
        ({"counts": WorldCounts(test_crops=-1)}, "test_crops"),
        ({"counts": WorldCounts(test_sequences=1, frames=0)}, "frames"),
    ],
)
def test_senseless_numbers_are_refused(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make_world(MakeWorldConfig(tmp_path / "world", **changes))
    assert not (tmp_path / "world").exists()
