"""Pictures of fits: the image, the initial and the refined body over it, and both from the side against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from eval3dpw.ground_truth import camera_truth
from eval3dpw.openworld.rasteriser import Raster, rasterise, vertex_normals
from eval3dpw.sequences import Track, track_boxes
from fitting.body import Body
from fitting.refinement import BodyFits
from pose2d.crops import square_crop_affine, warp_crop
from pose2d.datasets.crop_set import read_image
from pose2d.poses import Poses2D
from pose2d.storage import atomic_path

PANEL_PX = 320
_MARGIN = 1.5  # side of the shown square over the longer side of the box around the 2D joints
_SIDE_DISTANCE_M, _SIDE_HEIGHT_M = 8.0, 2.2
_INITIAL_RGB, _REFINED_RGB, _TRUTH_RGB = (0.90, 0.45, 0.30), (0.25, 0.55, 0.90), (0.70, 0.70, 0.70)
_OPACITY = 0.8
_BEYOND_IMAGE = 225  # grey value


@dataclass(frozen=True)
class PictureSource:
    """One frame to draw; every field holds that frame only."""

    track: Track
    poses: Poses2D
    confidence: Float[np.ndarray, "1 k"]
    """Colours the keypoints: red at 0, green at 1."""
    initial: BodyFits
    refined: BodyFits
    captions: tuple[str, str]
    """Under the initial and under the refined body."""


def draw_comparison(source: PictureSource, truth_body: Body, fit_body: Body) -> UInt8[np.ndarray, "height width 3"]:
    """Five panels in a row: image with keypoints, initial, refined, and both from the side with the truth in grey."""
    box = track_boxes(source.track, scale=1.0)[0]
    center, side = box[:2] + box[2:] / 2, _MARGIN * box[2:].max()
    affine = square_crop_affine(center[None], np.array([side]), PANEL_PX)[0]
    image = read_image(source.track.image_paths[0])
    photo = warp_crop(image, affine, (PANEL_PX, PANEL_PX))
    photo[warp_crop(np.ones_like(image), affine, (PANEL_PX, PANEL_PX)) == 0] = _BEYOND_IMAGE
    panel_camera = np.vstack([affine, (0, 0, 1)]) @ source.track.intrinsics

    truth = _vertices(truth_body, *_truth_parameters(source.track, truth_body))
    panels = [_keypoint_panel(photo, source, affine)]
    from_side = []
    for fits, colour in ((source.initial, _INITIAL_RGB), (source.refined, _REFINED_RGB)):
        parameters = (torch.as_tensor(fits.rotations), torch.as_tensor(fits.betas), torch.as_tensor(fits.translation))
        vertices = _vertices(fit_body, *(p.float() for p in parameters))
        panels.append(_overlay(photo, vertices[0], fit_body.faces, panel_camera, colour))
        from_side.append(_side_panel(vertices, truth, fit_body.faces, colour))
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


def _keypoint_panel(photo: np.ndarray, source: PictureSource, affine: np.ndarray) -> np.ndarray:
    panel = photo.copy()
    for (x, y), confidence in zip(source.poses.xy_px[0], source.confidence[0], strict=True):
        place = affine @ (x, y, 1.0)
        if np.isfinite(place).all() and (np.abs(place) < 10 * PANEL_PX).all():
            colour = (int(255 * (1 - confidence)), int(255 * confidence), 40)
            cv2.circle(panel, (round(place[0]), round(place[1])), 4, colour, -1, cv2.LINE_AA)
    return panel


def _shade(raster: Raster, vertices: np.ndarray, faces: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Colour lit from the viewer, (h, w, 3) in [0, 255]."""
    normals = vertex_normals(vertices, faces)
    seen = raster.face >= 0
    corners = faces[raster.face[seen]]
    normal = (normals[corners] * raster.barycentric[seen][..., None]).sum(1)
    light = 0.25 + 0.75 * np.abs(normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-9))
    shaded = np.zeros((*raster.face.shape, 3))
    shaded[seen] = 255 * light[:, None] * np.array(colour)
    return shaded


def _overlay(
    photo: np.ndarray, vertices: np.ndarray, faces: np.ndarray, camera: np.ndarray, colour: tuple[float, float, float]
) -> np.ndarray:
    raster = rasterise(vertices, faces, camera, (PANEL_PX, PANEL_PX))
    opacity = _OPACITY * (raster.face >= 0)[..., None]
    mixed = (1 - opacity) * photo + opacity * _shade(raster, vertices, faces, colour)
    return mixed.round().astype(np.uint8)


def _side_panel(
    fitted: tuple[np.ndarray, np.ndarray],
    truth: tuple[np.ndarray, np.ndarray],
    faces: np.ndarray,
    colour: tuple[float, float, float],
) -> np.ndarray:
    """Both bodies with a common pelvis, seen from the camera's right; the truth is grey."""
    focal = PANEL_PX * _SIDE_DISTANCE_M / _SIDE_HEIGHT_M
    middle = (PANEL_PX - 1) / 2
    camera = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
    turn = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])  # depth becomes x, the camera's x points at the viewer
    panel = np.full((PANEL_PX, PANEL_PX, 3), 255.0)
    nearest = np.full((PANEL_PX, PANEL_PX), np.inf)
    for (vertices, pelvis), rgb in ((truth, _TRUTH_RGB), (fitted, colour)):
        turned = (vertices - pelvis) @ turn.T + (0, 0, _SIDE_DISTANCE_M)
        raster = rasterise(turned, faces, camera, (PANEL_PX, PANEL_PX))
        front = raster.depth < nearest
        panel[front] = _shade(raster, turned, faces, rgb)[front]
        nearest = np.minimum(nearest, raster.depth)
    return panel.round().astype(np.uint8)


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    strip = np.full((24, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([strip, panel])
