import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eval3dpw.dataset.ground_truth import camera_truth, project_px, rest_root
from eval3dpw.dataset.threedpw import read_sequence
from fitting.bodies.body import load_body


@pytest.fixture
def track(tmp_path, make_sequence, write_sequence):
    data = make_sequence("s", frames=6)
    data["poses"][0][:, :3] = Rotation.random(6, random_state=0).as_rotvec()
    data["cam_poses"][:, :3, :3] = Rotation.random(6, random_state=1).as_matrix()
    data["cam_poses"][:, :3, 3] = np.random.default_rng(2).normal(size=(6, 3))
    (track,) = read_sequence(write_sequence(tmp_path, data, images=False), None)
    return track


def test_the_body_in_the_camera_is_the_world_body_moved_rigidly(track):
    body = load_body(gender="male")
    world_rotations = torch.as_tensor(Rotation.from_rotvec(track.truth.poses.reshape(-1, 3)).as_matrix()).float()
    truth = camera_truth(track, body)
    with torch.no_grad():
        world = body(
            world_rotations.reshape(6, 24, 3, 3), truth.betas, torch.as_tensor(track.truth.translation).float()
        ).vertices.double()
        camera = body(truth.rotations, truth.betas, truth.translation).vertices.double()
    T = torch.as_tensor(track.truth.T_camera_world)
    moved = torch.einsum("nij,nvj->nvi", T[:, :3, :3], world) + T[:, None, :3, 3]
    torch.testing.assert_close(camera, moved, atol=1e-5, rtol=0)


def test_rest_root_is_where_the_root_joint_stays_in_every_pose():
    body = load_body(gender="female")
    betas = torch.randn(3, 10)
    rotations = torch.as_tensor(Rotation.random(72, random_state=2).as_matrix()).float().reshape(3, 24, 3, 3)
    with torch.no_grad():
        joints = body(rotations, betas).joints
    torch.testing.assert_close(joints[:, 0], rest_root(body, betas), atol=1e-5, rtol=0)


def test_projection_by_hand():
    intrinsics = np.array([[100.0, 2.0, 50.0], [0, 200.0, 40.0], [0, 0, 1]])
    points = np.array([[[0.1, -0.2, 2.0], [0.0, 0.0, -1.0]]])
    xy_px = project_px(points, intrinsics)
    np.testing.assert_allclose(xy_px[0, 0], (100 * 0.05 + 2 * -0.1 + 50, 200 * -0.1 + 40))
    assert np.isnan(xy_px[0, 1]).all()
