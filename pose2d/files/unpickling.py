"""Unpickling of research data files (SMPL bodies, 3DPW sequences) without running anything that lies in them.

The opcodes are interpreted by :mod:`pose2d.files.pickle_machine`. Here stand the constructors that such files need:
numpy arrays and scalars of a closed set of dtypes, whose every byte is accounted for before numpy sees it; scipy's
sparse matrices and chumpy's classes, which stay what the file says of them until :func:`plain` has checked it and made
an array. Every other name in the file refuses the file.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.pickle_machine import Constructor, PickleError, load, require_tree
from pose2d.files.storage import require_file

MAX_DENSE = 1 << 24
"""Entries that a sparse matrix may have when it is written out (SMPL's regressor has 24 x 6890)."""

_DTYPES = re.compile(r"[<>=|]?(b1|i[1248]|u[1248]|f[248]|c8|c16|[SU]\d{1,5}|O[48]?|\?)")
_CHUMPY_FIELDS = ("x", "_x", "a", "idxs", "preferred_shape")
_SPARSE_FIELDS = ("_shape", "shape", "data", "indices", "indptr", "row", "col", "coords")
_SPARSE = re.compile(r"(csc|csr|coo)_(?:matrix|array)")
_MAX_AXES = 16


class ChumpyStub:
    """Stands for any chumpy object: keeps the fields that hold its numbers, computes nothing."""

    def __init__(self, *args: Any) -> None:
        self.unpickled_state: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()

    def set_state(self, state: Any) -> None:
        """What the file says of the object."""
        fields = state if isinstance(state, dict) else {"x": state}
        self._names = tuple(str(name) for name in fields)
        self.unpickled_state = {name: fields[name] for name in _CHUMPY_FIELDS if name in fields}

    def array(self) -> np.ndarray:
        """The array that the object held.

        Raises:
            PickleError: it is an expression over other objects (chumpy's Select and the like), not a stored array.
        """
        state = self.unpickled_state
        for key in ("x", "_x"):
            if key in state:
                return plain(state[key])
        if {"a", "idxs"} <= state.keys():  # chumpy.reordering.Select: a view of another array
            source, chosen = plain(state["a"]).ravel(), plain(state["idxs"]).ravel()
            if chosen.dtype.kind not in "iu" or (chosen.size and not 0 <= chosen.min() <= chosen.max() < source.size):
                raise PickleError("a chumpy selection names entries that its array has not")
            return np.asarray(source[chosen].reshape(_shape(state.get("preferred_shape", chosen.shape), chosen.size)))
        raise PickleError(f"a chumpy object holds no array (its fields: {', '.join(self._names) or 'none'})")


class SparseStub:
    """Stands for a scipy sparse matrix: keeps its state, so that no index is used before it is checked."""

    def __init__(self, kind: str, *args: Any) -> None:
        self.kind = kind
        self.unpickled_state: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        """What the file says of the matrix."""
        if not isinstance(state, dict):
            raise PickleError(f"the state of a sparse matrix is a {type(state).__name__}")
        self.unpickled_state = {name: state[name] for name in _SPARSE_FIELDS if name in state}

    def array(self) -> np.ndarray:
        """The matrix written out.

        Raises:
            PickleError: an index lies outside, the lengths do not fit, or it has more than `MAX_DENSE` entries.
        """
        state = self.unpickled_state
        shape = state.get("_shape", state.get("shape"))
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise PickleError("a sparse matrix has no shape of two numbers")
        rows, columns = _shape(shape, None)
        if rows * columns > MAX_DENSE:
            raise PickleError(f"a sparse matrix of shape {shape} has more than {MAX_DENSE} entries when written out")
        values = plain(state.get("data")).ravel()
        if values.dtype.kind not in "fiub":
            raise PickleError("a sparse matrix holds no numbers")
        if self.kind == "coo":
            along = state["coords"] if "coords" in state else (state.get("row"), state.get("col"))
            if not isinstance(along, tuple | list) or len(along) != 2:
                raise PickleError("a sparse matrix has no rows and columns")
            row, column = (_indices(index, len(values), size) for index, size in zip(along, (rows, columns)))
        else:
            major, minor = (columns, rows) if self.kind == "csc" else (rows, columns)
            starts = _indices(state.get("indptr"), major + 1, len(values) + 1)
            if starts[0] != 0 or starts[-1] != len(values) or (np.diff(starts) < 0).any():
                raise PickleError("the field indptr of a sparse matrix does not divide its entries")
            inner = _indices(state.get("indices"), len(values), minor)
            outer = np.repeat(np.arange(major), np.diff(starts))
            row, column = (inner, outer) if self.kind == "csc" else (outer, inner)
        dense = np.zeros((rows, columns), dtype=values.dtype if values.dtype.kind == "f" else np.float64)
        np.add.at(dense, (row, column), values)
        return dense


def plain(value: Any) -> np.ndarray:
    """An array from what an unpickled body file holds: an array, a sparse matrix or a chumpy object.

    Raises:
        PickleError: it holds no such thing, or indices that do not fit.
    """
    if isinstance(value, ChumpyStub | SparseStub):
        return value.array()
    return np.asarray(value)


def restricted_load(path: str | Path) -> Any:
    """Read a pickle of plain containers, numpy arrays, sparse matrices (`SparseStub`) and chumpy's (`ChumpyStub`).

    Python 2 pickles are read with latin1. Memory: the file, its arrays, and at most 64 MB + 32 times the file's size
    of what its containers unfold to.

    Raises:
        InputError: the file is missing, truncated, no pickle, or asks for anything else (it is not run).
    """
    path = require_file(path)
    with reading(path, "a pickle of plain data"):
        data = path.read_bytes()
        if data.startswith(b"PK\x03\x04"):
            raise InputError(f"{path} is a zip archive (.npz or .zip), not a pickle: unpack it and give its .pkl")
        value = load(data, _Data()).value
        require_tree(value, len(data))
        return value


def _shape(value: Any, size: int | None) -> tuple[int, ...]:
    """`value` as a shape of `size` entries."""
    if isinstance(value, np.ndarray):
        value = tuple(value.tolist())
    axes = value if isinstance(value, tuple) else (value,)
    if len(axes) > _MAX_AXES or not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in axes):
        raise PickleError(f"{value!r:.60} is no shape of an array")
    if size is not None and math.prod(axes) != size:
        raise PickleError(f"an array of shape {axes} cannot hold {size} entries")
    return axes


