"""2D human pose: skeletons, images and person boxes, networks of six families, decoding, inference and training.

May import nothing else of the project. Everything that runs a network takes a `PoseNetwork`, gets crops by boxes, and
gives `Poses2D` in image pixels. The names below are imported when they are first used: errors and skeletons cost no
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pose2d.errors import InputError
    from pose2d.inference import Inference, infer, infer_batches
    from pose2d.networks.base import NetworkOutput, PoseNetwork
    from pose2d.networks.packaged import load_network
    from pose2d.poses import Poses2D
    from pose2d.skeletons import SKELETONS, Skeleton

__all__ = [
    "SKELETONS",
    "Inference",
    "InputError",
    "NetworkOutput",
    "PoseNetwork",
    "Poses2D",
    "Skeleton",
    "infer",
    "infer_batches",
    "load_network",
]

_HOMES = {
    "SKELETONS": "pose2d.skeletons",
    "Inference": "pose2d.inference",
    "InputError": "pose2d.errors",
    "NetworkOutput": "pose2d.networks.base",
    "PoseNetwork": "pose2d.networks.base",
    "Poses2D": "pose2d.poses",
    "Skeleton": "pose2d.skeletons",
    "infer": "pose2d.inference",
    "infer_batches": "pose2d.inference",
    "load_network": "pose2d.networks.packaged",
}


def __getattr__(name: str) -> object:
    """The exported names, imported on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
