"""Fits of a run in the formats of other programs: video, meshes, SMPL parameters.

Axes: a video needs none; meshes are +x right, +y up, +z towards the viewer (glTF's); SMPL parameters are z-up, as
AMASS and Blender have them, or y-up. Metres and radians everywhere. A moving camera is not undone: the bodies stay in
the frame of the camera that saw them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import roma
import torch
from jaxtyping import Float, UInt8

from eval3dpw.dataset.ground_truth import rest_root
from eval3dpw.drawing.overlay import best_rasteriser, draw_keypoints, overlay_mesh, row_colours
from eval3dpw.report.bodies import fitted_mesh
from eval3dpw.report.run_data import Run
from eval3dpw.results.fits import TrackFits
from fitting.bodies.body import Body
from pose2d.console.progress import track as progress
from pose2d.errors import InputError
from pose2d.files.images import read_image
from pose2d.files.storage import atomic_path, read_npz, write_npz

Format = Literal["mp4", "glb", "obj", "npz"]
Up = Literal["z", "y"]

FRAMES_PER_S = 30.0
"""Of 3DPW's cameras."""

# From the OpenCV camera (+x right, +y down, +z forward) to the axes of other programs.
_TO_Y_UP = np.diag([1.0, -1.0, -1.0])
_TO_UP: dict[Up, np.ndarray] = {"y": _TO_Y_UP, "z": np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])}


@dataclass(frozen=True)
class SmplMotion:
    """A motion as AMASS, Blender's SMPL add-on and AitViewer name it."""

    poses: Float[np.ndarray, "n 72"]
    """Rotation vectors of the 24 joints, radians, the root's first."""
    betas: Float[np.ndarray, "10"]
    """One shape for the motion: the median of the frames'."""
    trans: Float[np.ndarray, "n 3"]
    gender: str
    mocap_framerate: float

    def save(self, path: str | Path) -> None:
        """Write .npz: AMASS's fields, and poses_root and poses_body for AitViewer's `SMPLSequence.from_npz`."""
        write_npz(
            path,
            poses=self.poses,
            poses_root=self.poses[:, :3],
            poses_body=self.poses[:, 3:],
            betas=self.betas,
            trans=self.trans,
            gender=np.array(self.gender),
            mocap_framerate=np.array(self.mocap_framerate),
            mocap_frame_rate=np.array(self.mocap_framerate),  # AMASS's newer files spell it so
            surface_model_type=np.array("smpl"),
        )


def smpl_motion(fit: TrackFits, body: Body, frames_per_s: float = FRAMES_PER_S, up: Up = "z") -> SmplMotion:
    """A track's fits as a motion, with up along one axis.

    Turning the world by F turns the root about its rest position J0: root orientation F R, and translation
    F (J0 + t) - J0.

    Args:
        fit: bodies in the camera's frame.
        body: of the fits; J0 depends on it and on the shape.
        frames_per_s: of the sequence; where every second frame was fitted the motion has half of it.
        up: axis that points up in the result.
    """
    turn = _TO_UP[up]
    rotations = np.asarray(fit.fits.rotations, np.float64).copy()
    rotations[:, 0] = turn @ rotations[:, 0]
    betas = np.median(np.asarray(fit.fits.betas, np.float64), axis=0)
    root = rest_root(body, torch.as_tensor(betas[None]).float())[0].double().numpy()
    trans = (np.asarray(fit.fits.translation, np.float64) + root) @ turn.T - root
    vectors = roma.rotmat_to_rotvec(roma.special_procrustes(torch.as_tensor(rotations)))
    step = float(np.median(np.diff(fit.frame_ids))) if len(fit.frame_ids) > 1 else 1.0
    return SmplMotion(vectors.reshape(-1, 72).numpy(), betas, trans, "neutral", frames_per_s / max(step, 1.0))


def export_track(
    run: Run, track: str, row: str, form: Format, out: Path, frames_per_s: float = FRAMES_PER_S, up: Up = "z"
) -> Path:
    """Write one track's fits under one weighting; returns the file, or the folder of the meshes.

    Raises:
        InputError: the run has no such fits, or a package or an image is missing.
    """
    fits = run.fits(track)
    if row not in fits:
        had = f"it has {', '.join(fits)}" if fits else "it has none for that track"
        raise InputError(f"{run.folder} has no fits of {track} by {row!r}: {had}")
    stem = f"{track}_{row}"
    if form == "npz":
        path = out / f"{stem}.npz"
        smpl_motion(fits[row], run.find_body("neutral"), frames_per_s, up).save(path)
        return path
    if form == "mp4":
        return write_video(
            out / f"{stem}.mp4", overlay_frames(run, track, fits[row]), frames_per_s, len(fits[row].frame_ids)
        )
    return write_meshes(run, fits[row], out / stem, form)


