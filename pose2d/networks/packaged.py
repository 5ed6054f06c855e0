"""The small networks that come with the project, and how a network and its weights are loaded by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pose2d.errors import InputError, require_positive
from pose2d.names import Decoding
from pose2d.networks.acceleration import prepare_for_inference
from pose2d.networks.base import PoseNetwork, TorchPoseNetwork
from pose2d.networks.catalogue import Size, allocate_network, build_network
from pose2d.networks.checkpoints import LoadedCheckpoint, load_checkpoint
from pose2d.networks.heatmap import HeatmapNetwork
from pose2d.networks.options import NetworkOptions
from pose2d.skeletons import COCO17, Skeleton

_WEIGHTS = Path(__file__).parents[1] / "weights"


def packaged_checkpoint(name: str) -> Path:
    """Where the weights of a packaged network lie.

    Raises:
        InputError: this network comes without weights.
    """
    path = _WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in _WEIGHTS.glob("*.safetensors")))
        raise InputError(f"network {name} comes without weights: name a --checkpoint (packaged are {found or 'none'})")
    return path


def load_network(
    name: str, checkpoint: str | Path | None = None, num_keypoints: int = 17, input_size: Size | None = None
) -> tuple[TorchPoseNetwork, Path]:
    """A network in evaluation mode, and the file its weights came from.

    Args:
        name: of the network, as the catalogue has it.
        checkpoint: its weights; None for the packaged ones.
        num_keypoints: of the network.
        input_size: width and height of its crops; None for its default.

    Raises:
        InputError: there is no such network or checkpoint, or they do not fit.
    """
    if checkpoint is None and num_keypoints != len(COCO17):
        raise InputError(
            f"the packaged networks have COCO's {len(COCO17)} keypoints and {num_keypoints} are needed: "
            "name a network of so many, and its --checkpoint (train-pose --dataset makes one)"
        )
    network = build_network(name, num_keypoints, input_size)
    path = packaged_checkpoint(name) if checkpoint is None else Path(checkpoint)
    load_checkpoint(path, network)
    _adopt_target_cells(network, path)
    return network.eval().requires_grad_(False), path


@dataclass(frozen=True)
class LoadedNetwork:
    """A pose network with its weights, ready to run.

    Attributes:
        network: in evaluation mode.
        checkpoint: what it was filled from.
        options: that it was loaded by, and is to be run by.
    """

    network: PoseNetwork
    checkpoint: LoadedCheckpoint
    options: NetworkOptions


def load_for_inference(options: NetworkOptions, skeleton: Skeleton) -> LoadedNetwork:
    """The network that the options ask for, made as fast as it can be; its weights cannot be trained or saved.

    Args:
        options: of the network.
        skeleton: that it finds.

    Raises:
        InputError: there is no such network or checkpoint, they do not fit, or an option is not for this network.
    """
    require_positive(batch=options.batch)
    path = packaged_checkpoint(options.network) if options.checkpoint is None else options.checkpoint
    network = allocate_network(options.network, len(skeleton), options.input_size)
    checkpoint = load_checkpoint(path, network, options.expert)
    _adopt_target_cells(network, path)
    prepare_for_inference(network)
    if options.decoding is not None:
        _set_decoding(network, options.network, options.decoding, skeleton)
    return LoadedNetwork(network, checkpoint, options)


def _set_decoding(network: PoseNetwork, name: str, decoding: Decoding, skeleton: Skeleton) -> None:
    if not isinstance(network, HeatmapNetwork):
        raise InputError(f"--decoding is for heatmap networks, and {name} regresses coordinates")
    if decoding != "expected-oks":
        network.set_decoding(decoding)
        return
    if skeleton.oks_sigmas is None:
        raise InputError(f"--decoding expected-oks needs OKS sigmas, and none are published for {skeleton.name}")
    network.set_expected_oks([2.0 * sigma for sigma in skeleton.oks_sigmas])


def _trained_target_cells(path: Path) -> float | None:
    """l~ of the network's training in heatmap cells, where the checkpoint's metadata say."""
    try:
        return float(json.loads(checkpoint_metadata(path)["config"])["heatmap_sigma"])
    except (KeyError, TypeError, ValueError):
        return None


def _adopt_target_cells(network: TorchPoseNetwork, path: Path) -> None:
    target_cells = _trained_target_cells(path)
    if target_cells is not None and isinstance(network, HeatmapNetwork):
        network.target_cells = target_cells


def checkpoint_metadata(path: str | Path) -> dict[str, str]:
    """How a safetensors checkpoint was made, by its metadata; empty for other files."""
    path = Path(path)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})
