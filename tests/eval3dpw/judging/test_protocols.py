"""Our protocols against the numbers that the public evaluation codes print on the same input."""

import importlib.util
import json
import pickle

import numpy as np
import pytest
import torch

from eval3dpw.dataset.threedpw import ThreeDPW
from eval3dpw.judging.evaluation import FrameErrors, evaluate_track, join_errors, protocol_errors
from eval3dpw.judging.metrics import acceleration_error_mm
from eval3dpw.judging.posed_bodies import PosedBodies, pose_bodies, pose_truth
from eval3dpw.judging.protocols import PROTOCOLS, find_protocol
from fitting.bodies.body import load_body
from pose2d.errors import InputError
from pose2d.skeletons import H36M17, LSP14, SMPL24, remap


@pytest.fixture(scope="module")
def inputs(golden):
    spec = importlib.util.spec_from_file_location("protocol_inputs", golden / "protocol_inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(inputs, tmp_path_factory):
    """Bodies and sequences on disk, and the predictions of each track."""
    root = tmp_path_factory.mktemp("golden_world")
    for gender in inputs.BODY_SEEDS:
        arrays = {name: value.astype(np.float32) for name, value in inputs.random_body(gender).items()}
        arrays.update(kintree_table=inputs.random_body(gender)["kintree_table"], f=arrays["f"].astype(np.int64))
        np.savez(root / f"RANDOM_{gender.upper()}.npz", **arrays)
    np.save(root / "J_regressor_h36m.npy", inputs.random_regressor().astype(np.float32))
    (root / "sequenceFiles" / "test").mkdir(parents=True)
    predictions = {}
    for number, sequence in enumerate(inputs.random_sequences()):
        name = sequence["sequence"]
        (root / "sequenceFiles" / "test" / f"{name}.pkl").write_bytes(pickle.dumps(sequence))
        (root / "imageFiles" / name).mkdir(parents=True)
        for actor, prediction in enumerate(inputs.random_predictions(sequence, 10 + number)):
            predictions[f"{name}_{actor}"] = prediction
    return root, predictions


@pytest.fixture(scope="module")
def tracks(world):
    return list(ThreeDPW(world[0]).tracks("test", with_images=False))


def evaluate(name: str, world, tracks) -> FrameErrors:
    root, predictions = world
    protocol = find_protocol(name)
    errors = []
    for track in tracks:
        valid = protocol.valid_frames(track)
        rotations = torch.as_tensor(predictions[track.name]["rotations"][valid]).float()
        betas = torch.as_tensor(predictions[track.name]["betas"][valid]).float()
        truth = pose_truth(protocol, track.select(valid), lambda gender: load_body(root, gender))
        errors.append(evaluate_track(protocol, rotations, betas, load_body(root, "neutral"), truth))
    return join_errors(errors)


def printed(golden, name: str) -> dict[str, float]:
    return json.loads((golden / "protocols.json").read_text())[name]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("spin", {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "Reconstruction Error"}),
        ("pymaf", {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "Reconstruction Error", "mve_mm": "PVE"}),
        ("vibe", {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "PA-MPJPE", "mve_mm": "PVE"}),
        ("wham", {"mpjpe_mm": "mpjpe", "pa_mpjpe_mm": "pa_mpjpe", "mve_mm": "pve"}),
        ("official", {"mpjpe_mm": "MPJPE", "pa_mpjpe_mm": "MPJPE_PA"}),
    ],
)
def test_same_numbers_as_the_public_code(golden, world, tracks, name, keys):
    errors, theirs = evaluate(name, world, tracks), printed(golden, name)
    assert len(errors) == theirs.get("frames", len(errors))
    for ours, key in keys.items():
        assert errors[ours].mean() == pytest.approx(theirs[key], abs=2e-3)  # mm; theirs is single precision


def test_official_parts(golden, world, tracks):
    parts, theirs = evaluate("official", world, tracks).values, printed(golden, "official")
    assert 100 * parts["pck50"].mean() == pytest.approx(theirs["PCK"], abs=1e-9)
    assert parts["auc200"].mean() == pytest.approx(theirs["AUC"], abs=2e-4)  # theirs integrates numerically
    assert parts["mpjae_deg"].mean() == pytest.approx(theirs["MPJAE"], abs=1e-3)
    assert parts["pa_mpjae_deg"].mean() == pytest.approx(theirs["MPJAE_PA"], abs=1e-3)


def test_acceleration_error_is_vibes(golden, world, tracks):
    root, predictions = world
    protocol = PROTOCOLS["vibe"]
    body = load_body(root, "neutral")
    order = remap(H36M17, LSP14)
    hips = LSP14.indices(["left_hip", "right_hip"])
    joints = ([], [])
    for track in tracks:
        valid = protocol.valid_frames(track)
        prediction = [torch.as_tensor(predictions[track.name][key][valid]).float() for key in ("rotations", "betas")]
        posed = (
            pose_bodies(protocol, body, *prediction),
            pose_truth(protocol, track.select(valid), lambda gender: load_body(root, gender)),
        )
        for kept, bodies in zip(joints, posed, strict=True):
            regressed = bodies.regressed_joints[:, order]
            kept.append(regressed - regressed[:, hips].mean(1, keepdim=True))
    error = acceleration_error_mm(torch.cat(joints[0]), torch.cat(joints[1]))  # VIBE runs across tracks, too
    assert error.mean().item() == pytest.approx(printed(golden, "vibe")["ACCEL_ERR"], abs=2e-3)


