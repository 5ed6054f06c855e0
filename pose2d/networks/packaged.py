"""The small networks that come with the project, and how a network of any origin is loaded by its options."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from pose2d.errors import InputError
from pose2d.files.safetensor_files import safetensors_metadata
from pose2d.names import Decoding
from pose2d.networks.acceleration import prepare_for_inference
from pose2d.networks.base import PoseNetwork, TorchPoseNetwork
from pose2d.networks.catalogue import Size, allocate_network, build_network, require_known
from pose2d.networks.checkpoints import LoadedCheckpoint, load_checkpoint
from pose2d.networks.factories import build_from_factory, check_network, is_factory
from pose2d.networks.heatmap import HeatmapNetwork
from pose2d.networks.onnx_network import is_onnx, load_onnx
from pose2d.networks.options import NetworkOptions
from pose2d.skeletons import COCO17, Skeleton

_WEIGHTS = Path(__file__).parents[1] / "weights"


def packaged_checkpoint(name: str) -> Path:
    """Where the weights of a packaged network lie.

    Raises:
        InputError: there is no such network, or it comes without weights.
    """
    require_known(name)
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
    if checkpoint is None:
        _require_coco(num_keypoints)
    network = build_network(name, num_keypoints, input_size)
    path = packaged_checkpoint(name) if checkpoint is None else Path(checkpoint)
    load_checkpoint(path, network)
    _adopt_target_cells(network, path)
    return network.eval().requires_grad_(False), path


def _require_coco(num_keypoints: int) -> None:
    if num_keypoints != len(COCO17):
        raise InputError(
            f"the packaged networks have COCO's {len(COCO17)} keypoints and {num_keypoints} are needed: "
            "name a network of so many, and its --checkpoint (train-pose --dataset makes one)"
        )


@dataclass(frozen=True)
class LoadedNetwork:
    """A pose network with its weights, ready to run.

    Attributes:
        network: in evaluation mode.
        checkpoint: what it was filled from; of a foreign network its name and identity.
        options: that it was loaded by, and is to be run by.
        files: that it came from.
    """

    network: PoseNetwork
    checkpoint: LoadedCheckpoint
    options: NetworkOptions
    files: tuple[Path, ...]


def is_foreign(name: str) -> bool:
    """Whether a network's name is not one of the catalogue but says where a network of a user's own is."""
    return is_onnx(name) or is_factory(name)


def load_by_options(options: NetworkOptions, skeleton: Skeleton, trainable: bool = False) -> LoadedNetwork:
    """The network that the options ask for; without a flip test where they ask for none.

    Args:
        options: of the network.
        skeleton: that it finds.
        trainable: leave the weights of a catalogue's network as they were loaded. By default they are changed to be
            fast (`pose2d.networks.acceleration`), which rounds otherwise, and can no longer be trained or saved.

    Raises:
        InputError: there is no such network or checkpoint, they do not fit, or an option is not for this network.
    """
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    if options.network_config is not None and not is_onnx(options.network):
        raise InputError(f"--network-config is for ONNX files, and --network is {options.network}")
    loaded = _load_foreign(options, skeleton) if is_foreign(options.network) else _load(options, skeleton, trainable)
    if options.decoding is not None:
        _set_decoding(loaded.network, options.network, options.decoding, skeleton)
    if not options.flip:
        loaded.network.has_flip_test = False
    return loaded


def _load(options: NetworkOptions, skeleton: Skeleton, trainable: bool) -> LoadedNetwork:
    path = options.checkpoint
    if path is None:
        path = packaged_checkpoint(options.network)
        _require_coco(len(skeleton))
    build = build_network if trainable else allocate_network
    network = build(options.network, len(skeleton), options.input_size)
    checkpoint = load_checkpoint(path, network, options.expert)
    _adopt_target_cells(network, path)
    if not trainable:
        prepare_for_inference(network)
    return LoadedNetwork(network.eval().requires_grad_(False), checkpoint, options, (path,))


def _load_foreign(options: NetworkOptions, skeleton: Skeleton) -> LoadedNetwork:
    for flag, given in (("--input-size", options.input_size is not None), ("--expert", options.expert != 0)):
        if given:
            raise InputError(f"{flag} is for networks of the catalogue: {options.network} says itself what it is")
    network, files = _build_foreign(options, skeleton)
    check_network(network, options.network, skeleton)
    record = LoadedCheckpoint(options.network, network.identity, "a network of the user's own", 0)
    return LoadedNetwork(network, record, options, tuple(files))


def _build_foreign(options: NetworkOptions, skeleton: Skeleton) -> tuple[PoseNetwork, list[Path]]:
    if not is_onnx(options.network):
        return build_from_factory(options.network, options.checkpoint)
    if options.checkpoint is not None:
        raise InputError(f"--checkpoint {options.checkpoint}: {options.network} holds its weights itself, leave it out")
    return load_onnx(options.network, len(skeleton), options.network_config)


def _set_decoding(network: PoseNetwork, name: str, decoding: Decoding, skeleton: Skeleton) -> None:
    if not isinstance(network, HeatmapNetwork):
        raise InputError(f"--decoding is for heatmap networks, and {name} gives coordinates of its own")
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
    return safetensors_metadata(path)
