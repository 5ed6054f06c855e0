"""One array of numbers out of a MATLAB file of level 5, parsed here: scipy's reader crashes on damaged files.

Layout: MAT-File Format, The MathWorks, 2019, chapter 1. Only full real matrices of numbers are read; cells, structures,
objects and texts beside them are stepped over.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pose2d.files.boundary import reading
from pose2d.files.storage import require_file

FLOOR_BYTES, RATIO = 64 << 20, 32
"""A packed array may unpack to this many bytes and as many times the file's size beyond."""

_HEADER = 128
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _PACKED = 14, 15
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX = 0x0800


def read_mat_array(path: str | Path, name: str) -> np.ndarray:
    """An array of numbers by its name, as float64.

    Raises:
        InputError: the file is missing, damaged, of another level (MATLAB's 4 or 7.3), or has no such array.
    """
    path = require_file(path)
    with reading(path, f"a MATLAB file with the array {name}"):
        data = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
        if order is None or len(data) < _HEADER:
            raise ValueError("it is not of level 5: save it with -v7 or older")
        limit = FLOOR_BYTES + RATIO * len(data)
        for kind, content in _elements(data[_HEADER:], order):
            if kind == _PACKED:
                unpacker = zlib.decompressobj()
                content = unpacker.decompress(content, limit)
                limit -= len(content)
                if unpacker.unconsumed_tail:
                    raise ValueError(f"it unpacks to more than {RATIO} times its size")
                kind, content = next(_elements(content, order), (0, b""))
            if kind == _MATRIX:
                array = _matrix(content, order, name)
                if array is not None:
                    return array
        raise ValueError("there is none of that name")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of the elements that follow each other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: its size and up to four bytes share the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise ValueError("a small element is too long")
            at += 8
        else:
            start = at + 8
            at = start + size + (-size % 8 if kind != _PACKED else 0)
        if start + size > len(data):
            raise ValueError("it breaks off")
        yield kind, data[start : start + size]


def _matrix(content: bytes, order: str, name: str) -> np.ndarray | None:
    """A numeric matrix of that name, else None."""
    parts = _elements(content, order)
    (_, flags), (_, axes), (_, named), *numbers = (part for part, _ in zip(parts, range(4)))
    if named.decode("latin1") != name:
        return None
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & 0xFF not in _NUMERIC_CLASSES or flag & _COMPLEX or not numbers:
        raise ValueError("it is no matrix of real numbers")
    kind, raw = numbers[0]
    shape = np.frombuffer(axes, f"{order}i4").tolist()
    if kind not in _TYPES or min(shape, default=-1) < 0 or len(shape) > 32:
        raise ValueError("its type or shape is not known")
    values = np.frombuffer(raw, np.dtype(order + _TYPES[kind]))
    if values.size != math.prod(shape):
        raise ValueError(f"its shape {tuple(shape)} and its {values.size} numbers do not fit")
    return values.astype(np.float64).reshape(shape, order="F")
