"""Reading and writing files: checked on the way in, never half-written on the way out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pose2d.console.interruption import unfinished
from pose2d.errors import InputError

_BLOCK = 1 << 20


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it over `path` when the block succeeds.

    A reader sees the old file or the new one, never a part. The temporary file is removed when the block fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with unfinished(partial):
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all. NaN and infinity are refused: JSON has neither."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, is a directory, or is not JSON.
    """
    path = require_file(path)
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}): is it truncated, or another format?") from None


def write_npz(path: str | Path, **arrays: Any) -> None:
    """Write arrays as a compressed .npz, whole or not at all."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz, all or those of some names that it has; nothing in it is unpickled.

    Raises:
        InputError: the file is missing, truncated, not an .npz, or holds pickled objects.
    """
    path = require_file(path)
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            return {name: archive[name] for name in archive.files if names is None or name in names}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        raise InputError(f"{path} cannot be read as an .npz of plain arrays ({error})") from None


def require_file(path: str | Path) -> Path:
    """`path` as a Path, if it is a file.

    Raises:
        InputError: it does not exist or is a directory.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a directory where a file is needed")
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    return path


def require_directory(path: str | Path) -> Path:
    """`path` as a Path, if it is a directory.

    Raises:
        InputError: it does not exist or is a file.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"no such directory: {path}" if not path.exists() else f"{path} is not a directory")
    return path


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(require_file(path), "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
