import numpy as np
import pytest

from eval3dpw.dataset.boxes import PERSON_SCALE, grown, joint_boxes, joint_boxes_of_persons, track_boxes
from eval3dpw.dataset.threedpw import read_sequence
from pose2d.errors import InputError


def test_boxes_by_hand():
    keypoints = np.zeros((2, 18, 3))
    keypoints[0, 3] = (10, 20, 0.9)
    keypoints[0, 7] = (30, 60, 0.1)
    keypoints[0, 9] = (500, 500, 0.0)
    boxes_xyxy = joint_boxes(keypoints)
    assert boxes_xyxy[0].tolist() == [10, 20, 30, 60]
    assert np.isnan(boxes_xyxy[1]).all()
    np.testing.assert_allclose(grown(boxes_xyxy, 1.2)[0], (20 - 12, 40 - 24, 24, 48))


def test_boxes_of_persons_come_back():
    boxes_xywh = np.array([[3.0, 4, 50, 120], [-10, 0, 7, 9]])
    np.testing.assert_allclose(grown(joint_boxes_of_persons(boxes_xywh), PERSON_SCALE), boxes_xywh)


@pytest.mark.parametrize(
    ("joints", "words"),
    [((300.0, 20.0), "outside the 64x48 image"), (None, "no joint at frame 2"), ((7.0, 9.0), "zero")],
)
def test_boxes_that_cannot_be_used(tmp_path, make_sequence, write_sequence, joints, words):
    data = make_sequence("s")
    if joints is None:
        data["poses2d"][0][2] = 0
    elif words == "zero":
        data["poses2d"][0][2, :2] = np.array(joints)[:, None]
    else:
        data["poses2d"][0][2, 0] += joints[0]
    (track,) = read_sequence(write_sequence(tmp_path, data), tmp_path / "imageFiles")
    with pytest.raises(InputError, match=words) as caught:
        track_boxes(track)
    assert "s.pkl" in str(caught.value)
    assert "frame 2" in str(caught.value)
