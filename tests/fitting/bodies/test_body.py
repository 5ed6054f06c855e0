"""The body against smplx on its own file route, and what `load_body` refuses."""

import contextlib
import io
import pickle
import sys
import types

import numpy as np
import pytest
import smplx
import torch

from fitting.bodies.body import OPEN_BODY_DIR, REGRESSOR_FILE, convert_body, load_body
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.skeletons import COCO17, H36M17, SMPL24

FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


@pytest.fixture(scope="module")
def arrays():
    return read_npz(OPEN_BODY_DIR / "OPENBODY_MALE.npz")


def test_body_is_smplx_on_random_parameters(tmp_path, arrays):
    # smplx reads its own pickle and takes axis-angle through its own Rodrigues formula; ours goes by rotation matrices.
    (tmp_path / "SMPL_MALE.pkl").write_bytes(pickle.dumps({name: arrays[name] for name in FIELDS}))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = smplx.SMPL(str(tmp_path / "SMPL_MALE.pkl"), batch_size=8)
    generator = torch.Generator().manual_seed(3)
    pose = torch.randn(8, 24, 3, generator=generator) * 0.5
    betas, translation = torch.randn(8, 10, generator=generator), torch.randn(8, 3, generator=generator)
    with torch.no_grad():
        wanted = reference(
            betas=betas, global_orient=pose[:, 0], body_pose=pose[:, 1:].reshape(8, 69), transl=translation
        )
    rotations = torch.linalg.matrix_exp(_skew(pose))
    body = load_body(gender="male")
    came = body(rotations, betas, translation)
    assert (came.vertices - wanted.vertices).abs().max() < 1e-5
    assert (came.joints - wanted.joints[:, :24]).abs().max() < 1e-5
    # smplx appends nose, right eye, left eye, right ear, left ear after its 24 joints
    faces = body.keypoints(came, COCO17)[:, COCO17.indices(["nose", "right_eye", "left_eye", "right_ear", "left_ear"])]
    assert (faces - wanted.joints[:, 24:29]).abs().max() < 1e-5


def _skew(v):
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)


@pytest.mark.parametrize("gender", ["neutral", "male", "female"])
def test_keypoints_lie_where_their_names_say(gender):
    body = load_body(gender=gender)
    posed = body(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    points = dict(zip(COCO17.keypoints, body.keypoints(posed, COCO17)[0]))
    for name in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        left, right = points[f"left_{name}"], points[f"right_{name}"]
        assert left[0] > 0.01  # the person's left is +x
        assert right[0] < -0.01
        assert (left[1:] - right[1:]).abs().max() < 0.03  # level in a T-pose
    assert points["nose"][1] > points["left_shoulder"][1] > points["left_hip"][1] > points["left_knee"][1]
    assert points["nose"][2] > points["left_ear"][2]  # it faces +z


def test_evaluation_joints_agree_with_the_joints_of_the_same_name():
    body = load_body()
    generator = torch.Generator().manual_seed(0)
    rotations = torch.linalg.matrix_exp(_skew(torch.randn(4, 24, 3, generator=generator) * 0.2))
    posed = body(rotations, torch.randn(4, 10, generator=generator))
    joints = body.evaluation_joints(posed.vertices)
    for name in ("left_knee", "right_ankle", "left_elbow", "right_shoulder", "pelvis"):
        distance = (joints[:, H36M17.index(name)] - posed.joints[:, SMPL24.index(name)]).norm(dim=-1)
        assert distance.max() < 0.05  # skinned vertices follow the joint to some centimetres (shoulders worst)


def _chumpy(array):
    class Ch:
        pass

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    made = Ch()
    made.x = array
    return Ch, made


def test_convert_body_reads_chumpy_and_sparse_fields(tmp_path, arrays, monkeypatch):
    import scipy.sparse

    kind, shapedirs = _chumpy(np.concatenate([arrays["shapedirs"]] * 2, axis=2).astype(np.float64))
    module = types.ModuleType("chumpy.ch")
    module.Ch = kind
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    data = {name: arrays[name] for name in FIELDS} | {"shapedirs": shapedirs}
    data["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    (tmp_path / "basicmodel_m.pkl").write_bytes(pickle.dumps(data, protocol=2))
    monkeypatch.undo()
    convert_body(tmp_path / "basicmodel_m.pkl", tmp_path / "SMPL_MALE.npz")
    body, ours = load_body(tmp_path, "male"), load_body(gender="male")
    eye, betas = torch.eye(3).expand(1, 24, 3, 3), torch.ones(1, 10)
    assert torch.equal(body(eye, betas).vertices, ours(eye, betas).vertices)
    assert body.landmarks == ours.landmarks


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("weights", lambda a: a[:-1], "weights is made for 6879"),
        ("v_template", lambda a: a * np.nan, "v_template holds NaN"),
        ("shapedirs", lambda a: a[:, :, :5], "shapedirs has 5 betas"),
        ("kintree_table", lambda a: a[:, ::-1], "kintree_table"),
        ("f", lambda a: a + 7000, "names vertices"),
        ("posedirs", None, "posedirs is missing"),
    ],
)
def test_a_damaged_body_is_refused(tmp_path, arrays, field, change, words):
    damaged = {name: arrays[name] for name in FIELDS}
    if change is None:
        del damaged[field]
    else:
        damaged[field] = change(damaged[field])
    write_npz(tmp_path / "SMPL_MALE.npz", **damaged)
    with pytest.raises(InputError, match=words):
        load_body(tmp_path, "male")


def test_a_regressor_of_another_topology_is_refused(tmp_path, arrays):
    write_npz(tmp_path / "SMPL_MALE.npz", **{name: arrays[name] for name in FIELDS})
    np.save(tmp_path / REGRESSOR_FILE, np.zeros((17, 6890)))
    with pytest.raises(InputError, match="another topology"):
        load_body(tmp_path, "male")


def test_a_directory_without_the_gender_says_how_to_convert(tmp_path):
    (tmp_path / "basicmodel_f.pkl").touch()
    with pytest.raises(InputError, match="convert-body"):
        load_body(tmp_path, "female")
    with pytest.raises(InputError, match="no such directory"):
        load_body(tmp_path / "none")
