"""Result files of tracks, computed a chunk of frames at a time and joined on disk.

A part is what one chunk adds to every file: arrays by (file, name, axis), where the axis is that of the frames, or None
for what all chunks agree on. Parts of a sequence of several chunks lie beside the results until the sequence is whole;
an interrupted run takes them up again. Joining reads one array of one chunk at a time, so that its memory does not grow
with the length of a sequence.
"""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pose2d.files.storage import atomic_path

Key = tuple[str, str, int | None]
"""File relative to the results, name of the array in it, axis of its frames."""
Part = Mapping[Key, np.ndarray]
Arrays = dict[str, tuple[int | None, Any]]
"""What one file holds: by name, the axis of the frames (None: the same for all frames) and the values."""

_OPEN_PARTS = 64  # parts kept open while they are joined; of more, each is opened again for each array
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever a file is written


class SpoiltPartError(Exception):
    """A part cannot be read though it was whole when it was renamed: the machine lost power, or the disk fails."""


class PartStore:
    """The parts of one sequence on disk, `<folder>/<number>.npz`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """File of the chunk of that number."""
        return self.folder / f"{number:06d}.npz"

    def __contains__(self, number: int) -> bool:
        return zipfile.is_zipfile(self.path(number))

    def put(self, number: int, part: Part) -> None:
        """Keep a part, whole or not at all."""
        with atomic_path(self.path(number)) as partial, open(partial, "wb") as file:
            np.savez(file, **{_text(key): values for key, values in part.items()})  # type: ignore[arg-type]

    @contextlib.contextmanager
    def get(self, number: int) -> Iterator[Part]:
        """A part whose arrays are read when they are asked for."""
        with np.load(self.path(number), allow_pickle=False) as archive:
            yield _Lazy(archive)

    def clear(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Lazy(Mapping[Key, np.ndarray]):
    def __init__(self, archive: Any) -> None:
        self._archive = archive

    def __getitem__(self, key: Key) -> np.ndarray:
        try:
            return np.asarray(self._archive[_text(key)])
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            raise SpoiltPartError(str(error)) from error

    def __iter__(self) -> Iterator[Key]:
        return map(_key, self._archive.files)

    def __len__(self) -> int:
        return len(self._archive.files)


def _text(key: Key) -> str:
    file, name, axis = key
    return f"{file}|{name}|{'' if axis is None else axis}"


def _key(text: str) -> Key:
    file, name, axis = text.rsplit("|", 2)
    return file, name, int(axis) if axis else None


class Parts:
    """The parts of one sequence in order: a single one in memory, or as many as there are on disk."""

    def __init__(self, stored: PartStore | None, count: int, single: Part | None = None) -> None:
        self._stored, self._count, self._single = stored, count, single
        self._stack = contextlib.ExitStack()
        self._open: dict[int, Part] = {}
        self._places: dict[Key, list[int]] = {}

    def __enter__(self) -> Parts:
        for number in range(self._count):
            with self._part(number) as part:
                for key in part:
                    self._places.setdefault(key, []).append(number)
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _part(self, number: int) -> Iterator[Part]:
        if self._single is not None:
            yield self._single
        elif number in self._open:
            yield self._open[number]
        elif len(self._open) < _OPEN_PARTS:
            assert self._stored is not None
            self._open[number] = self._stack.enter_context(self._stored.get(number))
            yield self._open[number]
        else:
            assert self._stored is not None
            with self._stored.get(number) as part:
                yield part

    def files(self) -> tuple[str, ...]:
        """The files that the parts make, each once."""
        return tuple(dict.fromkeys(file for file, _, _ in self._places))

    def keys(self, file: str) -> list[Key]:
        """Arrays of one file."""
        return [key for key in self._places if key[0] == file]

    def pieces(self, key: Key) -> Iterator[np.ndarray]:
        """An array's piece of each chunk that has one; what all chunks agree on comes once."""
        for number in self._places[key][: 1 if key[2] is None else None]:
            with self._part(number) as part:
                yield part[key]

    def whole(self, key: Key) -> np.ndarray:
        """An array of all chunks, in memory."""
        pieces = list(self.pieces(key))
        return pieces[0] if key[2] is None else np.concatenate(pieces, axis=key[2])

    def write(self, file: str, out: Path) -> Path:
        """Join one file, whole or not at all: an .npz as numpy writes it, the same bytes every time."""
        path = out / file
        with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in self.keys(file):
                entry = zipfile.ZipInfo(f"{key[1]}.npy", _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as stream:
                    self._write_array(key, stream)
        return path

    def _write_array(self, key: Key, stream: Any) -> None:
        axis = key[2]
        first = next(self.pieces(key))
        if axis is None:
            np.lib.format.write_array(stream, np.ascontiguousarray(first).reshape(first.shape), allow_pickle=False)
            return
        shape = list(first.shape)
        shape[axis] = sum(piece.shape[axis] for piece in self.pieces(key))
        described = {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": tuple(shape),
        }
        np.lib.format.write_array_header_1_0(stream, described)
        for outer in np.ndindex(*shape[:axis]):  # the pieces of one row follow each other
            for piece in self.pieces(key):
                stream.write(np.ascontiguousarray(piece[outer]).tobytes())


def part_of(file: str, arrays: Arrays) -> dict[Key, np.ndarray]:
    """The arrays of one file as a part."""
    return {(file, name, axis): np.asarray(values) for name, (axis, values) in arrays.items()}
