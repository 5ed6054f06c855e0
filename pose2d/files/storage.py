"""Reading and writing files: checked on the way in, never half-written on the way out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pose2d.console.interruption import unfinished
from pose2d.errors import InputError
from pose2d.files.arrays import read_archive, read_array
from pose2d.files.boundary import reading, reason

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_FLOOR_BYTES, _RATIO = 64 << 20, 32


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
            partial.replace(path)
        except OSError as error:
            named = str(error.filename or partial)
            if error.errno is None or named not in (str(partial), str(path)):
                raise
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all. NaN and infinity are refused: JSON has neither."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, nan: bool = False) -> Any:
    """Read a JSON file: UTF-8 with or without a byte order mark, UTF-16 or UTF-32, also packed with gzip.

    Memory: some 40 times the file's size for the densest JSON, and that of gzip at most 64 MB and 32 times the file.

    Args:
        path: the file.
        nan: let NaN and Infinity pass, which Python writes and JSON does not have, for readers that name the entry.

    Raises:
        InputError: the file is missing, is a directory, or is not JSON.
    """
    path = require_file(path)
    with reading_json(path):
        return json.loads(json_bytes(path), parse_constant=float if nan else _refuse_constant)


@contextlib.contextmanager
def exclusive(lock_file: Path, shown: str | Path) -> Iterator[None]:
    """Let one process at a time write to a place; the lock ends with the process, however that ends.

    Args:
        lock_file: made, and removed at the end.
        shown: what it guards, for the message.

    Raises:
        InputError: another process is writing there.
    """
    if fcntl is None:
        yield
        return
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(lock_file, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another run is writing to {shown}: wait until it has ended, or choose another --out"
                ) from None
            except OSError:  # a file system without locks
                pass
            with contextlib.suppress(FileNotFoundError):
                if not os.path.samestat(os.fstat(lock.fileno()), lock_file.stat()):
                    continue  # whoever held the lock has removed its file, and another has made its own
            try:
                yield
            finally:
                lock_file.unlink(missing_ok=True)
            return


@contextlib.contextmanager
def reading_json(path: Path) -> Iterator[None]:
    """Turn whatever a JSON decoder raises into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is not JSON ({reason(error)}): is it truncated, or another format?") from None


def json_bytes(path: Path) -> bytes:
    """The bytes of a JSON file as UTF-8, UTF-16 or UTF-32, unpacked if they are packed with gzip.

    Raises:
        ValueError: they are damaged, or unpack to more than 64 MB and 32 times their size.
    """
    data = path.read_bytes()
    if not data.startswith(_GZIP):
        return data
    limit = _FLOOR_BYTES + _RATIO * len(data)
    unpacker = zlib.decompressobj(wbits=31)
    unpacked = unpacker.decompress(data, limit)
    if unpacker.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {limit >> 20} MB")
    if not unpacker.eof:
        raise ValueError("its gzip data break off")
    return unpacked


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"it holds {word}, which JSON does not have")


def write_npz(path: str | Path, **arrays: Any) -> None:
    """Write arrays as a compressed .npz, whole or not at all."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def allocated_npy(path: Path, shape: tuple[int, ...], dtype: Any) -> np.memmap:
    """A new .npy, memory-mapped for writing, whose room on the disk is taken: a full disk is an error here already.

    Writing to a mapped file without room ends the process with SIGBUS.

    Raises:
        OSError: there is no room; the file is removed.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    try:
        with open(path, "r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(os.fstat(file.fileno()).st_size, 1))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return array


def read_npz(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz, all or those of some names that it has; nothing in it is unpickled.

    Memory: at most 256 MB and 32 times the file's size.

    Raises:
        InputError: the file is missing, truncated, not an .npz, or holds anything but arrays of numbers and texts.
    """
    path = require_file(path)
    with reading(path, "an .npz of plain arrays"), open(path, "rb") as file:
        return read_archive(file, path.stat().st_size, names)


def read_npy(path: str | Path) -> np.ndarray:
    """Read a single array of numbers or texts.

    Raises:
        InputError: the file is missing, truncated, or holds anything else.
    """
    path = require_file(path)
    with reading(path, "a plain .npy array"), open(path, "rb") as file:
        return read_array(file, path.stat().st_size)


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


def is_file(path: Path) -> bool:
    """Whether a file is there; no name out of a file, however long or odd, is an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


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
