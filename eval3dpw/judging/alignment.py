"""Similarity alignment of point sets, for errors that forgive position, orientation and size."""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation x + translation, one for each of n point sets."""

    rotation: Float[Tensor, "n 3 3"]
    """Proper rotations: a mirrored body is not brought over its mirror image."""
    translation: Float[Tensor, "n 3"]
    scale: Float[Tensor, " n"]

    def __call__(self, points: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
        return self.scale[:, None, None] * points @ self.rotation.mT + self.translation[:, None]


def similarity_alignment(source: Float[Tensor, "n k 3"], target: Float[Tensor, "n k 3"]) -> Similarity:
    """The similarity that brings each source point set closest to its target in the least-squares sense.

    Umeyama 1991, through roma: no reflections. Computed in double precision. A source whose points all coincide goes to
    the target's centroid with rotation I and scale 0, as in the official 3DPW evaluation.
    """
    source, target = source.double(), target.double()
    spread = (source - source.mean(1, keepdim=True)).square().sum((1, 2))
    single = spread <= torch.finfo(source.dtype).tiny
    safe = torch.where(single[:, None, None], target, source)
    rotation, translation, scale = roma.rigid_points_registration(safe, target, compute_scaling=True)
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return Similarity(
        torch.where(single[:, None, None], eye, rotation),
        torch.where(single[:, None], target.mean(1), translation),
        torch.where(single, 0.0, scale),
    )


def similarity_aligned(source: Float[Tensor, "n k 3"], target: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """`source` after its `similarity_alignment` to `target`, in double precision."""
    return similarity_alignment(source, target)(source.double())
