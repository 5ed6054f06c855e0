"""Pictures of bodies over photographs: a mesh lit from the camera, keypoints by confidence, a body from the side.

Any rasteriser that finds the nearest face of each pixel will do (`MeshRasteriser`); the z-buffer of the open world
needs neither a screen nor a GPU, pytorch3d's takes its place where it is installed and a GPU is there.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol, no_type_check, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8
from numba import njit

from eval3dpw.drawing.rasteriser import NEAR_M, Raster, bounding_window, rasterise, vertex_normals
from pose2d.skeletons import Skeleton

Rgb = tuple[int, int, int]

# After Okabe and Ito's palette for colour-blind readers, darkened to 3:1 against white (WCAG 1.4.11).
ROW_COLOURS: dict[str, Rgb] = {
    "init": (213, 94, 0),
    "uniform": (122, 82, 0),
    "raw": (60, 152, 205),
    "rescored": (196, 106, 160),
    "ccnet": (0, 84, 150),
    "precision": (0, 148, 106),
    "oracle": (88, 50, 210),
}
TRUTH_COLOUR: Rgb = (140, 140, 140)
_BEST_FIRST = ("ccnet", "init", "precision", "rescored", "raw", "uniform", "oracle")
_OTHER_COLOURS: tuple[Rgb, ...] = ((136, 34, 85), (51, 34, 136), (130, 130, 30), (20, 130, 120))

_AMBIENT = 0.3
_SIDE_DISTANCE_M, _SIDE_HEIGHT_M = 8.0, 2.2
_HATCH_PX = 10


@runtime_checkable
class MeshRasteriser(Protocol):
    """Finds the face and the barycentric weights that each pixel sees."""

    def rasterise(
        self,
        vertices_camera: Float[np.ndarray, "v 3"],
        faces: Integer[np.ndarray, "f 3"],
        intrinsics: Float[np.ndarray, "3 3"],
        size_hw: tuple[int, int],
    ) -> Raster:
        """Metres in the OpenCV camera's frame; pixel (0, 0)'s centre is at coordinate (0.0, 0.0)."""
        ...


class ZBufferRasteriser:
    """The open world's z-buffer on the CPU."""

    def rasterise(
        self,
        vertices_camera: Float[np.ndarray, "v 3"],
        faces: Integer[np.ndarray, "f 3"],
        intrinsics: Float[np.ndarray, "3 3"],
        size_hw: tuple[int, int],
    ) -> Raster:
        """As `MeshRasteriser.rasterise`."""
        return rasterise(vertices_camera, faces, intrinsics, size_hw)


class Pytorch3dRasteriser:
    """pytorch3d's rasteriser on a GPU."""

    def __init__(self, device: str = "cuda") -> None:
        self.device = device

    def rasterise(
        self,
        vertices_camera: Float[np.ndarray, "v 3"],
        faces: Integer[np.ndarray, "f 3"],
        intrinsics: Float[np.ndarray, "3 3"],
        size_hw: tuple[int, int],
    ) -> Raster:
        """As `MeshRasteriser.rasterise`; faces that reach behind the near plane are cut there, not dropped.

        pytorch3d puts the first pixel's centre at 0.5, hence the shift; its helper turns OpenCV's axes (its own +x
        points left, +y up) and takes the size as (height, width). Skew is not honoured.
        """
        import torch
        from pytorch3d.renderer.mesh import MeshRasterizer, RasterizationSettings
        from pytorch3d.structures import Meshes
        from pytorch3d.utils import cameras_from_opencv_projection

        def on_device(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=self.device)[None]

        shifted = intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        cameras = cameras_from_opencv_projection(
            on_device(np.eye(3)), on_device(np.zeros(3)), on_device(shifted), on_device(np.array(size_hw))
        )
        settings = RasterizationSettings(
            image_size=size_hw, perspective_correct=True, cull_backfaces=False, bin_size=0, z_clip_value=NEAR_M
        )
        meshes = Meshes(on_device(vertices_camera), torch.as_tensor(faces, device=self.device)[None])
        fragments = MeshRasterizer(cameras, settings)(meshes)
        face = fragments.pix_to_face[0, ..., 0].cpu().numpy().astype(np.int32)
        seen = face >= 0
        depth = np.where(seen, fragments.zbuf[0, ..., 0].cpu().numpy(), np.inf).astype(np.float32)
        barycentric = np.where(seen[..., None], fragments.bary_coords[0, ..., 0, :].cpu().numpy(), 0)
        return Raster(depth, face, barycentric.astype(np.float32))


