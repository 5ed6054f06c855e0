import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.threedpw import read_sequence
from eval3dpw.judging.oracle import oracle_confidence, silhouette_area, true_keypoints
from fitting.bodies.body import load_body
from pose2d.skeletons import COCO17


@pytest.fixture
def track(tmp_path, make_sequence, write_sequence):
    data = make_sequence("s", frames=3)
    data["poses"][0][:, :3] = Rotation.from_euler("x", np.pi).as_rotvec()  # upright before a y-down camera
    (track,) = read_sequence(write_sequence(tmp_path, data, images=False), None)
    return track


def test_keypoints_are_cv2s_projection_of_the_true_body(track):
    body = load_body(gender="male")
    truth = camera_truth(track, body)
    with torch.no_grad():
        points = body.keypoints(body(truth.rotations, truth.betas, truth.translation), COCO17).double().numpy()
    ours, area_px = true_keypoints(track, COCO17, body)
    for frame in range(3):
        theirs, _ = cv2.projectPoints(points[frame], np.zeros(3), np.zeros(3), track.intrinsics, None)
        np.testing.assert_allclose(ours[frame], theirs[:, 0], atol=1e-6)
    height = np.ptp(ours[..., 1], axis=1)
    assert (area_px > 0.1 * height**2).all()
    assert (area_px < height**2).all()


def test_area_of_a_square():
    vertices = np.array([[-0.5, -0.5, 2.0], [0.5, -0.5, 2.0], [0.5, 0.5, 2.0], [-0.5, 0.5, 2.0]])
    intrinsics = np.array([[1000.0, 0, 50], [0, 1000.0, 60], [0, 0, 1]])
    area = silhouette_area(vertices, np.array([[0, 1, 2], [0, 2, 3]]), intrinsics)
    assert area == pytest.approx(500.0**2, rel=0.02)  # reaches beyond any small image
    assert np.isnan(silhouette_area(-vertices, np.array([[0, 1, 2]]), intrinsics))


def test_oks_of_each_keypoint(track):
    body = load_body(gender="male")
    true_px, area_px = true_keypoints(track, COCO17, body)
    assert (oracle_confidence(track, true_px, COCO17, body) == 1).all()
    # At a distance of one falloff length, sqrt(area) * 2 sigma, the OKS is exp(-1/2).
    step = np.sqrt(area_px)[:, None] * 2 * COCO17.sigmas
    moved = true_px + np.stack([step * 0.6, step * -0.8], axis=-1)
    np.testing.assert_allclose(oracle_confidence(track, moved, COCO17, body), np.exp(-0.5))
    moved[1, 4] = np.nan
    assert oracle_confidence(track, moved, COCO17, body)[1, 4] == 0
