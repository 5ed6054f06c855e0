"""The regressor: released layout, refusals, 6D convention, cameras. torchvision's names and roma are references."""

import re

import numpy as np
import pytest
import roma
import torch

from fitting.bodies.body import load_body
from fitting.regressor.files import convert_regressor, load_initial_npz
from fitting.regressor.model import (
    Regressor,
    RegressorConfig,
    RegressorOutput,
    crop_person,
    crop_squares,
    load_regressor,
    normalise,
    place_in_camera,
    predict,
    ray_rotations,
    rotations_from_6d,
    rotations_to_6d,
    save_regressor,
    translation_in_camera,
)
from pose2d.crops import apply_affine, square_crop_affine
from pose2d.errors import InputError
from pose2d.files.storage import write_npz

SMALL = RegressorConfig(depth=18, width=8, hidden=32, input_size=64, orientation="ray", dropout=0.1)


class Optimiser:  # what a released file holds beside its tensors
    def __init__(self):
        self.settings = [1, 2]


@pytest.fixture(scope="module")
def spin():
    torch.manual_seed(0)
    return Regressor(RegressorConfig()).eval()


@pytest.fixture
def small():
    torch.manual_seed(1)
    return Regressor(SMALL).eval()


def test_entries_are_those_of_the_released_checkpoint(spin):
    state = spin.state_dict()
    head = {name: tuple(value.shape) for name, value in state.items() if re.match("fc|dec|init", name)}
    assert head == {
        "fc1.weight": (1024, 2205), "fc1.bias": (1024,), "fc2.weight": (1024, 1024), "fc2.bias": (1024,),
        "decpose.weight": (144, 1024), "decpose.bias": (144,), "decshape.weight": (10, 1024), "decshape.bias": (10,),
        "deccam.weight": (3, 1024), "deccam.bias": (3,),
        "init_pose": (1, 144), "init_shape": (1, 10), "init_cam": (1, 3),
    }  # fmt: skip
    assert len(state) == 331 and len(state) - len(head) == 318
    assert state["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)


def test_a_checkpoint_in_the_released_layout_loads(spin, tmp_path):
    torch.save({"model": spin.state_dict(), "epoch": 3}, tmp_path / "spin.pt")
    loaded = load_regressor(tmp_path / "spin.pt")
    assert loaded.config == RegressorConfig()
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for ours, theirs in zip(loaded(image), spin(image), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("zipped", [True, False])
def test_other_objects_in_the_file_are_refused_and_converted_without_running(spin, tmp_path, zipped):
    path = tmp_path / "released.pt"
    torch.save({"model": spin.state_dict(), "optimizer": Optimiser()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="convert-regressor"):
        load_regressor(path)
    convert_regressor(path, tmp_path / "spin.safetensors")
    loaded = load_regressor(tmp_path / "spin.safetensors")
    torch.testing.assert_close(loaded.state_dict(), spin.state_dict())
    assert loaded.metadata["source"] == "released.pt"


class Bomb:
    def __reduce__(self):
        return (eval, ("open('exploded', 'w')",))


def test_converting_runs_nothing(spin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": spin.state_dict(), "optimizer": Bomb()}, "bomb.pt")
    convert_regressor("bomb.pt", "bomb.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_half_a_checkpoint_is_refused_by_name(spin, tmp_path):
    state = spin.state_dict()
    removed = state.pop("fc2.bias")
    state["fc3.bias"] = removed
    state["decshape.weight"] = torch.zeros(11, 1024)
    torch.save({"model": state}, tmp_path / "half.pt")
    with pytest.raises(InputError, match=r"1 missing \(fc2.bias\); 1 unknown \(fc3.bias\); 1 of another shape"):
        load_regressor(tmp_path / "half.pt")
    with pytest.raises(InputError, match=r"fc2\.bias"):
        convert_regressor(tmp_path / "half.pt", tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 broken"])
def test_files_that_are_no_checkpoint_are_refused(tmp_path, content):
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_regressor(tmp_path / name)
    with pytest.raises(InputError, match=r"broken\.pt"):
        convert_regressor(tmp_path / "broken.pt", tmp_path / "out.safetensors")


def test_a_dictionary_without_a_model_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="'model'"):
        load_regressor(tmp_path / "other.pt")


def test_small_regressors_are_saved_and_loaded_with_what_is_known_of_them(small, tmp_path):
    save_regressor(small.half(), tmp_path / "small.safetensors", {"seed": "7"})
    loaded = load_regressor(tmp_path / "small.safetensors")
    assert loaded.config == SMALL and loaded.metadata["seed"] == "7" and loaded.fc1.weight.dtype == torch.float32
    torch.testing.assert_close(loaded.fc1.weight, small.fc1.weight.float())


def test_the_user_s_mean_parameters_replace_the_checkpoint_s(small, tmp_path):
    save_regressor(small, tmp_path / "small.safetensors")
    np.savez(tmp_path / "mean.npz", pose=np.arange(144.0), shape=np.ones(10), cam=np.array([0.9, 0, 0]))
    loaded = load_regressor(tmp_path / "small.safetensors", mean_params=tmp_path / "mean.npz")
    np.testing.assert_allclose(loaded.init_pose[0].numpy(), np.arange(144.0))
    np.savez(tmp_path / "bad.npz", pose=np.zeros(72), shape=np.ones(10), cam=np.zeros(3))
    with pytest.raises(InputError, match="pose"):
        load_regressor(tmp_path / "small.safetensors", mean_params=tmp_path / "bad.npz")


def test_six_numbers_are_interleaved_columns():
    rotations = roma.random_rotmat(48, dtype=torch.float64).reshape(2, 24, 3, 3)
    pose = rotations_to_6d(rotations)
    # b1 = (x0, x2, x4), b2 = (x1, x3, x5): SPIN's order
    torch.testing.assert_close(pose[0, :6][0::2], rotations[0, 0, :, 0])
    torch.testing.assert_close(pose[0, :6][1::2], rotations[0, 0, :, 1])
    torch.testing.assert_close(rotations_from_6d(pose), rotations)
    noisy = rotations_from_6d(pose + 0.3 * torch.randn_like(pose))
    assert roma.is_rotation_matrix(noisy, epsilon=1e-8)


def test_an_untrained_regressor_predicts_its_mean(small):
    for decoder in (small.decpose, small.decshape, small.deccam):
        torch.nn.init.zeros_(decoder.weight)
        torch.nn.init.zeros_(decoder.bias)
    output = predict(small, np.zeros((3, 64, 64, 3), np.uint8), batch_size=2)
    torch.testing.assert_close(output.rotations[:, 0], torch.diag(torch.tensor([1.0, -1, -1])).expand(3, 3, 3))
    torch.testing.assert_close(output.camera, torch.tensor([[0.9, 0, 0]]).expand(3, 3))
    with pytest.raises(InputError, match="64x64"):
        predict(small, np.zeros((1, 32, 32, 3), np.uint8))
    assert len(predict(small, np.zeros((0, 64, 64, 3), np.uint8)).betas) == 0


def test_normalisation_is_imagenet_s():
    image = normalise(np.full((1, 2, 2, 3), 255, np.uint8))
    expected = [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    np.testing.assert_allclose(image[0, :, 0, 0].numpy(), expected, rtol=1e-6)


def random_cameras(rng, n=40):
    intrinsics = np.tile(np.eye(3), (n, 1, 1))
    intrinsics[:, 0, 0] = rng.uniform(800, 2000, n)
    intrinsics[:, 1, 1] = intrinsics[:, 0, 0]
    intrinsics[:, :2, 2] = rng.uniform(300, 900, (n, 2))
    boxes = np.concatenate((rng.uniform(0, 900, (n, 2)), rng.uniform(60, 400, (n, 2))), axis=1)
    camera = np.stack((rng.uniform(0.5, 1.2, n), rng.normal(0, 0.2, n), rng.normal(0, 0.2, n)), axis=1)
    return intrinsics, boxes, camera


def test_crop_cameras_reproject_to_the_same_pixels():
    rng = np.random.default_rng(0)
    intrinsics, boxes, camera = random_cameras(rng)
    centers, sides = crop_squares(boxes)
    np.testing.assert_allclose(sides, 1.2 * boxes[:, 2:].max(axis=1))
    translation = translation_in_camera(camera, centers, sides, intrinsics)
    # Points in the plane of the body's origin, where weak and full perspective agree exactly.
    points = np.concatenate((rng.normal(0, 0.5, (len(boxes), 6, 2)), np.zeros((len(boxes), 6, 1))), axis=2)
    size = 128
    in_crop = 0.5 * size * (1 + camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:]))
    seen = (points + translation[:, None]) @ np.swapaxes(intrinsics, -1, -2)
    in_image = seen[..., :2] / seen[..., 2:]
    np.testing.assert_allclose(apply_affine(square_crop_affine(centers, sides, size), in_image), in_crop, atol=1e-6)


def test_cliff_s_formula_with_square_pixels():
    intrinsics, boxes, camera = random_cameras(np.random.default_rng(1))
    centers, b = crop_squares(boxes)
    s, tx, ty = camera.T
    f, px, py = intrinsics[:, 0, 0], intrinsics[:, 0, 2], intrinsics[:, 1, 2]
    expected = [tx + 2 * (centers[:, 0] - px) / (b * s), ty + 2 * (centers[:, 1] - py) / (b * s), 2 * f / (b * s)]
    np.testing.assert_allclose(translation_in_camera(camera, centers, b, intrinsics), np.stack(expected, 1))


def test_a_person_behind_the_camera_is_refused_and_a_prediction_put_far_away():
    intrinsics, boxes, camera = random_cameras(np.random.default_rng(1))
    camera[3, 0] = -0.1
    with pytest.raises(InputError, match="camera 3"):
        translation_in_camera(camera, *crop_squares(boxes), intrinsics)
    predicted = RegressorOutput(
        torch.eye(3).expand(40, 24, 3, 3), torch.zeros(40, 10), torch.tensor(camera, dtype=torch.float32)
    )
    placed = place_in_camera(predicted, *crop_squares(boxes), intrinsics, "camera")
    assert (placed.translation[:, 2] > 0).all() and placed.translation[3, 2] > 20
    with pytest.raises(InputError, match="box 0"):
        crop_squares(np.array([[0, 0, 0, 10.0]]))


def test_ray_rotations_turn_the_axis_onto_the_ray_without_roll():
    intrinsics, boxes, _ = random_cameras(np.random.default_rng(2))
    centers, _ = crop_squares(boxes)
    turned = ray_rotations(centers, intrinsics)
    seen = np.einsum("nij,nj->ni", intrinsics, turned[:, :, 2])
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], centers, atol=1e-8)
    vectors = roma.rotmat_to_rotvec(torch.tensor(turned))
    torch.testing.assert_close(vectors[:, 2], torch.zeros(len(vectors), dtype=torch.float64))


def test_orientation_in_the_ray_s_frame_is_turned_into_the_camera():
    intrinsics, boxes, camera = random_cameras(np.random.default_rng(3), 5)
    rotations = roma.random_rotmat(5 * 24).reshape(5, 24, 3, 3)
    output = RegressorOutput(rotations, torch.zeros(5, 10), torch.tensor(camera, dtype=torch.float32))
    squares = crop_squares(boxes)
    plain = place_in_camera(output, *squares, intrinsics, "camera")
    turned = place_in_camera(output, *squares, intrinsics, "ray")
    np.testing.assert_allclose(plain.rotations, rotations.numpy(), atol=1e-6)
    np.testing.assert_allclose(turned.rotations[:, 1:], plain.rotations[:, 1:])
    np.testing.assert_allclose(
        turned.rotations[:, 0], ray_rotations(squares[0], intrinsics) @ plain.rotations[:, 0], atol=1e-9
    )
    np.testing.assert_allclose(turned.translation, plain.translation)


def test_crops_are_centred_on_the_box():
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:30, 40:60] = 255  # box 40, 20, 20 x 10
    crop = crop_person(image, np.array([49.5, 24.5]), 24.0, 48)
    rows, columns = np.nonzero(crop[..., 0] > 127)
    assert abs(columns.mean() - 24) < 0.6 and abs(rows.mean() - 24) < 0.6
    assert abs(np.ptp(columns) + 1 - 40) <= 2


def test_initial_bodies_of_another_method(tmp_path):
    body = load_body()
    rotations = roma.random_rotmat(2 * 24, dtype=torch.float64).reshape(2, 24, 3, 3)
    poses = roma.rotmat_to_rotvec(rotations).reshape(2, 72).numpy()
    write_npz(tmp_path / "a.npz", poses=poses, betas=np.zeros(10), translation=np.ones((2, 3)))
    fits = load_initial_npz(tmp_path / "a.npz", count=2)
    np.testing.assert_allclose(fits.rotations, rotations.numpy(), atol=1e-9)
    posed = body(
        torch.tensor(fits.rotations).float(), torch.tensor(fits.betas).float(), torch.tensor(fits.translation).float()
    )
    assert posed.joints.shape == (2, 24, 3)
    write_npz(tmp_path / "b.npz", rotations=rotations.numpy(), betas=np.zeros((2, 10)), translation=np.ones((2, 3)))
    np.testing.assert_allclose(load_initial_npz(tmp_path / "b.npz").rotations, fits.rotations, atol=1e-9)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": np.zeros((2, 72)), "betas": np.zeros(10)}, "translation"),
        ({"poses": np.zeros((2, 69)), "betas": np.zeros(10), "translation": np.zeros((2, 3))}, "poses"),
        ({"betas": np.zeros(10), "translation": np.zeros((2, 3))}, "poses"),
        ({"rotations": np.ones((2, 24, 3, 3)), "betas": np.zeros(10), "translation": np.zeros((2, 3))}, "rotations"),
        ({"poses": np.full((2, 72), np.nan), "betas": np.zeros(10), "translation": np.zeros((2, 3))}, "finite"),
        ({"poses": np.zeros((3, 72)), "betas": np.zeros(10), "translation": np.zeros((3, 3))}, "3 bodies, 2 persons"),
    ],
)
def test_initial_bodies_that_do_not_fit_are_refused(tmp_path, arrays, message):
    write_npz(tmp_path / "initial.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_initial_npz(tmp_path / "initial.npz", count=2)


def test_the_packaged_regressor_loads_and_tells_what_it_is():
    regressor = load_regressor()
    assert regressor.config == RegressorConfig(18, 32, 512, 112, "ray", 0.1)
    assert float(regressor.metadata["mpjpe_mm"]) < 150 and regressor.metadata["seed"] == "0"
    output = predict(regressor, np.full((1, 112, 112, 3), 127, np.uint8))
    assert roma.is_rotation_matrix(output.rotations, epsilon=1e-4)
    assert output.rotations[0, 0, 1, 1] < 0 < output.camera[0, 0]  # upright in a y-down camera, in front of it
