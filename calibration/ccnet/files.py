"""CCNet files: a branch's weights as safetensors, with what they are for in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from calibration.ccnet.model import BranchSpec, CCNet
from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.safetensor_files import read_safetensors, write_safetensors
from pose2d.files.storage import require_file
from pose2d.skeletons import SKELETONS

_MOST_CHANNELS, _MOST_MEMBERS = 1 << 14, 1 << 8


def save_ccnet(branch: CCNet, path: str | Path, about: dict[str, str] | None = None) -> None:
    """Write a branch as safetensors with what it is for and what `about` records of its making."""
    metadata = {"ccnet": json.dumps(asdict(branch.spec)), **(about or {})}
    tensors = {name: value.detach().contiguous().clone() for name, value in branch.state_dict().items()}
    write_safetensors(path, tensors, metadata)


def load_ccnet(path: str | Path) -> CCNet:
    """Read a branch; `check_fits` refuses it for a network that it was not trained for.

    Raises:
        InputError: the file is missing, damaged or no CCNet.
    """
    path = require_file(path)
    tensors, metadata = read_safetensors(path)
    with reading(path, "a CCNet of this version"):
        spec = _spec(metadata)
        with torch.device("meta"):  # nothing is allocated before the file is known to hold it
            wanted = CCNet(spec).state_dict()
        shapes = {name: value.shape for name, value in wanted.items()}
        if shapes != {name: value.shape for name, value in tensors.items()}:
            raise ValueError(f"its {len(tensors)} entries are not those of {len(shapes)} that its metadata describe")
        wild = next((name for name, value in tensors.items() if not value.isfinite().all()), None)
        if wild is not None:
            raise InputError(f"{path}: entry {wild} holds NaN or infinite numbers: the file is damaged")
        branch = CCNet(spec)
        branch.load_state_dict(tensors)
    return branch.eval()


def _spec(metadata: dict[str, str]) -> BranchSpec:
    """The specification of a branch, each field of its type and in bounds.

    Raises:
        Exception: the metadata are damaged; ValueError with the field.
    """
    said = json.loads(metadata["ccnet"])
    if not isinstance(said, dict):
        raise ValueError("its field ccnet is no object")
    size_wh = said.pop("size_wh", None)
    spec = BranchSpec(**said, size_wh=None if size_wh is None else tuple(size_wh))
    for name, kind in (("head", str), ("skeleton", str), ("channels", int), ("feature_is_map", bool), ("network", str)):
        if type(getattr(spec, name)) is not kind:
            raise ValueError(f"its {name} is {getattr(spec, name)!r:.40}")
    if type(spec.network_hash) is not str or type(spec.members) is not int or type(spec.presence) is not bool:
        raise ValueError("its network_hash, members or presence are of another type")
    if not 1 <= spec.channels <= _MOST_CHANNELS or not 1 <= spec.members <= _MOST_MEMBERS:
        raise ValueError(f"it has {spec.channels} channels and {spec.members} members")
    if spec.skeleton not in SKELETONS:
        raise ValueError(f"its skeleton {spec.skeleton!r:.40} is not known")
    sides = spec.size_wh
    if sides is not None and (len(sides) != 2 or not all(type(side) is int and 0 < side < 1 << 15 for side in sides)):
        raise ValueError(f"its size_wh is {sides!r:.40}")
    return spec
