"""Files of tensors, read without torch's loaders: torch's zip and older format.

``torch.load`` hands an archive that looks like TorchScript to another loader, which runs it, and its C++ reader and
Python's zip module may read one archive differently. Here the archive's directory is read once; the pickle in it is
interpreted by :mod:`pose2d.files.pickle_machine`, which knows tensors and plain containers; the numbers are read from
the places that the directory names, and every tensor is checked to lie within its storage. Memory: at most the file's
size for storages (twice for the older format) and 4 times for what its tensors show together.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.pickle_machine import Constructor, PickleError, load, require_tree
from pose2d.files.safetensor_files import refuse_no_checkpoint
from pose2d.files.storage import require_file
from pose2d.files.unpickling import encode_latin1, make_dict, make_set

_ZIP_START = b"PK\x03\x04"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_MAX_RECORDS = 200_000
_MAX_AXES = 64
_SHOWN_RATIO = 4
_FLOOR_BYTES = 1 << 20
_LISTED_NAME = 80

_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
_DTYPES = {str(kind).removeprefix("torch."): kind for kind in _STORAGES.values()}


class ForeignObjectError(InputError):
    """A checkpoint holds an object that is no tensor and no plain container.

    Attributes:
        name: what the file calls its class or function.
    """

    def __init__(self, name: str) -> None:
        self.name = name[:_LISTED_NAME]
        super().__init__(f"the checkpoint holds more than tensors ({self.name})")


class Inert(dict[Any, Any]):
    """Stands for any foreign object of a checkpoint: takes items, does nothing."""

    is_inert = True
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, *arguments: Any) -> None:
        super().__init__()


def read_torch_file(path: str | Path, leave_out: bool = False) -> Any:
    """What lies in a file that ``torch.save`` wrote: nested dictionaries, lists and tuples of tensors and plain values.

    Args:
        path: the file, in the zip format or the one before torch 1.6.
        leave_out: put an empty `Inert` in the place of every foreign object, instead of refusing the file.

    Raises:
        ForeignObjectError: there are foreign objects, and `leave_out` is not set.
        InputError: the file is missing, damaged, a TorchScript program or of another format.
    """
    path = require_file(path)
    size = path.stat().st_size
    with reading(path, "a checkpoint", "it is damaged or cut short; download it again"), open(path, "rb") as file:
        start = file.read(512)
        refuse_no_checkpoint(path, start)
        read = _read_zip if start.startswith(_ZIP_START) else _read_legacy
        return read(file, size, leave_out)


@dataclass
class _Storage:
    """One run of numbers, as typed by the pickle."""

    flat: Tensor


@dataclass
class _Tensors:
    """The names that checkpoints need; see `pickle_machine.Vocabulary`."""

    open_storage: Callable[[str, torch.dtype, int], Tensor]
    size: int
    leave_out: bool
    shown: int = 0

    def find(self, module: str, name: str) -> Any:
        known = self._known(module, name)
        if known is not None:
            return known
        if self.leave_out:
            return Constructor(f"{module}.{name}"[:_LISTED_NAME], Inert)
        raise ForeignObjectError(f"{module}.{name}")

    def _known(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name.startswith("_rebuild_"):
            rebuilders: dict[str, Callable[..., Any]] = {
                "_rebuild_tensor": self._tensor,
                "_rebuild_tensor_v2": self._tensor,
                "_rebuild_tensor_v3": self._tensor_v3,
                "_rebuild_parameter": _parameter,
                "_rebuild_parameter_with_state": _parameter,
            }
            return Constructor(name, rebuilders[name]) if name in rebuilders else None
        if module in ("torch", "torch.storage"):
            kind = name.removesuffix("Storage")
            if kind != name and kind in _STORAGES:
                return _STORAGES[kind] if kind != "Untyped" else Constructor("UntypedStorage", _never)
            if name in _DTYPES:
                return _DTYPES[name]
        return _PLAIN.get((module, name))

    def build(self, value: Any, state: Any) -> None:
        if not isinstance(value, dict):  # the _metadata of a state dict, the fields of foreign objects
            raise PickleError(f"a {type(value).__name__} takes no state")

    def persistent(self, key: Any) -> _Storage:
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
            raise PickleError("it refers to something else than a storage")
        _, kind, name, _, count = key[:5]
        dtype = torch.uint8 if isinstance(kind, Constructor) and kind.name == "UntypedStorage" else kind
        if not isinstance(dtype, torch.dtype) or not isinstance(name, str | int) or not _whole(count):
            raise PickleError("a storage has no type, name or length")
        if count * dtype.itemsize > self.size:
            raise PickleError(f"a storage of {count} numbers is longer than the file")
        flat = self.open_storage(str(name), dtype, count)
        view = key[5] if len(key) == 6 else None
        if view is not None:
            if not isinstance(view, tuple) or len(view) != 3 or not all(map(_whole, view[1:])):
                raise PickleError("a view of a storage has no start and length")
            if view[1] + view[2] > count:
                raise PickleError("a view reaches beyond its storage")
            flat = flat[view[1] : view[1] + view[2]]
        return _Storage(flat)

    def _tensor_v3(
        self, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
    ) -> Tensor:
        if not isinstance(storage, _Storage) or not isinstance(dtype, torch.dtype):
            raise PickleError("a tensor has no storage or no type")
        if storage.flat.numel() % dtype.itemsize:
            raise PickleError("a storage is no whole number of its type's numbers")
        return self._tensor(_Storage(storage.flat.view(dtype)), offset, shape, strides)

    def _tensor(self, storage: Any = None, offset: Any = 0, shape: Any = (), strides: Any = (), *_: Any) -> Tensor:
        numbers = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
        if not isinstance(storage, _Storage) or not all(map(_whole, numbers)) or len(shape) != len(strides):
            raise PickleError("a tensor has no storage, shape or strides")
        if len(shape) > _MAX_AXES:
            raise PickleError(f"a tensor has {len(shape)} axes")
        count, have = math.prod(shape), storage.flat.numel()
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if count > have or (count and last >= have) or offset > have:
            raise PickleError(f"a tensor of shape {shape} reaches beyond its storage of {have} numbers")
        self.shown += count * storage.flat.dtype.itemsize
        if self.shown > _SHOWN_RATIO * self.size + _FLOOR_BYTES:
            raise PickleError(f"its tensors show more than {_SHOWN_RATIO} times the file")
        return storage.flat.as_strided(shape, strides, offset)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _parameter(data: Any = None, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise PickleError("a parameter is no tensor")
    return data


def _size(shape: Any = ()) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list) or not all(map(_whole, shape)):
        raise PickleError("a torch.Size is no shape")
    return tuple(shape)


def _never(*arguments: Any) -> Any:
    raise PickleError("a class is called that is only a name here")


def _device(*arguments: Any) -> str:
    return ":".join(str(part)[:_LISTED_NAME] for part in arguments[:2])


_PLAIN: Mapping[tuple[str, str], Constructor] = {
    ("collections", "OrderedDict"): Constructor("OrderedDict", make_dict),
    ("torch", "Size"): Constructor("torch.Size", _size),
    ("torch", "device"): Constructor("torch.device", _device),
    ("_codecs", "encode"): Constructor("_codecs.encode", encode_latin1),
    ("builtins", "set"): Constructor("set", make_set),
    ("__builtin__", "set"): Constructor("set", make_set),
}


def _finished(contents: Any, size: int) -> Any:
    require_tree(contents, size)
    return contents


def _typed(raw: Tensor, dtype: torch.dtype) -> Tensor:
    if raw.numel() == 0:
        return torch.empty(0, dtype=dtype)
    return raw != 0 if dtype == torch.bool else raw.view(dtype)


def _read_zip(file: IO[bytes], size: int, leave_out: bool) -> Any:
    records = _directory(file, size)
    storages: dict[str, Tensor] = {}

    def open_storage(name: str, dtype: torch.dtype, count: int) -> Tensor:
        key = f"data/{name}"
        if key not in storages:
            if key not in records:
                raise PickleError(f"the record {key[:_LISTED_NAME]} is missing")
            start, length = records[key]
            if length != count * dtype.itemsize:
                raise PickleError(f"the record {key[:_LISTED_NAME]} has {length} bytes for {count} numbers")
            storages[key] = _typed(_bytes_at(file, start, length), dtype)
        if storages[key].dtype != dtype:
            raise PickleError(f"the record {key[:_LISTED_NAME]} is taken for numbers of two types")
        return storages[key]

    order = _record(file, records, "byteorder") if "byteorder" in records else b"little"
    if order.strip() != b"little":
        raise PickleError("its numbers are not little-endian")
    if "data.pkl" not in records:
        raise PickleError("the record data.pkl is missing")
    return _finished(load(_record(file, records, "data.pkl"), _Tensors(open_storage, size, leave_out)).value, size)


def _record(file: IO[bytes], records: Mapping[str, tuple[int, int]], name: str) -> bytes:
    start, length = records[name]
    file.seek(start)
    return file.read(length)


def _directory(file: IO[bytes], size: int) -> dict[str, tuple[int, int]]:
    """Where each record's bytes lie, by its name below the archive's one folder."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if len(entries) > _MAX_RECORDS:
        raise PickleError(f"the archive has {len(entries)} records")
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise InputError(
            f"{file.name} is a TorchScript program, not a checkpoint: find the state dict that it was made from"
        )
    folders = {name.partition("/")[0] for name in names}
    if len(set(names)) != len(names) or len(folders) != 1:
        raise PickleError("the archive is not laid out as torch.save does: one folder, each name once")
    records, taken = {}, 0
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise PickleError(f"the record {entry.filename[:_LISTED_NAME]} is packed, torch.save does not")
        file.seek(entry.header_offset)
        header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        name = file.read(header[9])
        start = entry.header_offset + _LOCAL_HEADER.size + header[9] + header[10]
        taken += entry.file_size
        if header[0] != _ZIP_START or name.decode("utf-8") != entry.orig_filename:
            raise PickleError(f"the record {entry.filename[:_LISTED_NAME]} is not where the directory says")
        if start + entry.file_size > size or taken > size:
            raise PickleError("the archive's records are longer than the file")
        records[entry.filename.partition("/")[2]] = start, entry.file_size
    return records


