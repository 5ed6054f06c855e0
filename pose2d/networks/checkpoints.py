"""Loading released checkpoints into this project's networks, and refusing those that do not fit.

Nothing in a file is run: safetensors hold no code, and torch's files are read by :mod:`pose2d.files.torch_files`.
Files that hold further objects beside tensors (mmpose's configurations, training states) are refused until
:func:`convert_checkpoint` has copied their tensors into safetensors; it leaves every foreign object out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pose2d.errors import InputError
from pose2d.files.safetensor_files import looks_like_safetensors, read_safetensors, write_safetensors
from pose2d.files.storage import require_file, sha256
from pose2d.files.torch_files import ForeignObjectError, read_torch_file
from pose2d.networks.base import TorchPoseNetwork
from pose2d.networks.checkpoint_layouts import TRANSLATIONS, State, identify, without_prefixes
from pose2d.networks.sbl import SBL

_WRAPPERS = ("state_dict", "model", "model_state_dict", "network", "net")
_LISTED = 4


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What was loaded, for the record of a run.

    Attributes:
        path: the file.
        sha256: of its bytes.
        layout: whose names it had.
        entries: how many tensors of it were taken.
    """

    path: str
    sha256: str
    layout: str
    entries: int


def load_checkpoint(path: str | Path, network: TorchPoseNetwork, expert: int = 0) -> LoadedCheckpoint:
    """Fill a network from a released checkpoint, or leave it as it was and refuse.

    Accepted are the official layouts, those of mmpose 0.x and 1.x, ViTPose+ and transformers, as safetensors or as
    torch files of tensors and plain containers. Where the layout implies another input than the family's (mmpose's SBL
    reads RGB) or other outputs (mmpose's RLE), the network is set so.

    Args:
        path: the file.
        network: a network of this project.
        expert: which data set of a ViTPose+ checkpoint; 0 is COCO.

    Raises:
        InputError: the file is missing, damaged, holds other objects, or belongs to another network; the message names
            what is missing or left over.
    """
    path = require_file(path)
    _refuse_other_stride(path, network)
    layout, entries = fill_network(network, _state_dict(read_tensors(path), path), str(path), expert)
    return LoadedCheckpoint(str(path), sha256(path), layout, entries)


def fill_network(network: TorchPoseNetwork, state: State, source: str, expert: int = 0) -> tuple[str, int]:
    """What :func:`load_checkpoint` does with a file's state dict.

    Args:
        network: a network of this project.
        state: the state dict under any known layout's names, without wrappers.
        source: what it is called in messages.
        expert: which data set of a ViTPose+ checkpoint; 0 is COCO.

    Returns:
        The layout's name and the number of entries taken.

    Raises:
        InputError: the state dict belongs to another network.
    """
    layout = identify(state)
    if layout.startswith("no pose network") and set(state) & set(network.state_dict()):
        layout = f"{type(network).__name__} (this project)"
    translation = TRANSLATIONS.get(type(network).__name__)
    translated = dict(state) if translation is None else translation(state, expert)
    expected = network.state_dict()
    # Files older than PyTorch 0.4.1 lack these counters, which inference does not read.
    for name in expected:
        if name.endswith("num_batches_tracked"):
            translated.setdefault(name, expected[name])
    _refuse_misfits(source, layout, translated, expected, network)
    network.load_state_dict(translated)
    network.adopt_layout(layout)
    return layout, len(translated)


def read_tensors(path: str | Path) -> Any:
    """The contents of a checkpoint file: nested plain containers of tensors; nothing in it is run.

    A file's first bytes say whether it is safetensors or torch's, not its name.

    Raises:
        InputError: the file is missing, damaged, or holds other objects.
    """
    path = require_file(path)
    if path.suffix == ".safetensors" or looks_like_safetensors(path):
        return read_safetensors(path)[0]
    try:
        return read_torch_file(path)
    except ForeignObjectError as foreign:
        raise InputError(
            f"{path} holds more than tensors ({foreign.name}) and is not loaded, since a pickle can run programs; "
            f"copy its tensors with: run_fitting.py convert-checkpoint {path.name} {path.stem}.safetensors"
        ) from None


