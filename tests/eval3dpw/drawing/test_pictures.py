import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.threedpw import read_sequence
from eval3dpw.drawing.pictures import PANEL_PX, PictureSource, draw_comparison, write_picture
from fitting.bodies.body import load_body
from fitting.body_fits import BodyFits
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17


@pytest.fixture
def source(tmp_path, make_sequence, write_sequence):
    data = make_sequence("s", frames=2)
    data["poses"][0][:, :3] = Rotation.from_euler("x", np.pi).as_rotvec()
    (track,) = read_sequence(write_sequence(tmp_path, data), tmp_path / "imageFiles")
    track = track.select(np.array([1]))
    truth = camera_truth(track, load_body(gender="male"))
    fits = BodyFits(truth.rotations.numpy(), truth.betas.numpy(), truth.translation.numpy())
    poses = Poses2D(COCO17, np.full((1, 17, 2), 30.0), np.ones((1, 17)), np.array([[4.0, 4, 56, 40]]))
    return PictureSource(track, poses, np.ones((1, 17)), fits, fits, ("init", "ccnet"), ("before", "after"))


def test_five_panels_with_the_bodies_in_them(source):
    picture = draw_comparison(source, load_body(gender="male"), load_body(gender="male"))
    assert picture.shape == (PANEL_PX + 24, 5 * PANEL_PX, 3)
    photo, initial, refined, side, _ = np.split(picture[24:].astype(int), 5, axis=1)
    assert ((initial - refined) != 0).any()  # other colours, same places
    covered = (np.abs(initial - photo).sum(-1) > 30).mean()
    assert 0.01 < covered < 0.7
    assert (side == 255).all(-1).mean() > 0.5  # white around the bodies
    grey = (side[..., 0] == side[..., 1]) & (side[..., 1] == side[..., 2]) & (side[..., 0] < 250)
    assert (~(side == 255).all(-1)).mean() > 0.02
    assert grey.mean() < 0.2


def test_written_pictures_are_whole(tmp_path, source):
    picture = draw_comparison(source, load_body(gender="male"), load_body(gender="male"))
    write_picture(tmp_path / "deep" / "picture.png", picture)
    read = cv2.imread(str(tmp_path / "deep" / "picture.png"))[..., ::-1]
    np.testing.assert_array_equal(read, picture)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["picture.png"]
