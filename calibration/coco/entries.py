"""Entries of a JSON list by field: numbers as arrays, and what is wrong with one of them in a sentence.

Lists of numbers come as msgspec found them in the file. simdjson reads them, some hundred at a time, straight into
arrays, so that no number in them becomes a Python object; a batch in which something is wrong is read again with care.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import msgspec
import numpy as np
import simdjson
from jaxtyping import Float, Int, Shaped
from msgspec import Raw

from pose2d.errors import InputError
from pose2d.skeletons import WHOLEBODY133, WHOLEBODY_FIELDS, Skeleton

_NUMBERS = 8192
"""Numbers that are parsed at a time: few enough for their text to stay in the cache."""


def keypoint_fields(skeleton: Skeleton) -> dict[str, int]:
    """The fields that hold an entry's keypoints in order, and how many keypoints each holds."""
    if skeleton is WHOLEBODY133:
        return dict(zip(WHOLEBODY_FIELDS.values(), (17, 6, 68, 21, 21)))
    return {"keypoints": len(skeleton)}


def is_missing(raw: Raw, empty: bool = False) -> bool:
    """Whether a list is not there, or null, or (where that counts) empty."""
    if len(memoryview(raw)) > 4:
        return False
    text = bytes(raw)
    return text in (b"", b"null") or (empty and text.translate(None, b" \t\r\n") in (b"[]", b"{}"))


class Entries:
    """Some of a list's entries, by field.

    Args:
        where: file and kind of entry, for messages.
        entries: of the file.
        chosen: which of them are meant; all by default.
    """

    def __init__(self, where: str, entries: Sequence[Any], chosen: Sequence[bool] | None = None) -> None:
        self.where = where
        if chosen is None or all(chosen):
            self.index, self._entries = np.arange(len(entries)), entries
        else:
            self.index = np.flatnonzero(chosen)
            self._entries = [entries[i] for i in self.index.tolist()]

    def field(self, field: str) -> list[Any]:
        """A field of each entry."""
        return [getattr(entry, field) for entry in self._entries]

    def refuse(self, place: int, field: str, why: str) -> NoReturn:
        """Name the entry and the field."""
        raise InputError(f"{self.where} {self.index[place]}, field {field}: {why}")

    def integers(self, field: str) -> Int[np.ndarray, " n"]:
        """Whole numbers; they may be written as 7.0, which is what pandas makes of a column with gaps."""
        values = self.field(field)
        if set(map(type, values)) <= {int}:
            with contextlib.suppress(OverflowError):
                return np.array(values, dtype=np.int64)
        for place, value in enumerate(values):
            if abs(value) >= 1 << 63:
                self.refuse(place, field, f"{value} exceeds 64 bits")
            if value != int(value):
                self.refuse(place, field, f"{value} is not a whole number")
        return np.array(list(map(int, values)), dtype=np.int64)

    def identities(self, field: str) -> Shaped[np.ndarray, " n"]:
        """Ids: all of them numbers, or all text."""
        values = self.field(field)
        kinds = set(map(type, values))
        if kinds == {str}:
            return np.array(values, dtype=object)
        if str in kinds:
            place = next(place for place, value in enumerate(values) if isinstance(value, str))
            self.refuse(place, field, f"{values[place]!r:.60} is text where other ids are numbers")
        return self.integers(field)

    def keypoints(self, skeleton: Skeleton, may_be_empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """x, y and the third value of the keypoints, (n, k, 2) and (n, k), of all fields together.

        Args:
            skeleton: whose keypoints are expected.
            may_be_empty: an empty list means that no keypoint is labelled.
        """
        count = len(self._entries) * len(skeleton)
        both = np.empty(3 * count)  # in one piece, which NumPy asks the system to back by huge pages
        xy_px, third = both[: 2 * count].reshape(-1, len(skeleton), 2), both[2 * count :].reshape(-1, len(skeleton))
        first = 0
        for field, size in keypoint_fields(skeleton).items():
            meaning = f"{size} of x, y, v"
            for rows, flat in self._batches(field, 3 * size, meaning, may_be_empty):
                triples = flat.reshape(-1, size, 3)
                xy_px[rows, first : first + size] = triples[:, :, :2]
                third[rows, first : first + size] = triples[:, :, 2]
            first += size
        return xy_px, third

    def centres(self) -> Float[np.ndarray, "n 2"] | None:
        """The field `center`, or None where one is no pair."""
        try:
            return self.numbers("center", 2, "x, y") if self._entries else None
        except InputError:
            return None

    def numbers(self, field: str, size: int, meaning: str) -> Float[np.ndarray, "n size"]:
        """A field's lists of so many numbers."""
        found = np.empty((len(self._entries), size))
        for rows, flat in self._batches(field, size, meaning):
            found[rows] = flat
        return found

    def _batches(
        self, field: str, size: int, meaning: str, may_be_empty: bool = False
    ) -> Iterator[tuple[slice, np.ndarray]]:
        raws = self.field(field)
        parser = simdjson.Parser()
        step = max(1, _NUMBERS // size)
        for start in range(0, len(raws), step):
            batch = raws[start : start + step]
            flat = _flat_numbers(parser, batch, size)
            if flat is None:
                expected = size, meaning, may_be_empty
                flat = np.array([self._careful_numbers(n, field, raw, expected) for n, raw in enumerate(batch, start)])
            yield slice(start, start + len(batch)), flat

    def _careful_numbers(self, place: int, field: str, raw: Raw, expected: tuple[int, str, bool]) -> list[float]:
        """The numbers of one list, or what is wrong with it."""
        size, meaning, may_be_empty = expected
        if is_missing(raw):
            self.refuse(place, field, f"it is missing where {size} numbers are needed ({meaning})")
        try:
            numbers = msgspec.json.decode(raw, type=list[float])
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$")
            self.refuse(place, f"{field}{path.rstrip('`')}", f"{what[0].lower()}{what[1:]}".replace("`", ""))
        except msgspec.DecodeError as error:
            self.refuse(place, field, str(error))
        if len(numbers) == 0 and may_be_empty:
            return [0.0] * size
        if len(numbers) != size:
            self.refuse(place, field, f"{len(numbers)} numbers where {size} are needed ({meaning})")
        return numbers


def _flat_numbers(parser: simdjson.Parser, raws: Sequence[Raw], size: int) -> np.ndarray | None:
    """Lists of so many numbers as an array (n, size), or None where one is something else."""
    text = b"[" + b",".join(raws) + b"]"
    # simdjson would flatten lists within the lists. (NumPy counts bytes five times as fast as bytes.count.)
    if np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord("[")) != len(raws) + 1:
        return None
    try:
        lists: Any = parser.parse(text)
        if set(map(len, lists)) != {size}:
            return None
        return np.frombuffer(lists.as_buffer(of_type="d")).reshape(-1, size)
    except (ValueError, TypeError, RuntimeError):
        return None