def _indices(value: Any, count: int, bound: int) -> np.ndarray:
    """`value` as `count` indices in [0, bound)."""
    index = plain(value).ravel()
    if index.dtype.kind not in "iu" or len(index) != count:
        raise PickleError(f"a sparse matrix needs {count} whole numbers as indices, it has {len(index)}")
    if count and not 0 <= index.min() <= index.max() < bound:
        raise PickleError(f"a sparse matrix names entry {index.max()} of {bound}")
    return index.astype(np.int64)


class _DType:
    """A dtype of the closed set; only its byte order may be changed by the file."""

    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not _DTYPES.fullmatch(code):
            raise PickleError(f"dtype {code!r:.60} is not plain data")
        self.dtype = np.dtype("O" if code.lstrip("<>=|").startswith("O") else code)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or not 8 <= len(state) <= 9 or state[1] not in ("<", ">", "=", "|"):
            raise PickleError("the state of a dtype is not plain data")
        if any(part is not None for part in (*state[2:5], *state[8:])) or state[5] not in (-1, self.dtype.itemsize):
            raise PickleError("a dtype with fields or of another size is not plain data")
        if state[1] != "|":
            self.dtype = self.dtype.newbyteorder(state[1])


def _array_state(array: np.ndarray, state: Any) -> None:
    """Fill an array that `_reconstruct` has made, once every byte is accounted for."""
    if not isinstance(state, tuple) or len(state) not in (4, 5) or array.size:
        raise PickleError("the state of an array is not plain data")
    shape, dtype, fortran, data = state[-4:]
    if not isinstance(shape, tuple) or not isinstance(dtype, _DType):
        raise PickleError("the state of an array has no shape or no dtype")
    count = math.prod(_shape(shape, None))
    if dtype.dtype.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise PickleError(f"an array of shape {shape} came with other than {count} objects")
    else:
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.dtype.itemsize:
            raise PickleError(f"an array of shape {shape} and type {dtype.dtype} came with too few or too many bytes")
        data = bytes(data)
    array.__setstate__((1, shape, dtype.dtype, bool(fortran), data))  # type: ignore[arg-type]


def _reconstruct(subtype: Any, shape: Any, code: Any) -> np.ndarray:
    if not isinstance(subtype, Constructor) or subtype.name != "numpy.ndarray":
        raise PickleError("an array subclass is not plain data")
    return np.empty((0,), dtype=np.int8)


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(buffer, bytes | bytearray) or not isinstance(dtype, _DType) or dtype.dtype.hasobject:
        raise PickleError("an array's buffer is not plain data")
    flat = np.frombuffer(buffer, dtype=dtype.dtype)
    return flat.reshape(_shape(shape, flat.size), order="F" if order == "F" else "C").copy(order="K")