def _state_dict(contents: Any, path: Path) -> State:
    """The one state dict in a file, without the wrappers and prefixes of training code."""
    while isinstance(contents, dict):
        inner = next((contents[key] for key in _WRAPPERS if isinstance(contents.get(key), dict)), None)
        if inner is None:
            break
        contents = inner
    if not isinstance(contents, dict):
        raise InputError(f"{path} holds no state dict but a {type(contents).__name__}: is it a pose checkpoint?")
    state = {str(name): value for name, value in contents.items() if isinstance(value, Tensor)}
    if not state:
        raise InputError(f"{path} holds no tensors under names: is it a pose checkpoint?")
    return without_prefixes(state)


def _refuse_other_stride(path: Path, network: TorchPoseNetwork) -> None:
    named = "caffe" in path.name.lower() or path.parent.name.lower() == "caffe"
    if isinstance(network, SBL) and named and network.stride_on != "caffe":
        raise InputError(
            f"{path} is by its name a caffe-style checkpoint, which would load under the same names and give wrong "
            "heatmaps here: choose the network with -caffe behind its name, or rename the file if it is not"
        )


def _refuse_misfits(path: str, layout: str, state: State, expected: State, network: TorchPoseNetwork) -> None:
    """Say in one sentence what does not fit, if anything does not."""
    kind = f"{type(network).__name__} network"
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    family = layout.split(" ")[0]
    if (missing or extra) and family != type(network).__name__ and len(missing) > len(expected) // 4:
        raise InputError(f"{path} holds {layout}, not the {kind} that it was to fill: choose the network that it is of")
    wrong = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    keypoints = _keypoints_of(state, expected, network)
    if keypoints is not None and wrong and keypoints != network.num_keypoints:
        raise InputError(
            f"{path} is of {keypoints} keypoints, the {kind} was built for {network.num_keypoints}: "
            f"build it with num_keypoints={keypoints}"
        )
    if wrong and all("position_embeddings" in name for name in wrong):
        name = wrong[0]
        raise InputError(
            f"{path} is of another input size: it has {state[name].shape[1] - 1} patches, the {kind} "
            f"{expected[name].shape[1] - 1}: build it with the checkpoint's input size"
        )
    problems = [
        f"{what} {len(names)} entries ({', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''})"
        for what, names in (("it lacks", missing), ("it has left over", extra), ("of other shapes are", wrong))
        if names
    ]
    if problems:
        raise InputError(f"{path} ({layout}) does not fit the {kind}: {'; '.join(problems)}: choose another variant")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"{path}: entry {name} is not finite; the file is damaged or its training failed")


def _keypoints_of(state: State, expected: State, network: TorchPoseNetwork) -> int | None:
    """How many keypoints a translated state dict is of, as its last layer tells."""
    if network.last_entry not in state:
        return None
    return state[network.last_entry].shape[0] * network.num_keypoints // expected[network.last_entry].shape[0]


def convert_checkpoint(source: str | Path, target: str | Path) -> int:
    """Copy the tensors of a torch checkpoint into safetensors, without running anything that lies in it.

    Args:
        source: any torch checkpoint, of the zip format or the older one.
        target: a file to write, ending in .safetensors.

    Returns:
        How many tensors were written.

    Raises:
        InputError: the source is missing, damaged, TorchScript or without tensors; the target has another ending.
    """
    source, target = require_file(source), Path(target)
    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end in .safetensors")
    contents = read_torch_file(source, leave_out=True)
    state = {name: tensor.detach().clone().contiguous() for name, tensor in _state_dict(contents, source).items()}
    write_safetensors(target, state, {"source_sha256": sha256(source)})
    return len(state)
