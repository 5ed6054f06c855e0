"""COCO's JSON: decoded from the mapped file into typed records, refused in one sentence where it is not that."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np

from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, require_file

Source = str | Path | Mapping[str, Any] | Sequence[Any]
"""A file, or what `json.load` made of it."""


def decode(source: Source, kind: Any, name: str, expected: str) -> Any:
    """Decode a file, or parsed JSON, into records of `kind`; fields that it does not name are skipped.

    Args:
        source: a file, mapped rather than read: one that is not JSON is refused at its first wrong byte, at any size.
        kind: a msgspec type.
        name: of the source, for messages.
        expected: what it should be, for messages.

    Raises:
        InputError: naming the file, the entry's index and the field.
    """
    decoder = msgspec.json.Decoder(kind)
    if not isinstance(source, str | Path):
        return _decode_bytes(msgspec.json.encode(source, enc_hook=_plain), decoder.decode, name, expected)
    path = require_file(source)
    if path.stat().st_size == 0:
        raise InputError(f"{name} is empty where a JSON {expected} is needed")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _decode_bytes(content, decoder.decode, name, expected)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise InputError(f"a {type(value).__name__} cannot stand in annotations or results")


def _decode_bytes(content: Any, decode: Callable[[Any], Any], name: str, expected: str) -> Any:
    try:
        return decode(content)
    except msgspec.ValidationError as error:
        _refuse_value(str(error), name, expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_json(str(error), content, name, expected)


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


def _refuse_json(message: str, content: Any, name: str, expected: str) -> NoReturn:
    found = re.search(r"byte (\d+)", message)
    if found:
        start = int(found.group(1))
        if re.match(rb"-?(NaN|Inf)", bytes(content[max(start - 1, 0) : start + 4]).lstrip(b":,[ ")):
            _refuse_not_finite(content, name)
    why = "it breaks off before the end" if "truncated" in message else message.removeprefix("JSON is malformed: ")
    raise InputError(f"{name} is not a JSON {expected}: {why}")


def _refuse_not_finite(content: Any, name: str) -> NoReturn:
    """Python's json writes NaN and Infinity, which JSON does not have: find where the first one stands."""
    try:
        parsed = json.loads(bytes(content))
    except ValueError:
        raise InputError(f"{name} holds NaN or Infinity, and is not JSON beside") from None
    entries = parsed if isinstance(parsed, list) else parsed.get("annotations", [])
    kind = "entry" if isinstance(parsed, list) else "annotation"
    for index, entry in enumerate(entries):
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
    content: list[Any] = decode(path, list[Any], str(path), "results file (a list of detections)")
    return content


def write_results(path: str | Path, entries: list[Any]) -> None:
    """Write a results file, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(msgspec.json.encode(entries))


def source_name(source: Source, kind: str) -> str:
    """The path, or words for what was handed over in memory."""
    return str(source) if isinstance(source, str | Path) else f"the {kind} given"
