import sys
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import roma
import torch

from eval3dpw.drawing.overlay import ROW_COLOURS
from eval3dpw.report.bodies import fitted_mesh
from eval3dpw.report.export import export_track, overlay_frames, smpl_motion, write_video
from eval3dpw.report.run_data import load_run
from fitting.bodies.body import load_body
from pose2d.errors import InputError
from tests.eval3dpw.small_runs import write_run


@pytest.fixture
def run(tmp_path, write_sequence, make_sequence):
    path = write_sequence(tmp_path / "root", make_sequence("walk", frames=3))
    return load_run(write_run(tmp_path / "root", tmp_path / "out", [path]))


@pytest.mark.parametrize(("up", "turn"), [("y", np.diag([1.0, -1, -1])), ("z", [[1, 0, 0], [0, 0, 1], [0, -1, 0]])])
def test_motion_poses_the_same_bodies_with_another_axis_up(run, up, turn):
    fit = run.fits("walk_0")["ccnet"]
    body = load_body()
    motion = smpl_motion(fit, body, up=up)
    poses = torch.as_tensor(motion.poses).float().reshape(-1, 24, 3)
    with torch.no_grad():  # as an importer does: rotation vectors, one shape, translation
        posed = body(
            roma.rotvec_to_rotmat(poses),
            torch.as_tensor(motion.betas).float().expand(3, 10),
            torch.as_tensor(motion.trans).float(),
        )
    mesh = fitted_mesh(body, fit, fit.frame_ids)
    assert np.abs(posed.vertices.numpy() - mesh.vertices @ np.array(turn).T).max() < 2e-5


def test_motion_file_has_the_fields_of_amass_and_aitviewer(run, tmp_path):
    path = export_track(run, "walk_0", "ccnet", "npz", tmp_path / "files", frames_per_s=60.0)
    with np.load(path) as file:
        shapes = {name: file[name].shape for name in file.files}
        assert file["mocap_framerate"] == 60 and str(file["gender"]) == "neutral"
    expected = {"poses": (3, 72), "poses_root": (3, 3), "poses_body": (3, 69), "betas": (10,), "trans": (3, 3)}
    assert expected.items() <= shapes.items()


def test_every_second_frame_has_half_the_rate(run):
    fit = run.fits("walk_0")["ccnet"]
    fit.frame_ids[:] = [0, 2, 4]
    assert smpl_motion(fit, load_body(), frames_per_s=30.0).mocap_framerate == 15


def test_video_shows_every_frame_with_the_body_over_it(run, tmp_path):
    path = export_track(run, "walk_0", "ccnet", "mp4", tmp_path / "videos")
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1])
    assert len(frames) == 3 and frames[0].shape == (48, 64, 3)
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(30)
    drawn = list(overlay_frames(run, "walk_0", run.fits("walk_0")["ccnet"]))
    assert np.abs(frames[1].astype(float) - drawn[1]).mean() < 12  # what the encoder loses
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_frames_without_images_are_grey_with_the_body(run, tmp_path):
    for image in (tmp_path / "root" / "imageFiles" / "walk").iterdir():
        image.unlink()
    fit = run.fits("walk_0")["ccnet"]
    frame = next(overlay_frames(run, "walk_0", fit))
    assert (frame == 200).all(-1).mean() > 0.2
    blue = frame.astype(int)[..., 2] - frame.astype(int)[..., 0]
    assert (blue > 20).sum() > 10 and ROW_COLOURS["ccnet"][2] > ROW_COLOURS["ccnet"][0]


def test_failed_video_leaves_nothing(tmp_path):
    def frames():
        yield np.zeros((8, 8, 3), np.uint8)
        raise InputError("no more images")

    with pytest.raises(InputError, match="no more images"):
        write_video(tmp_path / "a.mp4", frames(), 30.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no frame"):
        write_video(tmp_path / "a.mp4", iter(()), 30.0)


@pytest.mark.parametrize("form", ["glb", "obj"])
def test_meshes_read_back_upright(run, tmp_path, form):
    trimesh = pytest.importorskip("trimesh", reason="trimesh (the extra 'export') is not installed")
    folder = export_track(run, "walk_0", "raw", form, tmp_path)
    assert sorted(p.name for p in folder.iterdir()) == [f"{n:05d}.{form}" for n in range(3)]
    mesh = trimesh.load(folder / f"00001.{form}", force="mesh", process=False)
    fit = run.fits("walk_0")["raw"]
    expected = fitted_mesh(load_body(), fit, fit.frame_ids[1:2]).vertices[0] * (1, -1, -1)
    assert np.abs(np.asarray(mesh.vertices) - expected).max() < 1e-5
    assert len(mesh.faces) == len(load_body().faces)


def test_missing_package_and_missing_fits_are_told(run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no fits of walk_0 by 'median': it has init, raw, ccnet"):
        export_track(run, "walk_0", "median", "npz", tmp_path)
    with pytest.raises(InputError, match="none for that track"):
        export_track(run, "nobody_3", "raw", "npz", tmp_path)
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(InputError, match=r"calibrated-pose\[export\]"):
        export_track(run, "walk_0", "raw", "obj", tmp_path)


def test_viewer_without_viser_says_what_to_install(run, monkeypatch):
    from eval3dpw.report.viewer import Viewer

    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(InputError, match=r"calibrated-pose\[viewer\]"):
        Viewer(run, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_viewer_answers_on_localhost_alone(run):
    pytest.importorskip("viser", reason="viser (the extra 'viewer') is not installed")
    from eval3dpw.report.viewer import Viewer, meshes_of

    viewer = Viewer(run, 18080)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{viewer.port}", timeout=60) as answer:
            assert answer.status == 200
        listening = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        mine = [local for local, _, state in listening if state == "0A" and local.endswith(f":{viewer.port:04X}")]
        assert mine == [f"0100007F:{viewer.port:04X}"]
        meshes = meshes_of(run, viewer.shown())
        assert set(meshes) == {"ccnet", "truth"}
        assert all(np.abs(mesh.pelvis).max() == 0 for mesh in meshes.values())
    finally:
        viewer.stop()
