"""The builder of the open body: its fits on made-up bodies, and its output against the packaged files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitting.bodies.body import OPEN_BODY_DIR
from pose2d.skeletons import H36M17, SMPL24

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("openbody_fitting")


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("openbody_source")


@pytest.fixture(scope="module")
def packaged() -> dict[str, np.ndarray]:
    with np.load(OPEN_BODY_DIR / "OPENBODY_NEUTRAL.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_rotation_between_is_the_smallest(source: ModuleType) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 20, 3))
    rotations = source.rotation_between(a, b)
    for rotation, start, end in zip(rotations, a, b, strict=True):
        np.testing.assert_allclose(rotation @ start / np.linalg.norm(start), end / np.linalg.norm(end), atol=1e-12)
        angle = np.arccos(start @ end / np.linalg.norm(start) / np.linalg.norm(end))
        assert Rotation.from_matrix(rotation).magnitude() == pytest.approx(angle)


@pytest.mark.parametrize(
    ("bone", "joint"),
    [
        ("root", "pelvis"),
        ("spine03", "spine1"),
        ("eye.L", "head"),
        ("upperleg02.R", "right_hip"),
        ("foot.L", "left_ankle"),
        ("toe3-2.L", "left_foot"),
        ("shoulder01.R", "right_collar"),
        ("metacarpal2.L", "left_wrist"),
        ("finger1-1.R", "right_wrist"),
        ("finger1-2.R", "right_hand"),
    ],
)
def test_bones_go_to_their_joint(source: ModuleType, bone: str, joint: str) -> None:
    assert source.joint_of_bone(bone) == SMPL24.index(joint)


def test_an_unknown_bone_is_named(source: ModuleType) -> None:
    with pytest.raises(KeyError, match="tail"):
        source.joint_of_bone("tail.L")


def test_phenotypes_are_anny_coordinates(source: ModuleType) -> None:
    sampled = source.sample_phenotypes(500, np.random.default_rng(0), 1.0)
    assert (sampled["gender"] == 1).all()
    np.testing.assert_allclose(sampled["african"] + sampled["asian"] + sampled["caucasian"], 1)
    assert all((values >= 0).all() and (values <= 1).all() and values.shape == (500,) for values in sampled.values())


def test_shape_space_finds_known_directions(tool: ModuleType) -> None:
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(40, 3))
    axes = np.linalg.qr(rng.normal(size=(120, 10)))[0].T.reshape(10, 40, 3)
    spread = np.arange(10, 0, -1.0)
    betas = rng.normal(size=(4000, 10))
    found_mean, directions, explained = tool.shape_space(mean + np.einsum("nk,kvc->nvc", betas * spread, axes))
    assert explained == pytest.approx(1.0)
    np.testing.assert_allclose(found_mean, mean, atol=0.2)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=(0, 1)), spread, rtol=0.06)
    taller = (directions[:, 1] * np.sign(mean[:, 1] - mean[:, 1].mean())[:, None]).sum(0)
    assert (taller >= 0).all()


def test_influences_are_limited(tool: ModuleType) -> None:
    weights = np.random.default_rng(2).dirichlet(np.ones(24), 100)
    limited = tool.limit_influences(weights)
    assert ((limited > 0).sum(1) <= 4).all()
    np.testing.assert_allclose(limited.sum(1), 1)
    assert (limited.argmax(1) == weights.argmax(1)).all()


def test_joint_regressor_recovers_joints_inside_the_mesh(tool: ModuleType, packaged: dict[str, np.ndarray]) -> None:
    """Bodies drawn from the packaged shape space, on every eighth vertex; their joints are means of vertices."""
    rng = np.random.default_rng(3)
    vertices, directions = packaged["v_template"].astype(float), packaged["shapedirs"].astype(float)
    bodies = vertices + np.einsum("nk,vck->nvc", rng.normal(size=(40, 10)), directions)
    joints = np.einsum("jv,nvc->njc", packaged["J_regressor"].astype(float), bodies)
    some = slice(None, None, 8)
    regressor, errors = tool.fit_joint_regressor(
        bodies[:, some], joints, packaged["weights"][some].astype(float), rng, candidates=120
    )
    assert (regressor >= 0).all()
    np.testing.assert_allclose(regressor.sum(1), 1)
    # Ends of the hands have few of these vertices around them.
    assert np.sort(errors)[:20].max() < 0.004


def test_correctives_take_linear_blending_nearer_to_dual_quaternions(tool: ModuleType) -> None:
    """A cylinder along an arm, bent and twisted at the elbow: with correctives it keeps more of its thickness."""
    along, around = np.meshgrid(np.linspace(-0.15, 0.15, 21), np.linspace(0, 2 * np.pi, 16, endpoint=False))
    vertices = np.stack([along, 0.05 * np.cos(around), 0.05 * np.sin(around)], axis=-1).reshape(-1, 3)
    elbow, shoulder = SMPL24.index("left_elbow"), SMPL24.index("left_shoulder")
    joints = np.zeros((24, 3))
    share = 1 / (1 + np.exp(-vertices[:, 0] / 0.02))
    weights = np.zeros((len(vertices), 24))
    weights[:, elbow], weights[:, shoulder] = share, 1 - share
    directions = tool.fit_pose_directions(vertices, joints, weights, np.random.default_rng(4))
    rotation = Rotation.from_rotvec([1.6, 0.0, 0.0]).as_matrix()
    features = np.zeros(207)
    features[9 * (elbow - 1) : 9 * elbow] = (rotation - np.eye(3)).ravel()

    def thinnest(rest: np.ndarray) -> float:
        posed = (1 - share[:, None]) * rest + share[:, None] * rest @ rotation.T
        return float(np.linalg.norm(posed[np.abs(vertices[:, 0]) < 0.01, 1:], axis=1).min())

    plain, corrected = thinnest(vertices), thinnest(vertices + directions @ features)
    assert plain < 0.038  # the twist pinches a linear blend
    assert corrected > plain + 0.005


def test_every_landmark_lands_in_its_slot(tool: ModuleType) -> None:
    numbers = np.random.default_rng(5).permutation(6880)[: len(tool.SMPL_SLOTS)]
    landmarks = {name: int(number) for name, number in zip(tool.SMPL_SLOTS, numbers, strict=True)}
    order = tool.slot_permutation(landmarks, 6880)
    assert sorted(order) == list(range(6880))
    assert {name: order[slot] for name, slot in tool.SMPL_SLOTS.items()} == landmarks


def test_slots_are_smplx_own(tool: ModuleType) -> None:
    from smplx.vertex_ids import vertex_ids

    assert {name: vertex_ids["smplh"][name] for name in tool.SMPL_SLOTS} == tool.SMPL_SLOTS


def test_packaged_evaluation_regressor_is_the_builders(tool: ModuleType, packaged: dict[str, np.ndarray]) -> None:
    rows = tool.evaluation_regressor(packaged["J_regressor"].astype(float), packaged["v_template"], tool.SMPL_SLOTS)
    np.testing.assert_allclose(rows, np.load(OPEN_BODY_DIR / "J_regressor_h36m.npy"), atol=1e-6)
    np.testing.assert_allclose(rows.sum(1), 1)
    joints = rows @ packaged["v_template"]
    heights = dict(zip(H36M17.keypoints, joints[:, 1], strict=True))
    assert heights["head_top"] > heights["head"] > heights["neck"] > heights["spine"] > heights["pelvis"]
    assert joints[H36M17.index("left_wrist"), 0] > 0.5 > -0.5 > joints[H36M17.index("right_wrist"), 0]


@pytest.mark.slow
def test_builder_remakes_the_packaged_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anny", reason="anny is not installed: pip install '.[openbody-builder]'")
    pytest.importorskip("trimesh")
    pytest.importorskip("rtree")
    pytest.importorskip("fast_simplification")
    monkeypatch.syspath_prepend(str(TOOLS))
    builder = importlib.import_module("build_openbody")
    builder.main(builder.BuildConfig(out=tmp_path))
    made_rows, kept_rows = (np.load(folder / "J_regressor_h36m.npy") for folder in (tmp_path, OPEN_BODY_DIR))
    for name in ("NEUTRAL", "MALE", "FEMALE"):
        with (
            np.load(tmp_path / f"OPENBODY_{name}.npz") as made,
            np.load(OPEN_BODY_DIR / f"OPENBODY_{name}.npz") as kept,
        ):
            assert set(made.files) == set(kept.files)
            for field in ("f", "kintree_table", "vertex_id_names", "vertex_id_values", "bs_type", "bs_style"):
                np.testing.assert_array_equal(made[field], kept[field])
            assert json.loads(str(made["meta"])) == json.loads(str(kept["meta"]))
            # The nearest points of the decimated mesh move by tenths of a millimetre between versions of trimesh.
            for field, tolerance in (("v_template", 1e-3), ("shapedirs", 2e-4), ("posedirs", 1e-3), ("weights", 1e-2)):
                np.testing.assert_allclose(made[field], kept[field], atol=tolerance, err_msg=field)
            # Joints' rows are sparse and not unique; the joints that they give are.
            rest = kept["v_template"] + 2 * kept["shapedirs"][:, :, 0]
            np.testing.assert_allclose(made["J_regressor"] @ rest, kept["J_regressor"] @ rest, atol=1e-3)
            np.testing.assert_allclose(made_rows @ rest, kept_rows @ rest, atol=1e-3)
