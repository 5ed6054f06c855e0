import itertools
import sys

import numpy as np
import pytest

from eval3dpw.drawing.overlay import (
    ROW_COLOURS,
    TRUTH_COLOUR,
    Pytorch3dRasteriser,
    ZBufferRasteriser,
    best_rasteriser,
    confidence_colour,
    draw_keypoints,
    overlay_mesh,
    row_colours,
    side_view,
)
from eval3dpw.drawing.rasteriser import rasterise
from pose2d.skeletons import COCO17

CAMERA = np.array([[100.0, 0, 49.5], [0, 100.0, 29.5], [0, 0, 1]])
SQUARE = np.array([[-0.2, -0.2, 2.0], [0.2, -0.2, 2.0], [0.2, 0.2, 2.0], [-0.2, 0.2, 2.0]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])
IMAGE = np.full((60, 100, 3), 37, np.uint8)


def test_only_the_projected_square_is_painted():
    drawn = overlay_mesh(IMAGE, SQUARE, FACES, CAMERA, (200, 100, 50), opacity=1.0)
    # x = 100 * (+-0.2) / 2 + 49.5 = 39.5 ... 59.5, so pixels 40 to 59; y likewise 20 to 39.
    painted = (drawn != 37).any(-1)
    rows, columns = np.nonzero(painted)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (40, 59, 20, 39)
    assert painted.sum() == 400
    assert (IMAGE == 37).all()


def test_headlight_shows_the_colour_where_the_surface_faces_the_camera():
    drawn = overlay_mesh(IMAGE, SQUARE, FACES, CAMERA, (200, 100, 50), opacity=1.0)
    cosine = 2 / np.sqrt(4 + 2 * 0.2**2)  # at the corners; the surface between is interpolated
    assert np.abs(drawn[30, 50] / np.array([200, 100, 50]) - (0.3 + 0.7 * cosine)).max() < 0.02
    turned = SQUARE[[1, 0, 3, 2]]  # wound the other way
    assert np.array_equal(overlay_mesh(IMAGE, turned, FACES, CAMERA, (200, 100, 50), opacity=1.0), drawn)


def test_opacity_mixes_with_the_image():
    opaque = overlay_mesh(IMAGE, SQUARE, FACES, CAMERA, (200, 100, 50), opacity=1.0)[30, 50].astype(float)
    half = overlay_mesh(IMAGE, SQUARE, FACES, CAMERA, (200, 100, 50), opacity=0.5)[30, 50]
    assert np.abs(half - (opaque + 37) / 2).max() <= 1


@pytest.mark.parametrize("shift", [(0, 0, -5), (50, 0, 0), (0, -50, 0)])
def test_mesh_that_is_not_seen_leaves_the_image(shift):
    assert np.array_equal(overlay_mesh(IMAGE, SQUARE + shift, FACES, CAMERA, (200, 100, 50)), IMAGE)


def test_window_gives_what_the_whole_picture_gives():
    moved = SQUARE + (0.9, 0.5, 0)  # cut by the right and the lower border
    drawn = overlay_mesh(IMAGE, moved, FACES, CAMERA, (255, 255, 255), opacity=1.0)
    assert np.array_equal((drawn != 37).any(-1), rasterise(moved, FACES, CAMERA, (60, 100)).face >= 0)


def test_keypoints_that_cannot_be_drawn_are_left_out():
    xy_px = np.full((17, 2), np.nan)
    xy_px[0], xy_px[1], xy_px[2] = (20, 30), (np.inf, 3), (1e12, 5)
    drawn = draw_keypoints(IMAGE, xy_px, np.full(17, np.nan), COCO17)
    rows, columns = np.nonzero((drawn != 37).any(-1))
    assert abs(columns.mean() - 20) < 0.6 and abs(rows.mean() - 30) < 0.6
    assert len(rows) < 150


def test_confident_keypoints_are_lighter():
    luminance = [np.dot(confidence_colour(c), (0.2126, 0.7152, 0.0722)) for c in np.linspace(0, 1, 11)]
    assert (np.diff(luminance) > 0).all()
    assert confidence_colour(float("nan")) == confidence_colour(0.0)
    assert confidence_colour(7.0) == confidence_colour(1.0)


def test_side_view_puts_the_nearer_body_in_front():
    faces = FACES
    across = SQUARE[:, [2, 1, 0]] - (2, 0, 0)  # a square in the y-z plane, seen full from the side
    near, far = across + (0.5, 0, 0), across - (0.5, 0, 0)  # the viewer stands at the camera's right
    pelvis = np.zeros(3)
    for order in (
        [(near, pelvis, (255, 0, 0)), (far, pelvis, (0, 0, 255))],
        [(far, pelvis, (0, 0, 255)), (near, pelvis, (255, 0, 0))],
    ):
        red, _, blue = side_view(order, faces, 64)[32, 32].astype(int)
        assert red > 200 and blue == 0


def linear(rgb):
    value = np.array(rgb) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(linear_rgb):
    xyz = TO_XYZ @ np.clip(linear_rgb, 0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_of_rows_differ_for_every_eye(deficiency):
    seen = [lab(np.array(DEFICIENCIES[deficiency]) @ linear(rgb)) for rgb in (*ROW_COLOURS.values(), TRUTH_COLOUR)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 9  # 2.3 is just noticeable


@pytest.mark.parametrize("row", ROW_COLOURS)
def test_colours_of_rows_stand_out_from_white(row):
    luminance = linear(ROW_COLOURS[row]) @ (0.2126, 0.7152, 0.0722)
    assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.1, 1.4.11


def test_unknown_rows_get_colours_of_their_own():
    colours = row_colours(("init", "mine", "yours", "ccnet"))
    assert len(set(colours.values())) == 4
    assert colours["ccnet"] == ROW_COLOURS["ccnet"]


def test_without_pytorch3d_the_z_buffer_is_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(best_rasteriser(), ZBufferRasteriser)


def test_pytorch3d_draws_what_the_z_buffer_draws():
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed")
    ours = ZBufferRasteriser().rasterise(SQUARE, FACES, CAMERA, (60, 100))
    theirs = Pytorch3dRasteriser("cpu").rasterise(SQUARE, FACES, CAMERA, (60, 100))
    assert ((ours.face >= 0) == (theirs.face >= 0)).mean() > 0.995
    both = (ours.face >= 0) & (theirs.face >= 0)
    assert np.allclose(ours.depth[both], theirs.depth[both], atol=1e-4)
