"""numpy's formats, .npy and .npz: headers are parsed here, and no array is made that the file does not hold."""

from __future__ import annotations

import contextlib
import math
import re
import zipfile
from collections.abc import Collection, Iterator
from io import BufferedIOBase
from typing import Any, cast

import numpy as np

FLOOR_BYTES = 256 << 20
"""What any .npz may unpack to, however small it is."""
RATIO = 32
"""How many times its own size an .npz may unpack to beyond that."""

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_MAX_MEMBERS = 10_000
_MAX_AXES = 32
_DESCRIPTION = re.compile(
    r"""['"]descr['"]\s*:\s*['"]([<>=|]?(?:b1|i[1248]|u[1248]|f[248]|c8|c16|[SU]\d{1,6}|\?))['"]"""
)
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d\s,L]*)\)""")
_CHUNK = 1 << 22


def read_archive(file: BufferedIOBase, size: int, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an open .npz of `size` bytes, all or those of some names that it has.

    Raises:
        Exception: nearly anything where the file is damaged; ValueError where an array is not plain or too large.
    """
    if file.read(len(_MAGIC)) == _MAGIC:
        raise ValueError("it is a single array")
    budget = FLOOR_BYTES + RATIO * size
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > _MAX_MEMBERS:
            raise ValueError(f"it has {len(members)} members")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if names is not None and name not in names:
                continue
            budget -= member.file_size
            if budget < 0:
                raise ValueError(f"it unpacks to more than {RATIO} times its size and {FLOOR_BYTES >> 20} MB")
            if name in arrays:
                raise ValueError(f"it has two arrays {name[:60]}")
            with archive.open(member) as stream, _about(name):
                arrays[name] = read_array(cast(BufferedIOBase, stream), member.file_size)
    return arrays


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"array {name[:60]}: {error}") from None


def read_array(stream: BufferedIOBase, size: int) -> np.ndarray:
    """An array from a stream of `size` bytes, all of which must belong to it."""
    start = stream.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it is no .npy array")
    width = {1: 2, 2: 4, 3: 4}.get(start[len(_MAGIC)], 0)
    length = int.from_bytes(stream.read(width), "little")
    if not width or length > _MAX_HEADER:
        raise ValueError("its header is of an unknown version or too long")
    header = stream.read(length).decode("utf-8" if start[len(_MAGIC)] == 3 else "latin1")
    dtype, shape, order = _parsed(header)
    count = math.prod(shape)
    if count * dtype.itemsize != size - len(start) - width - length:
        raise ValueError(f"its header says shape {shape} and type {dtype}, its data have another length")
    flat = np.empty(count, dtype=dtype)
    if flat.nbytes:
        view, done = memoryview(flat.view(np.uint8)), 0  # type: ignore[arg-type]
        while done < len(view):
            got = stream.readinto(view[done : done + _CHUNK])
            if not got:
                raise ValueError("it breaks off")
            done += got
    if stream.read(1):
        raise ValueError("its data are longer than its header says")
    return flat.reshape(shape, order=order)


def _parsed(header: str) -> tuple[np.dtype, tuple[int, ...], Any]:
    description, order, shape = (pattern.search(header) for pattern in (_DESCRIPTION, _ORDER, _SHAPE))
    if description is None and ("'O'" in header or "|O" in header):
        raise ValueError("it holds pickled objects, which are not read")
    if description is None or order is None or shape is None:
        raise ValueError("its header is not that of a plain array of numbers or texts")
    axes = tuple(int(part) for part in shape[1].replace("L", "").split(",") if part.strip())
    if len(axes) > _MAX_AXES or any(size >= 1 << 48 for size in axes):
        raise ValueError("its shape is out of all proportion")
    return np.dtype(description[1]), axes, "F" if order[1] == "True" else "C"
