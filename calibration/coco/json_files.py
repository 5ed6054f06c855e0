"""COCO's JSON: decoded from the mapped file into typed records, refused in one sentence where it is not that."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np

from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, json_bytes, reading_json, require_file

Source = str | Path | Mapping[str, Any] | Sequence[Any]
"""A file, or what `json.load` made of it."""

_Content = bytes | mmap.mmap
"""JSON in UTF-8."""

_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte-order marks, the longer ones first."""
_GZIP, _UTF8_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"


def _encoding(start: bytes) -> str | None:
    """Of a file that is not UTF-8: by its mark, or by a bracket in two bytes."""
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    for encoding, (high, low) in {"utf-16-le": (1, 0), "utf-16-be": (0, 1)}.items():
        if len(start) == 4 and start[low] in b"[{" and start[high] == start[high + 2] == 0 != start[low + 2]:
            return encoding
    return None


def decode(source: Source, decoder: msgspec.json.Decoder[Any], name: str, expected: str) -> Any:
    """Decode a file, or parsed JSON, into the records of a decoder; fields that it does not name are skipped.

    Args:
        source: UTF-8, with or without a byte-order mark, UTF-16 or UTF-32, or any of these in gzip.
        decoder: of a typed record.
        name: of the source, for messages.
        expected: what it should be, for messages.

    Raises:
        InputError: naming the file, the entry's index and the field.
    """
    content = _content_of(source, name, expected)
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        _refuse_value(str(error), name, expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_json(str(error), content, name, expected)


def _content_of(source: Source, name: str, expected: str) -> _Content:
    """The JSON of a source in UTF-8: the mapped file itself, or what a byte-order mark, UTF-16 or gzip stands for.

    A file is mapped, not read, so that one that is not JSON is refused at its first wrong byte, at any size.
    """
    if not isinstance(source, str | Path):
        return msgspec.json.encode(source, enc_hook=_plain)
    path = require_file(source)
    if path.stat().st_size == 0:
        raise InputError(f"{name} is empty where a JSON {expected} is needed")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    content: _Content = mapped
    if mapped[:2] == _GZIP:
        with reading_json(path):
            content = json_bytes(path)
    encoding = _encoding(content[:4])
    if encoding is not None:
        try:
            content = str(content[:], encoding).encode()
        except UnicodeError:
            raise InputError(f"{name} begins like {encoding.upper()} text and is not: write it as UTF-8") from None
    return content[len(_UTF8_MARK) :] if content[: len(_UTF8_MARK)] == _UTF8_MARK else content


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise InputError(f"a {type(value).__name__} cannot stand in annotations or results")


def _refuse_value(message: str, name: str, expected: str) -> NoReturn:
    """Say which entry and field msgspec stumbled over: its message ends in a path such as `$[3].keypoints[5]`."""
    what, _, path = message.partition(" - at ")
    found = re.match(r"`\$(?:\.(\w+))?\[(\d+|\.\.\.)\](?:\.(.+))?`$", path)
    what = what.replace("`", "")
    if found is None:
        raise InputError(f"{name} is not a COCO {expected}: {what[0].lower()}{what[1:]} {path.strip('`$.')}".rstrip())
    group, index, field = found.groups()
    missing = re.match(r"Object missing required field (\w+)", what)
    if missing:
        field, what = missing.group(1), "it is missing"
    where = {None: "entry", "annotations": "annotation", "images": "image"}.get(group, group)
    raise InputError(f"{name}: {where} {index}, field {field or 'itself'}: {what[0].lower()}{what[1:]}")


def _refuse_json(message: str, content: _Content, name: str, expected: str) -> NoReturn:
    found = re.search(r"byte (\d+)", message)
    if found:
        start = int(found.group(1))
        if re.match(rb"-?(NaN|Inf)", bytes(content[max(start - 1, 0) : start + 4]).lstrip(b":,[ ")):
            _refuse_not_finite(content, name)
    why = "it breaks off before the end" if "truncated" in message else message.removeprefix("JSON is malformed: ")
    raise InputError(f"{name} is not a JSON {expected}: {why}")


def _refuse_not_finite(content: _Content, name: str) -> NoReturn:
    """Python's json writes NaN and Infinity, which JSON does not have: find where the first one stands."""
    try:
        parsed = json.loads(bytes(content))
    except (ValueError, RecursionError):
        raise InputError(f"{name} holds NaN or Infinity, and is not JSON beside") from None
    entries = parsed.get("annotations") if isinstance(parsed, dict) else parsed
    kind = "entry" if isinstance(parsed, list) else "annotation"
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        for field, value in entry.items() if isinstance(entry, dict) else ():
            for place, number in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(number, float) and not math.isfinite(number):
                    where = f"{field}[{place}]" if isinstance(value, list) else field
                    raise InputError(f"{name}: {kind} {index}, field {where}: {number} is not a finite number")
    raise InputError(f"{name} holds NaN or Infinity, which JSON does not have")


def read_json_list(path: str | Path) -> list[Any]:
    """A results file's entries with all their fields.

    Raises:
        InputError: the file is not a JSON list.
    """
    name, expected = str(path), "results file (a list of detections)"
    entries: list[Any] = decode(path, msgspec.json.Decoder(list), name, expected)
    return entries


def write_results(path: str | Path, entries: list[Any]) -> None:
    """Write a results file, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(msgspec.json.encode(entries))


def source_name(source: Source, kind: str) -> str:
    """The path, or words for what was handed over in memory."""
    return str(source) if isinstance(source, str | Path) else f"the {kind} given"
