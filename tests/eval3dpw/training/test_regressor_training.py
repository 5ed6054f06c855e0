"""Views of training persons carry their truth along; a short training learns, resumes and can be read back."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eval3dpw.openworld.people.motion import sample_pose
from eval3dpw.training.options import LossWeights, TrainRegressorConfig, ViewConfig
from eval3dpw.training.regressor_data import (
    PLAIN,
    TRAINING_POINTS,
    cut_persons,
    read_persons,
    sample_views,
)
from eval3dpw.training.regressor_trainer import (
    evaluate_regressor,
    export_packaged,
    load_backbone,
    regressor_losses,
    train_regressor,
)
from fitting.bodies.body import load_body
from fitting.bodies.reduced_body import reduce_body
from fitting.regressor.model import Regressor, RegressorConfig, crop_person, crop_squares, load_regressor, ray_rotations
from pose2d.errors import InputError
from pose2d.skeletons import COCO17, SMPL24

NET = RegressorConfig(18, 8, 32, 64, orientation="ray", dropout=0.0)
WHITE = TRAINING_POINTS.index("left_wrist")


def write_world(root, persons=10, genders=("neutral",), seed=0):
    """Black pictures with a white disc on each person's left wrist and a grey one on the pelvis."""
    rng = np.random.default_rng(seed)
    for split in ("train", "validation"):
        (root / "images" / split).mkdir(parents=True)
        images, annotations, smpl = [], [], {}
        for number in range(1, persons + 1):
            gender = genders[number % len(genders)]
            pose, shape, focal = sample_pose(rng), rng.normal(0, 0.7, 10), float(rng.uniform(500, 700))
            turned = Rotation.from_rotvec([np.pi, 0, 0]) * Rotation.from_rotvec(pose[:3])
            pose[:3] = turned.as_rotvec()
            trans = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-0.3, 0.3), rng.uniform(4.0, 6.0)])
            princpt = np.array([320.0, 240.0])
            rotations = torch.tensor(Rotation.from_rotvec(pose.reshape(24, 3)).as_matrix()[None], dtype=torch.float32)
            body = load_body(None, gender)
            posed = body(rotations, *(torch.tensor(v[None], dtype=torch.float32) for v in (shape, trans)))
            xy = {}
            for name, skeleton in (("coco", COCO17), ("smpl", SMPL24)):
                points = body.keypoints(posed, skeleton)[0].numpy()
                xy[name] = points[:, :2] / points[:, 2:] * focal + princpt
            image = np.zeros((480, 640, 3), np.uint8)
            cv2.circle(image, tuple(map(round, xy["smpl"][0])), 6, (90, 90, 90), -1)
            cv2.circle(image, tuple(map(round, xy["smpl"][SMPL24.index("left_wrist")])), 5, (255, 255, 255), -1)
            cv2.imwrite(str(root / "images" / split / f"{number:012d}.jpg"), image)
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": 640, "height": 480})
            low, high = xy["coco"].min(axis=0), xy["coco"].max(axis=0)
            low, high = np.clip(low - 5, 0, [639, 479]), np.clip(high + 5, 0, [639, 479])
            annotations.append(
                {
                    "id": number + 100, "image_id": number, "category_id": 1, "iscrowd": 0,
                    "bbox": [*low.tolist(), *(high - low).tolist()], "area": float(np.prod(high - low) / 2),
                    "num_keypoints": 17, "keypoints": np.column_stack([xy["coco"], np.full(17, 2)]).ravel().tolist(),
                }
            )  # fmt: skip
            smpl[str(number + 100)] = {
                "smpl_param": {
                    "pose": pose.tolist(), "shape": shape.tolist(), "trans": trans.tolist(), "gender": gender,
                },
                "cam_param": {"focal": [focal, focal], "princpt": princpt.tolist()},
            }  # fmt: skip
        (root / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
        (root / "annotations" / f"person_smpl_{split}.json").write_text(json.dumps(smpl))
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def persons(world):
    return read_persons(world, "train")


def test_points_are_the_body_s_keypoints_in_the_image(persons):
    names = COCO17.keypoints[5:]
    ours = persons.points_px[:, TRAINING_POINTS.indices(names)]
    np.testing.assert_allclose(ours, persons.dataset.xy_px[:, COCO17.indices(names)], atol=0.02)


@pytest.mark.parametrize("kind", ["plain", "shift", "turn", "flip", "all"])
def test_the_truth_moves_with_the_picture(persons, kind):
    config = {
        "plain": PLAIN,
        "shift": replace(PLAIN, scale=0.2, shift=0.1),
        "turn": replace(PLAIN, rotation_deg=20.0, rotation_share=1.0),
        "flip": replace(PLAIN, flip_share=1.0),
        "all": ViewConfig(0.5, 0.2, 0.05, 20.0, 1.0, 0.5, 0.0, 0.0),
    }[kind]
    crops = cut_persons(persons)
    size = 96
    views = sample_views(persons, crops, np.arange(len(persons)), size, config, np.random.default_rng(1))
    found = 0
    for image, xy in zip(views.images, views.points_xy, strict=True):
        # A mirror turns the left wrist into the right one.
        wrists = xy[TRAINING_POINTS.indices(("left_wrist", "right_wrist"))] * size / 2 + size / 2
        rows, columns = np.nonzero(image[..., 0] > 180)
        if len(rows) > 4:
            found += 1
            center = np.array([columns.mean(), rows.mean()])
            distances = np.linalg.norm(wrists - center, axis=1)
            assert distances[1 if kind == "flip" else 0] < 1.5 or (kind == "all" and distances.min() < 1.5)
    assert found >= 7


def test_plain_views_are_the_regressor_s_own_crops(persons):
    crops = cut_persons(persons)
    views = sample_views(persons, crops, np.arange(3), 96, PLAIN, np.random.default_rng(0))
    centers, sides = crop_squares(persons.boxes_xywh[:3])
    np.testing.assert_allclose(views.centers_px, centers)
    for row in range(3):
        image = cv2.cvtColor(cv2.imread(str(persons.dataset.image_paths[row])), cv2.COLOR_BGR2RGB)
        ours = crop_person(image, centers[row], float(sides[row]), 96)
        assert np.abs(ours.astype(int) - views.images[row]).mean() < 2.0
    turned = ray_rotations(centers, persons.intrinsics[:3]) @ views.rotations[:, 0]
    np.testing.assert_allclose(turned, persons.rotations[:3, 0], atol=1e-12)


@pytest.mark.parametrize("kind", [PLAIN, ViewConfig(0.0, 0.1, 0.05, 20.0, 1.0, 1.0, 0.0, 0.0)])
def test_rotations_and_points_of_a_view_are_of_one_body(persons, kind):
    crops = cut_persons(persons)
    views = sample_views(persons, crops, np.arange(len(persons)), 64, kind, np.random.default_rng(2))
    reduced = reduce_body(load_body(), TRAINING_POINTS)
    points = reduced.keypoint_positions(
        torch.tensor(views.rotations), torch.tensor(views.betas), torch.zeros(len(persons), 3, dtype=torch.float64)
    ).numpy()
    # Mirrored bodies are the same body to within its own asymmetry.
    np.testing.assert_allclose(points - points[:, :1], views.points, atol=1e-9 if kind is PLAIN else 0.012)


def test_shapes_of_gendered_bodies_become_neutral_ones(tmp_path):
    mixed = read_persons(write_world(tmp_path / "mixed", 6, ("male", "female")), "train")
    for row, gender in enumerate(mixed.genders):
        heights = []
        for name, betas in ((gender, mixed.betas[row]), ("neutral", mixed.neutral_betas[row])):
            body = load_body(None, name)
            rest = body(torch.eye(3).expand(1, 24, 3, 3), torch.tensor(betas[None], dtype=torch.float32))
            heights.append(float(torch.aminmax(rest.vertices[0, :, 1])[1] - torch.aminmax(rest.vertices[0, :, 1])[0]))
        assert abs(heights[0] - heights[1]) < 0.03


def test_perfect_predictions_have_no_loss(persons):
    crops = cut_persons(persons)
    views = sample_views(persons, crops, np.arange(len(persons)), 64, PLAIN, np.random.default_rng(2))
    reduced = reduce_body(load_body(), TRAINING_POINTS).to(torch.float32)
    rotations, betas = (torch.tensor(a, dtype=torch.float32) for a in (views.rotations, views.betas))
    points = reduced.keypoint_positions(rotations, betas, torch.zeros(len(persons), 3))[..., :2].numpy()
    # The best weakly perspective camera, by least squares.
    cameras = []
    for body, xy in zip(points, views.points_xy, strict=True):
        left = np.concatenate([np.column_stack([body[:, i], np.eye(2)[i] + 0 * body]) for i in (0, 1)])
        s, a, b = np.linalg.lstsq(left, np.concatenate([xy[:, 0], xy[:, 1]]), rcond=None)[0]
        cameras.append([s, a / s, b / s])
    camera = torch.tensor(np.array(cameras), dtype=torch.float32)
    terms = regressor_losses((rotations, betas, camera), views, reduced, LossWeights())
    assert terms["joints"] < 1e-4 and terms["rotations"] < 1e-6 and terms["betas"] < 1e-6
    assert terms["projection"] < 0.08  # what weak perspective cannot say at 4 to 6 metres
    worse = regressor_losses((rotations.roll(1, 0), betas, camera), views, reduced, LossWeights())
    assert worse["joints"] > 0.05 and worse["rotations"] > 0.01


def test_a_short_training_learns_resumes_and_is_read_back(world, tmp_path):
    config = TrainRegressorConfig(
        data=world, out=tmp_path / "run", steps=40, batch=5, lr=4e-3, network=NET, early_size=32, views=PLAIN,
        ema=0.9, validation_persons=6,
    )  # fmt: skip
    first = train_regressor(config)
    assert first.steps == 40 and first.epochs == 20.0
    known = read_persons(world, "train")
    crops = cut_persons(known)
    torch.manual_seed(0)
    untrained = evaluate_regressor(Regressor(NET), known, crops)
    trained = evaluate_regressor(load_regressor(first.checkpoint), known, crops)
    assert trained.mpjpe_mm < 0.7 * untrained.mpjpe_mm
    assert trained.pa_mpjpe_mm <= trained.mpjpe_mm and trained.persons == 10
    again = train_regressor(TrainRegressorConfig(**{**vars(config), "steps": 44, "resume": True}))
    assert again.steps == 44
    with pytest.raises(InputError, match="does not resume"):
        train_regressor(
            TrainRegressorConfig(**{**vars(config), "network": RegressorConfig(18, 16, 32, 64), "resume": True})
        )
    trained = evaluate_regressor(load_regressor(again.checkpoint), known, crops)
    export_packaged(again.checkpoint, tmp_path / "packaged.safetensors", {"made_by": "a test"})
    loaded = load_regressor(tmp_path / "packaged.safetensors")
    assert loaded.metadata["made_by"] == "a test" and loaded.metadata["seed"] == "0"
    assert abs(evaluate_regressor(loaded, known, crops).mpjpe_mm - trained.mpjpe_mm) < 3.0


def test_a_backbone_is_taken_whole_or_not_at_all(tmp_path):
    from safetensors.torch import save_file

    donor, regressor = Regressor(NET), Regressor(NET)
    trunk = {n: v.clone() for n, v in donor.state_dict().items() if n.startswith(("conv1", "bn1", "layer"))}
    save_file(trunk | {"final_layer.bias": torch.zeros(17)}, tmp_path / "sbl.safetensors")
    assert load_backbone(regressor, tmp_path / "sbl.safetensors") == len(trunk)
    torch.testing.assert_close(regressor.layer4[1].conv2.weight, donor.layer4[1].conv2.weight)
    with pytest.raises(InputError, match="misfit"):
        load_backbone(Regressor(RegressorConfig(18, 16, 32, 64)), tmp_path / "sbl.safetensors")


def test_parameters_that_are_missing_or_misshapen_are_refused(tmp_path):
    root = write_world(tmp_path / "broken", 2)
    path = root / "annotations" / "person_smpl_train.json"
    entries = json.loads(path.read_text())
    entries["101"]["smpl_param"]["pose"] = [0.0] * 71
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"entry 101, field smpl_param\.pose"):
        read_persons(root, "train")
    path.write_text("{}")
    with pytest.raises(InputError, match="none of the 2 persons"):
        read_persons(root, "train")


def test_frozen_stages_keep_the_backbone_s_weights(world, tmp_path):
    from safetensors.torch import save_file

    donor = Regressor(NET).state_dict()
    save_file({n: v.clone() for n, v in donor.items()}, tmp_path / "donor.safetensors")
    result = train_regressor(
        TrainRegressorConfig(
            data=world, out=tmp_path / "run", steps=4, batch=5, network=NET, early_size=32, validation_persons=2,
            backbone=tmp_path / "donor.safetensors", frozen_stages=1,
        )
    )  # fmt: skip
    trained = load_regressor(result.checkpoint).state_dict()
    for name, value in trained.items():
        if name.startswith(("conv1", "bn1", "layer1")):
            torch.testing.assert_close(value, donor[name])
    assert not torch.equal(trained["layer2.0.conv1.weight"], donor["layer2.0.conv1.weight"])