def overlay_frames(run: Run, track: str, fit: TrackFits) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Each frame's image with keypoints and body; plain grey where the image is not there.

    Raises:
        InputError: neither image nor camera of the track is known.
    """
    source, keypoints = run.track(track), run.keypoints(track)
    beside = read_npz(run.fit_folders[fit.weighting] / f"{track}.npz")
    if source is None and "intrinsics" not in beside:
        raise InputError(f"the camera of {track} is not known: give the dataset with --root")
    intrinsics = beside["intrinsics"] if source is None else source.intrinsics
    size_wh = beside.get("image_size_wh", (2 * intrinsics[:2, 2] + 1).round())
    body, colour, rasteriser = run.find_body("neutral"), row_colours(run.rows)[fit.weighting], best_rasteriser()
    for frame_id in fit.frame_ids:
        path = None if source is None else run.image_path(source.sequence, int(frame_id))
        image = np.full((int(size_wh[1]), int(size_wh[0]), 3), 200, np.uint8) if path is None else read_image(path)
        mesh = fitted_mesh(body, fit, np.array([frame_id]))
        drawn = overlay_mesh(image, mesh.vertices[0], body.faces, intrinsics, colour, 0.7, rasteriser)
        if keypoints is not None and (found := np.flatnonzero(keypoints.frame_ids == frame_id)).size:
            place = found[0]
            drawn = draw_keypoints(drawn, keypoints.xy_px[place], keypoints.shown_score[place], keypoints.skeleton, 3)
        yield drawn


def write_video(
    path: Path, frames: Iterator[UInt8[np.ndarray, "h w 3"]], frames_per_s: float, count: int | None = None
) -> Path:
    """Write an MP4, whole or not at all; all frames take the first one's size, made even.

    Raises:
        InputError: there is no frame, or OpenCV cannot write MP4 here.
    """
    with atomic_path(path) as partial:
        video = partial.with_suffix(".mp4")  # OpenCV goes by the ending
        writer: cv2.VideoWriter | None = None
        size_wh, written = (0, 0), 0
        try:
            for frame in progress(frames, path.name, count):
                if writer is None:
                    size_wh = frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2
                    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_s, size_wh)
                    if not writer.isOpened():
                        raise InputError(
                            f"cannot write {path}: this OpenCV has no MP4 encoder, or the folder is closed"
                        )
                writer.write(np.ascontiguousarray(cv2.resize(frame, size_wh)[..., ::-1]))
                written += 1
            if writer is None:
                raise InputError(f"{path}: there is no frame to write")
            writer.release()
            _require_whole_video(video, path, written)
            video.replace(partial)
        finally:
            if writer is not None:
                writer.release()
            video.unlink(missing_ok=True)
    return path


def _require_whole_video(video: Path, shown: Path, frames: int) -> None:
    """Open what OpenCV wrote, for it never says that it could not write.

    Raises:
        InputError: the file cannot be opened, or lacks frames.
    """
    reader = cv2.VideoCapture(str(video))
    try:
        found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
        readable = found == frames and reader.read()[0]
    finally:
        reader.release()
    if not readable:
        raise InputError(
            f"cannot write {shown}: of {frames} frames {found} arrived in it; is the disk full? Make room, or choose "
            "another --out"
        )


def write_meshes(run: Run, fit: TrackFits, folder: Path, form: Literal["glb", "obj"]) -> Path:
    """Write `<folder>/<frame>.<form>` for every frame, +y up, metres.

    Raises:
        InputError: trimesh is not installed.
    """
    try:
        import trimesh
    except ImportError:
        raise InputError("meshes need the package trimesh: pip install 'calibrated-pose[export]'") from None
    body = run.find_body("neutral")
    for frame_id in progress(fit.frame_ids, folder.name):
        vertices = fitted_mesh(body, fit, np.array([frame_id])).vertices[0] @ _TO_Y_UP.T
        mesh = trimesh.Trimesh(vertices, body.faces, process=False)
        with atomic_path(folder / f"{frame_id:05d}.{form}") as partial:
            mesh.export(str(partial), file_type=form)
    return folder
