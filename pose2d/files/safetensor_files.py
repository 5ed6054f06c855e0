"""Safetensors: tensors and texts, in which nothing can run; and what people download in the place of checkpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.storage import atomic_path, require_file


def read_safetensors(path: str | Path, what: str = "safetensors file") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        InputError: it is missing, damaged, or of another format.
    """
    from safetensors import safe_open

    path = require_file(path)
    with open(path, "rb") as file:
        refuse_no_checkpoint(path, file.read(512))
    with reading(path, f"a whole {what}", "download or convert it again"), safe_open(path, framework="pt") as opened:
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        return state, dict(opened.metadata() or {})


def write_safetensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata, whole or not at all.

    Raises:
        OSError: the disk is full or closed, with the file's name.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as partial:
        try:
            save_file(dict(tensors), partial, dict(metadata))
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        partial.chmod(0o644)  # safetensors makes files that only their owner reads


def safetensors_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file alone.

    Raises:
        InputError: see `read_safetensors`.
    """
    from safetensors import safe_open

    path = require_file(path)
    with reading(path, "a safetensors file", "download it again"), safe_open(path, framework="pt") as opened:
        return dict(opened.metadata() or {})


def looks_like_safetensors(path: Path) -> bool:
    """Whether a file starts as safetensors do, whatever its name: a length and a JSON object."""
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def refuse_no_checkpoint(path: Path, start: bytes) -> None:
    """Refuse what people download in the place of a checkpoint.

    Raises:
        InputError: the file's first bytes are those of nothing, a web page, a Git LFS pointer, or another format.
    """
    shown = start.lstrip()
    for beginning, what in (
        (b"version https://git-lfs", "a Git LFS pointer, not the checkpoint itself: download it (git lfs pull)"),
        (b"<", "a web page, not a checkpoint: download it again"),
        (b"\x1f\x8b", "packed with gzip: unpack it"),
        (b"\x89HDF", "an HDF5 file (Keras), not a torch checkpoint: take the torch one"),
    ):
        if shown.startswith(beginning):
            raise InputError(f"{path} is {what}")
    if not start:
        raise InputError(f"{path} is empty: download it again")
    if start[257:262] == b"ustar":
        raise InputError(f"{path} is a tar archive (torch before 0.2, or packed checkpoints): unpack or save it again")