def _scalar(dtype: Any, raw: Any = None) -> Any:
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(dtype, _DType) or dtype.dtype.hasobject or not isinstance(data, bytes | bytearray):
        raise PickleError("a numpy scalar of objects is not plain data")
    if len(data) != dtype.dtype.itemsize:
        raise PickleError(f"a numpy scalar of type {dtype.dtype} came with {len(data)} bytes")
    return np.frombuffer(bytes(data), dtype=dtype.dtype)[0]


def encode_latin1(text: Any = None, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes at protocol 2: a text and how to encode it."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError(f"text encoding {encoding!r:.60} is not expected in array data")
    return text.encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    if arguments:  # the data of an empty array at protocol 2 have none
        raise PickleError("bytes(...) with arguments is not expected in array data")
    return b""


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    if isinstance(data, str):
        data = encode_latin1(data, encoding)
    if not isinstance(data, bytes):
        raise PickleError(f"a bytearray of a {type(data).__name__} is not plain data")
    return bytearray(data)


def make_set(items: Any = ()) -> set[Any]:
    """A set of a list of plain values."""
    if not isinstance(items, list | tuple) or not all(isinstance(item, str | bytes | int | float) for item in items):
        raise PickleError("a set of other than plain values is not expected")
    return set(items)


def make_dict(items: Any = ()) -> dict[Any, Any]:
    """An ordered dictionary of a list of pairs."""
    if not isinstance(items, list | tuple):
        raise PickleError(f"a dictionary of a {type(items).__name__} is not expected")
    pairs = [pair for pair in items if isinstance(pair, list | tuple) and len(pair) == 2]
    if len(pairs) != len(items) or not all(isinstance(key, str | int) for key, _ in pairs):
        raise PickleError("a dictionary of other than pairs is not expected")
    return {pair[0]: pair[1] for pair in pairs}


def _complex(real: Any = 0, imaginary: Any = 0) -> complex:
    if not all(isinstance(part, int | float) for part in (real, imaginary)):
        raise PickleError("a complex number of other than numbers is not plain data")
    return complex(real, imaginary)


def _reconstructor(kind: Any, base: Any, state: Any) -> ChumpyStub:
    """How protocols 0 and 1 write an object."""
    if not isinstance(kind, Constructor) or not kind.name.startswith("chumpy."):
        raise PickleError("an object of another class than chumpy's is not plain data")
    return ChumpyStub()


def _never(*arguments: Any) -> Any:
    raise PickleError("a class is called that is only a name here")


def _constructors() -> dict[tuple[str, str], Constructor]:
    calls: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _never,
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): encode_latin1,
        ("collections", "OrderedDict"): make_dict,
    }
    for core in ("numpy.core", "numpy._core"):
        calls[core + ".multiarray", "_reconstruct"] = _reconstruct
        calls[core + ".multiarray", "scalar"] = _scalar
        calls[core + ".numeric", "_frombuffer"] = _frombuffer
    for builtins in ("builtins", "__builtin__"):
        calls[builtins, "object"] = _never
        calls[builtins, "bytes"] = _bytes
        calls[builtins, "bytearray"] = _bytearray
        calls[builtins, "complex"] = _complex
        calls[builtins, "set"] = make_set
        calls[builtins, "frozenset"] = lambda items=(): frozenset(make_set(items))
    for registry in ("copyreg", "copy_reg"):
        calls[registry, "_reconstructor"] = _reconstructor
    return {key: Constructor(".".join(key), call) for key, call in calls.items()}


_CONSTRUCTORS = _constructors()


class _Data:
    """The names that research data need."""

    def find(self, module: str, name: str) -> Constructor:
        if (module, name) in _CONSTRUCTORS:
            return _CONSTRUCTORS[module, name]
        if module.split(".")[0] == "chumpy":
            return Constructor(f"chumpy.{name}", ChumpyStub)
        kind = _SPARSE.fullmatch(name)
        if kind and (module == "scipy.sparse" or module.startswith("scipy.sparse.")):
            return Constructor(f"scipy.sparse.{name}", lambda *arguments: SparseStub(kind[1]))
        raise PickleError(f"it asks for {module}.{name}, which is not plain data")

    def build(self, value: Any, state: Any) -> None:
        if isinstance(value, np.ndarray):
            _array_state(value, state)
        elif isinstance(value, ChumpyStub | SparseStub | _DType):
            value.set_state(state)
        else:
            raise PickleError(f"a {type(value).__name__} takes no state")

    def persistent(self, key: Any) -> Any:
        raise PickleError("it refers to data outside of it")
