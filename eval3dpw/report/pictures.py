"""The report's pictures of single frames: which ones are shown and why, and what is drawn of each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from eval3dpw.dataset.sequences import Track
from eval3dpw.drawing.overlay import (
    TRUTH_COLOUR,
    MeshRasteriser,
    Rgb,
    draw_keypoints,
    hatched_panel,
    overlay_mesh,
    photo_panel,
    side_view,
)
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.report.bodies import TRUTH, pose_rows
from eval3dpw.report.run_data import Run, SolvedFrames, TrackKeypoints
from eval3dpw.report.scene import MovingMesh
from eval3dpw.results.fits import TrackFits
from eval3dpw.results.frame_errors import FrameTable
from pose2d.crops import apply_affine, square_crop_affine
from pose2d.errors import InputError
from pose2d.files.images import read_image

PANEL_PX = 320
_MARGIN = 1.25  # side of the shown square over the longer side of the person
_QUALITY = 78

Candidate = tuple[float, str, int, str]
"""How much a frame asks to be shown, its track, its number, why."""


@dataclass(frozen=True)
class ChosenFrame:
    """A frame to show and the reason."""

    track: str
    frame_id: int
    reason: str


class PictureEncoder:
    """Turns pictures into data URLs on threads of its own; a result is waited for when it is read."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> PictureEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> Future[str]:
        return self._pool.submit(_data_url, picture)


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with its pictures, which may still be being compressed."""

    chosen: ChosenFrame
    note: str
    photo: Future[str]
    overlays: dict[str, Future[str]]
    sides: dict[str, Future[str]]
    has_truth: bool

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "track": self.chosen.track,
            "frame_id": self.chosen.frame_id,
            "reason": self.chosen.reason,
            "note": self.note,
            "photo": self.photo.result(),
            "overlays": {row: picture.result() for row, picture in self.overlays.items()},
            "sides": {row: picture.result() for row, picture in self.sides.items()},
            "has_truth": self.has_truth,
        }


def choose_frames(
    tables: Sequence[FrameTable], solved: dict[str, dict[str, SolvedFrames]], shown: str, each: int
) -> list[ChosenFrame]:
    """The worst frames of a row, those it has improved and worsened most, and those that took most iterations."""
    chosen: dict[tuple[str, int], list[str]] = {}

    def take(scores: list[Candidate]) -> None:
        best: dict[str, Candidate] = {}  # one of each track before a second one: neighbouring frames look alike
        for score in (ordered := sorted(scores, reverse=True)):
            best.setdefault(score[1], score)
        firsts = list(best.values())[:each]
        others = [score for score in ordered[: 2 * each] if score not in firsts]
        for _, track, frame_id, reason in (firsts + others)[:each]:
            chosen.setdefault((track, frame_id), []).append(reason)

    worst: list[Candidate] = []
    gains: list[Candidate] = []
    losses: list[Candidate] = []
    slow: list[Candidate] = []
    for table in tables:
        if shown not in table.rows:
            continue
        errors = table.errors_mm["mpjpe_mm"]
        mine = errors[table.rows.index(shown)]
        first = errors[table.rows.index(INITIAL)] if INITIAL in table.rows else None
        for place, frame_id in enumerate(map(int, table.frame_ids)):
            worst.append((float(mine[place]), table.track, frame_id, f"worst: {mine[place]:.0f} mm by {shown}"))
            if first is not None and shown != INITIAL:
                gain = float(first[place] - mine[place])
                text = f"{first[place]:.0f} mm by {INITIAL}, {mine[place]:.0f} mm by {shown}"
                (gains if gain > 0 else losses).append((abs(gain), table.track, frame_id, text))
    for name, rows in solved.items():
        if shown in rows:
            for frame_id, count in zip(map(int, rows[shown].frame_ids), map(int, rows[shown].iterations), strict=True):
                slow.append((float(count), name, frame_id, f"slowest: {count} iterations by {shown}"))
    take(worst)
    take([(*score[:3], f"most improved: {score[3]}") for score in gains])
    take([(*score[:3], f"most worsened: {score[3]}") for score in losses])
    take(slow)
    return [ChosenFrame(track, frame_id, "; ".join(reasons)) for (track, frame_id), reasons in chosen.items()]


def draw_frame(
    run: Run,
    frame: ChosenFrame,
    fits: dict[str, TrackFits],
    keypoints: TrackKeypoints | None,
    colours: dict[str, Rgb],
    rasteriser: MeshRasteriser,
    encode: PictureEncoder,
) -> DrawnFrame:
    """Pictures of one frame: the photograph with keypoints, every row's body over it and from the side."""
    frame_ids = np.array([frame.frame_id])
    meshes = pose_rows(run, frame.track, fits, frame_ids)
    track = run.track(frame.track)
    faces = run.find_body("neutral").faces
    found = None if keypoints is None else _place(keypoints, frame.frame_id)
    camera = _camera(run, frame, track)
    affine = square_crop_affine(*_square(meshes, camera, keypoints, found), PANEL_PX)[0]
    photo, note = _photo(run, track, frame.frame_id, affine)
    panel_camera = np.vstack([affine, (0, 0, 1)]) @ camera
    shown = photo
    if keypoints is not None and found is not None:
        places = apply_affine(affine, keypoints.xy_px[found])
        shown = draw_keypoints(photo, places, keypoints.shown_score[found], keypoints.skeleton)
    overlays, sides = {}, {}
    for row in fits:
        mesh = meshes[row]
        overlays[row] = encode(
            overlay_mesh(photo, mesh.vertices[0], faces, panel_camera, colours[row], rasteriser=rasteriser)
        )
        bodies = [(mesh.vertices[0], mesh.pelvis[0], colours[row])]
        if TRUTH in meshes:
            bodies.insert(0, (meshes[TRUTH].vertices[0], meshes[TRUTH].pelvis[0], TRUTH_COLOUR))
        sides[row] = encode(side_view(bodies, faces, PANEL_PX, rasteriser))
    return DrawnFrame(frame, note, encode(shown), overlays, sides, TRUTH in meshes)


