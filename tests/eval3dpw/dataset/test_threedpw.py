import os
import pickle

import numpy as np
import pytest

from eval3dpw.dataset.sequences import SequenceRef
from eval3dpw.dataset.threedpw import ThreeDPW, read_sequence
from pose2d.errors import InputError


def test_reads_every_actor_with_3dpw_axes(tmp_path, make_sequence, write_sequence):
    data = make_sequence("walk_00", frames=3, actors=2)
    write_sequence(tmp_path, data)
    write_sequence(tmp_path, make_sequence("arguing_00", frames=2, seed=1))
    tracks = list(ThreeDPW(tmp_path).tracks("test"))
    assert [track.name for track in tracks] == ["arguing_00_0", "walk_00_0", "walk_00_1"]
    last = tracks[-1]
    assert (last.truth.gender, len(last), last.image_size_wh) == ("female", 3, (64, 48))
    assert last.detected.xy_px.shape == (3, 18, 2)
    assert last.detected.xy_px[2, 5, 1] == data["poses2d"][1][2, 1, 5]
    assert last.detected.score[2, 5] == data["poses2d"][1][2, 2, 5]
    assert last.image_paths[2].name == "image_00002.jpg"
    np.testing.assert_array_equal(last.truth.translation, data["trans"][1])
    assert [track.name for track in ThreeDPW(tmp_path).tracks("test", ["walk_00"])] == ["walk_00_0", "walk_00_1"]


def test_select_by_mask_and_by_index(tmp_path, make_sequence, write_sequence):
    (track,) = read_sequence(write_sequence(tmp_path, make_sequence("s", frames=4)), tmp_path / "imageFiles")
    masked, picked = track.select(np.array([False, True, False, True])), track.select(np.array([1, 3]))
    for part in (masked, picked):
        assert part.frame_ids.tolist() == [1, 3]
        assert [path.name for path in part.image_paths] == ["image_00001.jpg", "image_00003.jpg"]
        np.testing.assert_array_equal(part.truth.poses, track.truth.poses[[1, 3]])


def test_images_are_not_needed_to_evaluate(tmp_path, make_sequence, write_sequence):
    (track,) = read_sequence(write_sequence(tmp_path, make_sequence("s"), images=False), None)
    assert (track.image_paths, track.image_size_wh) == ((), None)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("poses", [np.full((4, 72), np.nan)], ("poses[0]", "NaN")),
        ("poses", [np.zeros((4, 71))], ("poses[0]", "(4, 71)", "(4, 72)")),
        ("trans", [np.zeros((3, 3))], ("trans[0]", "(3, 3)")),
        ("trans", [], ("trans", "1 actors")),
        ("poses2d", [np.zeros((4, 18, 3))], ("poses2d[0]", "(4, 18, 3)", "(4, 3, 18)")),
        ("betas", [np.zeros(9)], ("betas[0]", "9")),
        ("betas", ["tall"], ("betas[0]", "numbers")),
        ("genders", ["x"], ("genders[0]", "'x'")),
        ("genders", [], ("genders",)),
        ("campose_valid", [np.ones(3)], ("campose_valid[0]",)),
        ("cam_poses", np.zeros((4, 4, 4)), ("cam_poses", "rigid")),
        ("cam_poses", np.zeros((0, 4, 4)), ("cam_poses",)),
        ("cam_intrinsics", np.zeros((3, 3)), ("cam_intrinsics", "focal")),
        ("sequence", "../elsewhere", ("sequence", "../elsewhere")),
    ],
)
def test_a_bad_field_is_named(tmp_path, make_sequence, write_sequence, field, value, words):
    path = write_sequence(tmp_path, make_sequence("s"))
    data = pickle.loads(path.read_bytes())
    data[field] = value
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(InputError) as caught:
        read_sequence(path, tmp_path / "imageFiles")
    for word in (path.name, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named(tmp_path, make_sequence, write_sequence):
    data = make_sequence("s")
    del data["cam_poses"]
    path = tmp_path / "s.pkl"
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(InputError, match=r"s\.pkl lacks cam_poses"):
        read_sequence(path, None)


def test_garbage_cameras_are_allowed_where_the_file_calls_them_invalid(tmp_path, make_sequence, write_sequence):
    data = make_sequence("s")
    data["cam_poses"][1] = 7.0
    data["campose_valid"][0][1] = 0
    (track,) = read_sequence(write_sequence(tmp_path, data), tmp_path / "imageFiles")
    assert track.truth.camera_known.tolist() == [True, False, True, True]


def test_a_missing_image_in_the_middle_is_named(tmp_path, make_sequence, write_sequence):
    path = write_sequence(tmp_path, make_sequence("s"))
    (tmp_path / "imageFiles" / "s" / "image_00002.jpg").unlink()
    with pytest.raises(InputError, match=r"image_00002\.jpg is missing"):
        read_sequence(path, tmp_path / "imageFiles")


def test_truncated_and_malicious_pickles_are_refused_and_not_run(tmp_path, make_sequence, write_sequence):
    path = write_sequence(tmp_path, make_sequence("s"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"s\.pkl"):
        read_sequence(path, None)

    mark = tmp_path / "was_run"

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    path.write_bytes(pickle.dumps(dict(make_sequence("s"), poses=[Malicious()])))
    with pytest.raises(InputError, match="mkdir"):
        read_sequence(path, None)
    assert not mark.exists()


def test_folders_splits_and_names_are_checked(tmp_path, make_sequence, write_sequence):
    with pytest.raises(InputError, match="no such directory"):
        ThreeDPW(tmp_path / "nowhere").find("test")
    with pytest.raises(InputError, match="sequenceFiles"):
        ThreeDPW(tmp_path).find("test")
    write_sequence(tmp_path, make_sequence("s"))
    with pytest.raises(InputError, match="validation"):
        ThreeDPW(tmp_path).find("all")
    with pytest.raises(InputError, match="no sequence t"):
        ThreeDPW(tmp_path).find("test", ["s", "t"])


@pytest.mark.parametrize("kept", [-30, 0])
def test_a_truncated_image_is_refused(tmp_path, make_sequence, write_sequence, kept):
    sequence = write_sequence(tmp_path, make_sequence("s"))
    path = tmp_path / "imageFiles" / "s" / "image_00002.jpg"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"image_00002\.jpg is no whole JPEG"):
        read_sequence(sequence, tmp_path / "imageFiles")


def test_images_and_digests_of_a_found_sequence(tmp_path, make_sequence, write_sequence):
    path = write_sequence(tmp_path, make_sequence("s"))
    dataset = ThreeDPW(tmp_path)
    (found,) = dataset.find("test")
    assert found == SequenceRef("s", path)
    assert dataset.image_path("s", 2) == tmp_path / "imageFiles" / "s" / "image_00002.jpg"
    assert dataset.image_path("s", 99) is None
    before = dataset.digest(found)
    path.write_bytes(pickle.dumps(make_sequence("s", seed=1)))
    assert dataset.digest(found) != before