def _bytes_at(file: IO[bytes], start: int, length: int) -> Tensor:
    raw = np.empty(length, dtype=np.uint8)
    file.seek(start)
    if file.readinto(memoryview(raw)) != length:  # type: ignore[attr-defined, arg-type]
        raise PickleError("it is cut short")
    return torch.from_numpy(raw)


def _read_legacy(file: IO[bytes], size: int, leave_out: bool) -> Any:
    """The format before torch 1.6: five pickles, then every storage's length and numbers."""
    file.seek(0)
    data = file.read()
    storages: dict[str, Tensor] = {}
    announced = 0

    def open_storage(name: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal announced
        if name not in storages:
            announced += count * dtype.itemsize
            if announced > size:
                raise PickleError("its storages are longer than the file")
            storages[name] = torch.zeros(count, dtype=dtype)
        if storages[name].dtype != dtype or storages[name].numel() != count:
            raise PickleError(f"the storage {name[:_LISTED_NAME]} is announced with two types or lengths")
        return storages[name]

    words = _Tensors(open_storage, size, leave_out)
    magic, at = _next(data, words, 0)
    if magic != _MAGIC:
        raise PickleError("it does not begin as torch.save does")
    protocol, at = _next(data, words, at)
    system, at = _next(data, words, at)
    if protocol != _PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("it is of an unknown protocol, or its numbers are not little-endian")
    contents, at = _next(data, words, at)
    keys, at = _next(data, words, at)
    if not isinstance(keys, list) or {str(key) for key in keys} != storages.keys() or len(keys) != len(storages):
        raise PickleError("the list of its storages does not fit its tensors")
    for key in keys:
        flat = storages[str(key)]
        (count,) = struct.unpack_from("<q", data, at)
        at += 8
        length = flat.numel() * flat.dtype.itemsize
        if count != flat.numel() or at + length > len(data):
            raise PickleError("it is cut short, or a storage has another length than announced")
        if length:
            raw = torch.from_numpy(np.frombuffer(data, np.uint8, length, at).copy())
            flat.copy_(_typed(raw, flat.dtype))
        at += length
    return _finished(contents, size)


def _next(data: bytes, words: _Tensors, start: int) -> tuple[Any, int]:
    loaded = load(data, words, start)
    return loaded.value, loaded.end