def _place(keypoints: TrackKeypoints, frame_id: int) -> int | None:
    places = np.flatnonzero(keypoints.frame_ids == frame_id)
    return int(places[0]) if len(places) else None


def _camera(run: Run, frame: ChosenFrame, track: Track | None) -> np.ndarray:
    """Intrinsics: the dataset's, else those that lie beside the fits."""
    if track is not None:
        return track.intrinsics
    from pose2d.files.storage import read_npz

    for folder in run.fit_folders.values():
        arrays = read_npz(folder / f"{frame.track}.npz")
        if "intrinsics" in arrays:
            return arrays["intrinsics"]
    raise InputError(f"neither the dataset nor the fits of {frame.track} say what camera saw it")


def _square(
    meshes: dict[str, MovingMesh], camera: np.ndarray, keypoints: TrackKeypoints | None, found: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Centre and side of the square to show: about the person's box, else about where the first mesh is seen."""
    if keypoints is not None and found is not None:
        box = keypoints.boxes_xywh[found]
        low, size = box[:2], box[2:]
    else:
        homogeneous = next(iter(meshes.values())).vertices[0] @ camera.T
        ahead = homogeneous[homogeneous[:, 2] > 0.05]
        seen = ahead[:, :2] / ahead[:, 2:] if len(ahead) else np.array([[0.0, 0.0], [1.0, 1.0]])
        low, size = seen.min(0), np.ptp(seen, axis=0)
    return (low + size / 2)[None], np.array([_MARGIN * max(float(size.max()), 8.0)])


def _photo(run: Run, track: Track | None, frame_id: int, affine: np.ndarray) -> tuple[np.ndarray, str]:
    """The crop of the photograph, or a plain panel that says why there is none, and the same in words."""
    path: Path | None = None if track is None else run.image_path(track.sequence, frame_id)
    if path is not None:
        try:
            return photo_panel(read_image(path), affine, PANEL_PX), ""
        except InputError:
            pass
    panel = hatched_panel(PANEL_PX)
    cv2.putText(panel, "image not there", (12, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    return panel, "The image of this frame is not there, or cannot be read; bodies are drawn without it."


def _data_url(picture: np.ndarray) -> str:
    encoded = cv2.imencode(".webp", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