def test_jitter_is_taken_of_consecutive_frames_only(world, tracks):
    root, predictions = world
    protocol, track = PROTOCOLS["vibe"], tracks[0]
    kept = np.array([0, 1, 2, 4, 5, 6])

    def find_body(gender):
        return load_body(root, gender)

    rotations, betas = (torch.as_tensor(predictions[track.name][key][kept]).float() for key in ("rotations", "betas"))
    truth = pose_truth(protocol, track.select(kept), find_body)
    jitter = evaluate_track(protocol, rotations, betas, find_body("neutral"), truth)
    assert np.isfinite(jitter["acceleration_error_mm"]).tolist() == [False, True, False, False, True, False]
    hips, order = H36M17.indices(("left_hip", "right_hip")), remap(H36M17, LSP14)
    relative = []
    for bodies in (pose_bodies(protocol, find_body("neutral"), rotations, betas), truth):
        regressed = bodies.regressed_joints.double().numpy()
        relative.append(regressed[:, order] - regressed[:, hips].mean(1, keepdims=True))
    for frame in (1, 4):
        mine, true = (r[frame - 1] - 2 * r[frame] + r[frame + 1] for r in relative)
        expected = {"acceleration_mm": mine, "acceleration_error_mm": mine - true}
        for name, vector in expected.items():
            assert jitter[name][frame] == pytest.approx(1e3 * np.linalg.norm(vector, axis=1).mean(), rel=1e-4)


def test_camerahmr_adds_aligned_vertices_to_spins_joints(world, tracks):
    spin, camerahmr, pymaf = (evaluate(name, world, tracks) for name in ("spin", "camerahmr", "pymaf"))
    np.testing.assert_array_equal(spin["mpjpe_mm"], camerahmr["mpjpe_mm"])
    np.testing.assert_array_equal(spin["pa_mpjpe_mm"], camerahmr["pa_mpjpe_mm"])
    assert not np.allclose(camerahmr["mve_mm"], pymaf["mve_mm"])


def test_truth_against_itself_is_zero_and_moving_the_root_matters_only_unaligned(world, tracks):
    root, _ = world
    bodies = pose_truth(PROTOCOLS["official"], tracks[0], lambda gender: load_body(root, gender))
    zero = protocol_errors(PROTOCOLS["official"], bodies, bodies)
    assert max(zero["mpjpe_mm"].max(), zero["pa_mpjpe_mm"].max(), zero["mve_mm"].max()) < 1e-6
    assert zero["pck50"].min() == 1.0
    assert zero["mpjae_deg"].max() < 1e-4

    for name, mve in (("wham", 0.0), ("pymaf", 100.0)):
        bodies = pose_truth(PROTOCOLS[name], tracks[0], lambda gender: load_body(root, gender))
        shift = torch.tensor([0.0, 0.1, 0.0])
        moved = PosedBodies(
            bodies.vertices + shift, bodies.smpl_joints + shift, bodies.regressed_joints + shift, bodies.rotations
        )
        errors = protocol_errors(PROTOCOLS[name], moved, bodies)
        np.testing.assert_allclose(errors["mpjpe_mm"], 0, atol=1e-3)
        np.testing.assert_allclose(errors["mve_mm"], mve, atol=1e-3)


def test_names_of_the_table():
    assert list(PROTOCOLS) == ["spin", "pymaf", "vibe", "camerahmr", "wham", "official"]
    assert PROTOCOLS["official"].joints is SMPL24
    with pytest.raises(InputError, match="take one of spin"):
        find_protocol("h36m")


def test_bodies_of_two_topologies_are_not_compared(world, tracks):
    root, predictions = world
    truth = pose_truth(PROTOCOLS["official"], tracks[0], lambda gender: load_body(root, gender))
    rotations, betas = (torch.as_tensor(predictions[tracks[0].name][key]).float() for key in ("rotations", "betas"))
    with pytest.raises(InputError, match="6800"):
        evaluate_track(PROTOCOLS["official"], rotations, betas, load_body(), truth)
    with pytest.raises(InputError, match="2 fitted frames"):
        evaluate_track(PROTOCOLS["official"], rotations[:2], betas[:2], load_body(root, "neutral"), truth)


def test_a_protocol_on_regressed_joints_says_when_there_is_no_regressor(world, tracks, tmp_path):
    root, _ = world
    for file in root.glob("RANDOM_*.npz"):
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(InputError, match="J_regressor_h36m"):
        pose_truth(PROTOCOLS["spin"], tracks[0], lambda gender: load_body(tmp_path, gender))


def test_images_that_are_asked_for_must_be_there(world):
    with pytest.raises(InputError, match="image_00000"):
        list(ThreeDPW(world[0]).tracks("test"))
