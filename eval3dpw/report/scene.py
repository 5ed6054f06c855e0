"""Moving meshes small enough for a page: faces once, vertices as principal components of the motion.

All meshes of a track (every weighting and the truth, frame by frame) are brought to a common pelvis and root
orientation; there they differ by pose and shape alone, and few components carry them: x = mean + sum_c a_c B_c. Mean
and components are quantised to 16 bits, the coefficients are 32-bit floats. The number of components is the smallest
that keeps every vertex within a tolerance, which is measured on the quantised result and written beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from pose2d.errors import InputError

TOLERANCE_M = 0.002
_MOST_COMPONENTS = 96
_BLOCK = 8  # components that are added at a time
_LEVELS = 32767


@dataclass(frozen=True)
class MovingMesh:
    """One row's body through the frames of a track: metres, OpenCV camera frame."""

    vertices: Float[np.ndarray, "n v 3"]
    pelvis: Float[np.ndarray, "n 3"]
    orientation: Float[np.ndarray, "n 3 3"]
    """Of the root."""


@dataclass(frozen=True)
class PackedMeshes:
    """What `pack` makes of some moving meshes of one topology."""

    mean: Int[np.ndarray, "v 3"]
    """16 bits; times `mean_scale` metres."""
    mean_scale: float
    components: Int[np.ndarray, "c v 3"]
    """16 bits, each filling the range."""
    coefficients: Float[np.ndarray, "m n c"]
    """Metres a step of the component, for each mesh and frame; 32 bits."""
    error_m: float
    """Largest distance of any vertex from where it was."""


def pack(meshes: Mapping[str, MovingMesh], tolerance_m: float = TOLERANCE_M) -> PackedMeshes:
    """Pack meshes of the same topology and frames.

    Raises:
        InputError: there is none, or they differ in number of frames or vertices.
    """
    shapes = {mesh.vertices.shape for mesh in meshes.values()}
    if len(shapes) != 1:
        raise InputError(f"meshes of {len(shapes)} different sizes cannot be packed together")
    frames, vertices, _ = next(iter(shapes))
    turned = np.concatenate([_canonical(mesh) for mesh in meshes.values()]).reshape(-1, 3 * vertices)
    middle = turned.mean(0)
    mean_scale = max(float(np.abs(middle).max()), 1e-9) / _LEVELS
    mean = np.rint(middle / mean_scale).astype(np.int16)
    rest = turned - mean.astype(np.float32) * np.float32(mean_scale)

    # Eigenvectors of the small Gram matrix (meshes by meshes) give the components of the large one.
    values, vectors = np.linalg.eigh((rest @ rest.T).astype(np.float64))
    order = np.argsort(values)[::-1][: min(_MOST_COMPONENTS, int((values > 1e-9 * max(values.max(), 1e-12)).sum()))]
    directions = (vectors[:, order].T / np.sqrt(np.maximum(values[order], 1e-18))[:, None]).astype(np.float32) @ rest
    scale = np.maximum(np.abs(directions).max(1), 1e-12) / _LEVELS
    steps = np.rint(directions / scale[:, None]).astype(np.int16)
    coefficients = np.zeros((len(turned), len(order)), np.float32)
    used, error = 0, _largest(rest)
    while used < len(order) and error > tolerance_m:
        part = slice(used, min(used + _BLOCK, len(order)))
        step = steps[part].astype(np.float32)  # projected on what quantisation has left of the components
        gram = (step @ step.T).astype(np.float64)
        coefficients[:, part] = np.linalg.solve(gram, (rest @ step.T).T.astype(np.float64)).T
        rest -= coefficients[:, part] @ step
        used, error = part.stop, _largest(rest)
    return PackedMeshes(
        mean.reshape(vertices, 3),
        mean_scale,
        steps[:used].reshape(used, vertices, 3),
        coefficients[:, :used].reshape(len(meshes), frames, used),
        error,
    )


def unpack(packed: PackedMeshes, mesh: int, frame: int) -> Float[np.ndarray, "v 3"]:
    """Vertices about the pelvis, with the root unturned, as the page computes them."""
    moved = np.tensordot(packed.coefficients[mesh, frame], packed.components.astype(np.float32), axes=1)
    return packed.mean.astype(np.float32) * np.float32(packed.mean_scale) + moved


def scene_record(
    track: str,
    frame_ids: Int[np.ndarray, " n"],
    meshes: Mapping[str, MovingMesh],
    faces: Integer[np.ndarray, "f 3"],
) -> dict[str, Any]:
    """A track's meshes as the page's viewer reads them, ready for JSON (arrays in base64, little-endian)."""
    packed = pack(meshes)
    if packed.mean.shape[0] > np.iinfo(np.uint16).max:
        raise InputError(f"a mesh of {packed.mean.shape[0]} vertices is too large for the page")
    return {
        "track": track,
        "frame_ids": frame_ids.tolist(),
        "rows": list(meshes),
        "faces": _encode(faces, "<u2"),
        "mean": _encode(packed.mean, "<i2"),
        "mean_scale": packed.mean_scale,
        "components": _encode(packed.components, "<i2"),
        "num_components": len(packed.components),
        "coefficients": _encode(packed.coefficients, "<f4"),
        "pelvis": _encode(np.stack([mesh.pelvis for mesh in meshes.values()]), "<f4"),
        "orientation": _encode(np.stack([mesh.orientation for mesh in meshes.values()]), "<f4"),
        "error_mm": round(1000 * packed.error_m, 2),
    }


def _canonical(mesh: MovingMesh) -> np.ndarray:
    """Vertices about the pelvis with the root's orientation undone: R^T (x - pelvis)."""
    return np.asarray(((mesh.vertices - mesh.pelvis[:, None]) @ mesh.orientation).astype(np.float32))


def _largest(rest: np.ndarray) -> float:
    points = rest.reshape(-1, 3)
    return float(np.sqrt(np.einsum("nc,nc->n", points, points).max()))


def _encode(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode("ascii")
