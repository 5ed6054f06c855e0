"""Unpickling of research data files (SMPL bodies, 3DPW sequences) without running anything that lies in them.

A pickle is a program. This reader allows the few constructors that numpy arrays, scipy's sparse matrices and plain
containers need; chumpy's classes, which official SMPL files hold and which cannot be imported on current Python,
become stubs that only remember their state. Every other name in the file refuses the file.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pose2d.errors import InputError
from pose2d.files.storage import require_file


class ChumpyStub:
    """Stands for any chumpy object: keeps its state, computes nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {"x": state}

    def array(self) -> np.ndarray:
        """The array that the object held.

        Raises:
            InputError: it is an expression over other objects (chumpy's Select and the like), not a stored array.
        """
        state = getattr(self, "state", {})
        for key in ("x", "_x"):
            if key in state:
                return np.asarray(state[key])
        if {"a", "idxs"} <= state.keys():  # chumpy.reordering.Select: a view of another array
            picked = plain(state["a"]).ravel()[np.asarray(state["idxs"])]
            return picked.reshape(state.get("preferred_shape", picked.shape))
        raise InputError(f"a chumpy object holds no array (its fields: {', '.join(map(str, state)) or 'none'})")


def plain(value: Any) -> np.ndarray:
    """An array from what an unpickled body file holds: an array, a sparse matrix or a chumpy object."""
    if isinstance(value, ChumpyStub):
        return value.array()
    if hasattr(value, "toarray"):
        return np.asarray(value.toarray())
    return np.asarray(value)


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError(f"an array subclass {subtype!r} is not plain data")
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order).copy()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text encoding {encoding!r} is not expected in array data")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """How Python 3 writes the data of an empty array at protocol 2."""
    if arguments:
        raise pickle.UnpicklingError("bytes(...) with arguments is not expected in array data")
    return b""


def _scalar(dtype: np.dtype, raw: Any = None) -> Any:
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if dtype.hasobject or data is None:
        raise pickle.UnpicklingError("a numpy scalar of objects is not plain data")
    return np.frombuffer(data, dtype=dtype)[0]


def _allowed() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): dict,
    }
    for core in ("numpy.core", "numpy._core"):
        names[core + ".multiarray", "_reconstruct"] = _reconstruct
        names[core + ".multiarray", "scalar"] = _scalar
        names[core + ".numeric", "_frombuffer"] = _frombuffer
    for builtins in ("builtins", "__builtin__"):
        for kind in (set, frozenset, bytearray, complex, slice, range):
            names[builtins, kind.__name__] = kind
        names[builtins, "bytes"] = _no_bytes
    return names


_ALLOWED = _allowed()
_SPARSE = ("csc", "csr", "coo")


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, extra: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file, encoding="latin1")
        self._extra = extra

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if (module, name) in self._extra:
            return self._extra[module, name]
        if module.split(".")[0] == "chumpy":
            return ChumpyStub
        if module.startswith("scipy.sparse"):
            kind = name.split("_")[0]
            if kind in _SPARSE and name == f"{kind}_matrix":
                import scipy.sparse

                return getattr(scipy.sparse, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not plain data")


def restricted_load(path: str | Path, extra_allowed: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """Read a pickle of plain containers, numpy arrays, scipy sparse matrices and chumpy objects (as `ChumpyStub`).

    Args:
        path: the file; Python 2 pickles are read with latin1.
        extra_allowed: further (module, name) pairs and what they stand for.

    Raises:
        InputError: the file is missing, truncated, no pickle, or asks for anything else (it is not run).
    """
    path = require_file(path)
    with open(path, "rb") as file:
        try:
            return _RestrictedUnpickler(file, extra_allowed or {}).load()
        except InputError:
            raise
        except Exception as error:  # a damaged pickle can raise nearly anything
            reason = str(error) or type(error).__name__
            raise InputError(f"{path} cannot be read as a pickle of plain data: {reason}") from None
