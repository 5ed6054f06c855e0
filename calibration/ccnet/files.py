"""CCNet files: a branch's weights as safetensors, with what they are for in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from calibration.ccnet.model import BranchSpec, CCNet
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, require_file


def save_ccnet(branch: CCNet, path: str | Path, about: dict[str, str] | None = None) -> None:
    """Write a branch as safetensors with what it is for and what `about` records of its making."""
    from safetensors.torch import save_file

    metadata = {"ccnet": json.dumps(asdict(branch.spec)), **(about or {})}
    tensors = {name: value.detach().contiguous().clone() for name, value in branch.state_dict().items()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata)


def load_ccnet(path: str | Path) -> CCNet:
    """Read a branch; `check_fits` refuses it for a network that it was not trained for.

    Raises:
        InputError: the file is missing, damaged or no CCNet.
    """
    from safetensors import SafetensorError, safe_open

    path = require_file(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error})") from None
    try:
        said = json.loads(metadata["ccnet"])
        size_wh = said.pop("size_wh", None)
        spec = BranchSpec(**said, size_wh=None if size_wh is None else (int(size_wh[0]), int(size_wh[1])))
        branch = CCNet(spec)
        branch.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no CCNet that this version reads: {str(error).splitlines()[0]}") from None
    return branch.eval()
