"""The small networks that come with the project, and how a network and its weights are loaded by name."""

from __future__ import annotations

import json
from pathlib import Path

from pose2d.errors import InputError
from pose2d.networks.base import TorchPoseNetwork
from pose2d.networks.catalogue import Size, build_network
from pose2d.networks.checkpoints import load_checkpoint
from pose2d.networks.heatmap import HeatmapNetwork
from pose2d.skeletons import COCO17

_WEIGHTS = Path(__file__).parents[1] / "weights"


def bundled_checkpoint(name: str) -> Path:
    """Where the weights of a bundled network lie.

    Raises:
        InputError: this network comes without weights.
    """
    path = _WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        found = sorted(file.stem for file in _WEIGHTS.glob("*.safetensors"))
        raise InputError(
            f"network {name} comes without weights: name a checkpoint (bundled are {', '.join(found) or 'none'})"
        )
    return path


def load_network(
    name: str, checkpoint: str | Path | None = None, num_keypoints: int = 17, input_size: Size | None = None
) -> tuple[TorchPoseNetwork, Path]:
    """A network in evaluation mode, and the file its weights came from.

    Args:
        name: of the network, as the catalogue has it.
        checkpoint: its weights; None for the bundled ones.
        num_keypoints: of the network.
        input_size: width and height of its crops; None for its default.

    Raises:
        InputError: there is no such network or checkpoint, or they do not fit.
    """
    if checkpoint is None and num_keypoints != len(COCO17):
        raise InputError(
            f"the bundled networks have COCO's {len(COCO17)} keypoints and {num_keypoints} are needed: "
            "name a network of so many, and its --checkpoint (train-pose --dataset makes one)"
        )
    network = build_network(name, num_keypoints, input_size)
    path = bundled_checkpoint(name) if checkpoint is None else Path(checkpoint)
    load_checkpoint(path, network)
    target_cells = _trained_target_cells(path)
    if target_cells is not None and isinstance(network, HeatmapNetwork):
        network.target_cells = target_cells
    return network.eval().requires_grad_(False), path


def _trained_target_cells(path: Path) -> float | None:
    """l~ of the network's training in heatmap cells, where the checkpoint's metadata say."""
    try:
        return float(json.loads(checkpoint_metadata(path)["config"])["heatmap_sigma"])
    except (KeyError, TypeError, ValueError):
        return None


def checkpoint_metadata(path: str | Path) -> dict[str, str]:
    """What a safetensors checkpoint says of its making; empty for other files."""
    path = Path(path)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})