def best_rasteriser() -> MeshRasteriser:
    """pytorch3d's where it is installed and sees a GPU, else the z-buffer."""
    if importlib.util.find_spec("pytorch3d") is not None:
        import torch

        if torch.cuda.is_available():
            return Pytorch3dRasteriser()
    return ZBufferRasteriser()


def row_colours(rows: tuple[str, ...]) -> dict[str, Rgb]:
    """A colour for each row of a comparison: the known weightings always have the same, others take what is left.

    No two rows share one as long as there are enough.
    """
    free = [ROW_COLOURS[name] for name in _BEST_FIRST if name not in rows] + list(_OTHER_COLOURS)
    others = iter(free * (1 + len(rows) // len(free)))
    return {row: ROW_COLOURS.get(row) or next(others) for row in rows}


def photo_panel(
    image: UInt8[np.ndarray, "h w 3"], affine: Float[np.ndarray, "2 3"], size_px: int
) -> UInt8[np.ndarray, "s s 3"]:
    """The part of an image that `affine` maps into a square panel; what lies beyond its border is hatched."""
    return cv2.warpAffine(
        image,
        affine,
        (size_px, size_px),
        dst=hatched_panel(size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def hatched_panel(size_px: int) -> UInt8[np.ndarray, "s s 3"]:
    """A panel for where there is no photograph: light grey with thin diagonal lines, as a map shows no data."""
    row, column = np.indices((size_px, size_px))
    shade = np.where((row + column) % _HATCH_PX < 1, 205, 232).astype(np.uint8)
    return np.repeat(shade[..., None], 3, axis=2)


def overlay_mesh(
    image: UInt8[np.ndarray, "h w 3"],
    vertices_camera: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    colour: Rgb,
    opacity: float = 0.85,
    rasteriser: MeshRasteriser | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with a mesh drawn over it, lit from the camera. A mesh that nothing is seen of leaves it as it is.

    Args:
        image: to draw on; it is not changed.
        vertices_camera: metres, OpenCV camera frame.
        faces: of the mesh.
        intrinsics: of that image, pixels.
        colour: of the mesh, RGB.
        opacity: of the mesh, in [0, 1].
        rasteriser: the z-buffer by default.
    """
    painted = np.ascontiguousarray(image).copy()
    height, width = image.shape[:2]
    x0, y0, x1, y1 = bounding_window(vertices_camera, intrinsics, (height, width))
    if x0 < x1 and y0 < y1:  # only the window that the mesh can touch is drawn
        shifted = np.array([[1.0, 0, -x0], [0, 1.0, -y0], [0, 0, 1.0]]) @ intrinsics
        raster = (rasteriser or ZBufferRasteriser()).rasterise(vertices_camera, faces, shifted, (y1 - y0, x1 - x0))
        _paint_mesh(painted[y0:y1, x0:x1], raster, vertices_camera, faces, colour, opacity)
    return painted


def _paint_mesh(
    painted: np.ndarray, raster: Raster, vertices: np.ndarray, faces: np.ndarray, colour: Rgb, opacity: float
) -> None:
    light = _headlight(np.asarray(vertices, np.float64), vertex_normals(vertices, faces))
    corners = np.ascontiguousarray(faces, dtype=np.int32)
    _blend(painted, raster.face, raster.barycentric, corners, light, np.array(colour, np.float32), opacity)


def _headlight(vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Brightness of each vertex with a lamp at the camera, whichever way the surface is wound, in [0, 1]."""
    distance = np.maximum(np.linalg.norm(vertices, axis=1), 1e-9)
    cosine = np.abs((vertices * normals).sum(1)) / distance
    return np.asarray((_AMBIENT + (1 - _AMBIENT) * cosine).astype(np.float32))


@njit(cache=True, error_model="numpy")
@no_type_check
def _blend(image: Any, face: Any, barycentric: Any, faces: Any, light: Any, colour: Any, opacity: float) -> None:
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                continue
            brightness = 0.0
            for corner in range(3):
                brightness += barycentric[y, x, corner] * light[faces[f, corner]]
            for channel in range(3):
                mixed = (1.0 - opacity) * image[y, x, channel] + opacity * brightness * colour[channel]
                image[y, x, channel] = np.uint8(min(255.0, max(0.0, mixed + 0.5)))


def draw_keypoints(
    image: UInt8[np.ndarray, "h w 3"],
    xy_px: Float[np.ndarray, "k 2"],
    confidence: Float[np.ndarray, " k"],
    skeleton: Skeleton,
    radius: int = 4,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with a skeleton over it; its keypoints are dark blue at confidence 0 and yellow at 1.

    Keypoints that are not finite, or so far outside that no line to them can be drawn, are left out.
    """
    painted = np.ascontiguousarray(image).copy()
    reach = 4 * max(image.shape[:2])
    with np.errstate(invalid="ignore"):
        drawn = np.isfinite(xy_px).all(1) & (np.abs(xy_px) < reach).all(1)
    places = [(round(float(x)), round(float(y))) if ok else (0, 0) for (x, y), ok in zip(xy_px, drawn, strict=True)]
    for one, other in skeleton.edges:
        a, b = skeleton.index(one), skeleton.index(other)
        if drawn[a] and drawn[b]:
            cv2.line(painted, places[a], places[b], (255, 255, 255), 1, cv2.LINE_AA)
    for k in np.flatnonzero(drawn):
        cv2.circle(painted, places[k], radius + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(painted, places[k], radius, confidence_colour(float(confidence[k])), -1, cv2.LINE_AA)
    return painted


def confidence_colour(confidence: float) -> Rgb:
    """Colour of a score: the cividis map, which colour-blind people read too; what is no number counts as 0."""
    level = np.clip(np.nan_to_num(confidence), 0, 1)
    blue, green, red = cv2.applyColorMap(np.array([[round(255 * level)]], np.uint8), cv2.COLORMAP_CIVIDIS)[0, 0]
    return int(red), int(green), int(blue)


def side_view(
    bodies: list[tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, " 3"], Rgb]],
    faces: Integer[np.ndarray, "f 3"],
    size_px: int,
    rasteriser: MeshRasteriser | None = None,
) -> UInt8[np.ndarray, "s s 3"]:
    """Bodies with a common pelvis, seen from the camera's right on white, the nearest surface in front.

    Args:
        bodies: vertices and pelvis of each in the camera's frame (metres), and its colour.
        faces: of all bodies.
        size_px: side of the picture.
        rasteriser: the best one here by default.
    """
    focal = size_px * _SIDE_DISTANCE_M / _SIDE_HEIGHT_M
    middle = (size_px - 1) / 2
    camera = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
    turn = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])  # depth becomes x, the camera's x points at the viewer
    picture = np.full((size_px, size_px, 3), 255, np.uint8)
    nearest = np.full((size_px, size_px), np.inf, np.float32)
    for vertices, pelvis, colour in bodies:
        turned = (vertices - pelvis) @ turn.T + (0, 0, _SIDE_DISTANCE_M)
        raster = (rasteriser or ZBufferRasteriser()).rasterise(turned, faces, camera, (size_px, size_px))
        front = raster.depth < nearest
        seen = Raster(raster.depth, np.where(front, raster.face, -1).astype(np.int32), raster.barycentric)
        _paint_mesh(picture, seen, turned, faces, colour, 1.0)
        nearest = np.minimum(nearest, raster.depth)
    return picture
