"""Pictures of fits: the image, the initial and the refined body over it, and both from the side against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval3dpw.dataset.boxes import track_boxes
from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.sequences import Track
from eval3dpw.drawing.overlay import TRUTH_COLOUR, draw_keypoints, overlay_mesh, photo_panel, row_colours, side_view
from fitting.bodies.body import Body
from fitting.body_fits import BodyFits
from pose2d.crops import apply_affine, square_crop_affine
from pose2d.files.images import read_image
from pose2d.files.storage import atomic_path
from pose2d.poses import Poses2D

PANEL_PX = 320
_MARGIN = 1.5  # side of the shown square over the longer side of the box around the 2D joints


@dataclass(frozen=True)
class PictureSource:
    """One frame to draw; every field holds that frame only."""

    track: Track
    poses: Poses2D
    confidence: Float[np.ndarray, "1 k"]
    """Colours the keypoints: dark blue at 0, yellow at 1."""
    initial: BodyFits
    refined: BodyFits
    rows: tuple[str, str]
    """Of the comparison: that of the initial and that of the refined body."""
    captions: tuple[str, str]
    """Over the initial and over the refined body."""


def draw_comparison(source: PictureSource, truth_body: Body, fit_body: Body) -> UInt8[np.ndarray, "height width 3"]:
    """Five panels in a row: image with keypoints, initial, refined, and both from the side with the truth in grey."""
    box = track_boxes(source.track, scale=1.0)[0]
    center, side = box[:2] + box[2:] / 2, _MARGIN * box[2:].max()
    affine = square_crop_affine(center[None], np.array([side]), PANEL_PX)[0]
    photo = photo_panel(read_image(source.track.image_paths[0]), affine, PANEL_PX)
    panel_camera = np.vstack([affine, (0, 0, 1)]) @ source.track.intrinsics

    truth = _vertices(truth_body, *_truth_parameters(source.track, truth_body))
    places = apply_affine(affine, source.poses.xy_px[0])
    panels = [draw_keypoints(photo, places, source.confidence[0], source.poses.skeleton)]
    from_side = []
    for fits, colour in zip((source.initial, source.refined), row_colours(source.rows).values(), strict=True):
        parameters = (torch.as_tensor(fits.rotations), torch.as_tensor(fits.betas), torch.as_tensor(fits.translation))
        vertices, pelvis = _vertices(fit_body, *(p.float() for p in parameters))
        panels.append(overlay_mesh(photo, vertices, fit_body.faces, panel_camera, colour))
        from_side.append(side_view([(*truth, TRUTH_COLOUR), (vertices, pelvis, colour)], fit_body.faces, PANEL_PX))
    titles = ("image, 2D keypoints", source.captions[0], source.captions[1], "init, side", "refined, side")
    return np.concatenate([_titled(p, t) for p, t in zip(panels + from_side, titles, strict=True)], axis=1)


def write_picture(path: Path, picture: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write a PNG, whole or not at all."""
    encoded = cv2.imencode(".png", picture[..., ::-1])[1]
    with atomic_path(path) as partial:
        partial.write_bytes(encoded.tobytes())


def _truth_parameters(track: Track, body: Body) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    truth = camera_truth(track, body)
    return truth.rotations, truth.betas, truth.translation


def _vertices(
    body: Body, rotations: torch.Tensor, betas: torch.Tensor, translation: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of one body in the camera's frame, and its pelvis."""
    with torch.no_grad():
        output = body(rotations, betas, translation)
    return output.vertices[0].double().numpy(), output.joints[0, 0].double().numpy()


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    strip = np.full((24, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([strip, panel])
