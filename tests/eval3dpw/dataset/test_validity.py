from dataclasses import replace

import pytest

from eval3dpw.dataset.threedpw import read_sequence
from eval3dpw.dataset.validity import VALIDITY
from pose2d.errors import InputError


def test_validity_rules_by_hand(tmp_path, make_sequence, write_sequence):
    data = make_sequence("s", frames=5)
    data["campose_valid"][0][0] = 0
    data["poses2d"][0][1] = 0
    data["poses2d"][0][2, 2, 2:8] = 0.2  # right and left arm below VIBE's threshold: 6 limb joints are left
    data["poses2d"][0][3, 2] = 0  # coordinates, but no confidence
    (track,) = read_sequence(write_sequence(tmp_path, data), tmp_path / "imageFiles")
    assert VALIDITY["campose"](track).tolist() == [False, True, True, True, True]
    assert VALIDITY["spin"](track).tolist() == [False, False, True, False, True]
    assert VALIDITY["official"](track).tolist() == [False, False, True, True, True]
    assert VALIDITY["vibe"](track).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize("rule", ["campose", "spin", "official"])
def test_footage_without_truth_cannot_be_evaluated(tmp_path, make_sequence, write_sequence, rule):
    (track,) = read_sequence(write_sequence(tmp_path, make_sequence("s")), tmp_path / "imageFiles")
    with pytest.raises(InputError, match="s_0 has no ground truth"):
        VALIDITY[rule](replace(track, truth=None))


def test_rules_on_openpose_keypoints_name_the_other_rule(tmp_path, make_sequence, write_sequence):
    (track,) = read_sequence(write_sequence(tmp_path, make_sequence("s")), tmp_path / "imageFiles")
    bare = replace(track, detected=None)
    assert VALIDITY["campose"](bare).all()
    with pytest.raises(InputError, match="rule 'vibe' asks for OpenPose's 18 keypoints"):
        VALIDITY["vibe"](bare)
