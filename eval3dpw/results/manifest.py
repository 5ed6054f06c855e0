"""What a run folder records about itself: the configuration of its results, and which sequences are finished.

    OUT/manifest.json           the configuration, by content: files by their hashes, not by where they lie
    OUT/units/<sequence>.json   one for each finished sequence, written after its files: their hashes and mean errors

A record a sequence, not one growing list, so that whoever did a sequence can say so by one rename, on any machine, and
the cost of saying so does not grow with the run. A sequence counts as finished if its record and all its files are
there with the recorded hashes; anything else is done again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef
from eval3dpw.judging.comparison import TrackMeans
from eval3dpw.results.layout import (
    LOCK_FILE,
    MANIFEST_FILE,
    PARTS_FOLDER,
    REPORT_FILE,
    RESULT_FOLDERS,
    SUMMARY_FILE,
    TIMINGS_FILE,
    UNITS_FOLDER,
    sequence_of_parts,
    unit_file,
)
from pose2d.errors import InputError
from pose2d.files.storage import exclusive, read_json, sha256, write_json

_FORMAT = 1
_TOLD = 4  # differences that are spelt out


@dataclass(frozen=True)
class UnitRecord:
    """A finished sequence."""

    sequence: str
    source_sha256: str
    """Of the sequence file."""
    files: dict[str, str]
    """SHA-256 of each result, by its path in the run folder."""
    tracks: tuple[TrackMeans, ...]

    def save(self, out: Path) -> None:
        """Write it, whole or not at all: from now on the sequence is finished."""
        write_json(record_path(out, self.sequence), asdict(self))

    @classmethod
    def load(cls, out: Path, sequence: str) -> UnitRecord | None:
        """The record of a sequence; None where there is none that can be read."""
        try:
            data = read_json(record_path(out, sequence))
            tracks = tuple(TrackMeans(**track) for track in data["tracks"])
            return cls(data["sequence"], data["source_sha256"], data["files"], tracks)
        except (InputError, KeyError, TypeError):
            return None

    def holds(self, out: Path) -> bool:
        """Whether all files are there as they were written."""
        return all((out / file).is_file() and sha256(out / file) == digest for file, digest in self.files.items())


def record_path(out: Path, sequence: str) -> Path:
    """Where the record of a sequence lies."""
    return out / unit_file(sequence)


def sole_writer(out: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the run folder for this process; the operating system lets go of it however the process ends.

    Raises:
        InputError: another run holds it.
    """
    return exclusive(out / LOCK_FILE, out)


def refuse_inputs_among_results(out: Path, inputs: Sequence[Path]) -> None:
    """
    Raises:
        InputError: a file that the run reads lies among the results, which it writes or removes.
    """
    wanted = {path.resolve() for path in inputs} & {path.resolve() for path in _result_files(out)}
    if wanted:
        raise InputError(f"{min(wanted)} is an input of this run and would be overwritten: choose another --out")


def begin(
    out: Path,
    identity: Mapping[str, Any],
    dataset: SequenceDataset,
    sequences: Sequence[SequenceRef],
    fresh: bool,
) -> dict[str, UnitRecord]:
    """Begin a run in a folder, or go on with it.

    Leftovers that belong to no finished sequence are removed, the parts of unfinished ones are kept.

    Args:
        out: the run folder; the caller holds it (`sole_writer`).
        identity: all that the results depend on except the sequence files.
        dataset: whose sequences these are.
        sequences: all of the run.
        fresh: forget what is there.

    Returns:
        What is finished, by name of the sequence.

    Raises:
        InputError: the folder holds the results of another configuration, of other sequence files, or of nobody knows
            which.
    """
    here = {"format": _FORMAT, **identity}
    manifest = out / MANIFEST_FILE
    done: dict[str, UnitRecord] = {}
    if fresh:
        (out / SUMMARY_FILE).unlink(missing_ok=True)
        _remove(out.glob(f"{UNITS_FOLDER}/*.json"))  # first: without its record nothing counts
        _remove(out.glob(f"{PARTS_FOLDER}/*/*.npz"))
    elif manifest.is_file():
        _refuse(out, differences(_read(manifest), here))
        sources = {sequence.name: sequence for sequence in sequences}
        done = {name: record for name in sources if (record := UnitRecord.load(out, name)) is not None}
        changed = [name for name, record in done.items() if dataset.digest(sources[name]) != record.source_sha256]
        _refuse(out, [f"{sources[name].path.name} has other contents" for name in changed])
        done = {name: record for name, record in done.items() if record.holds(out)}
    elif _result_files(out):
        raise InputError(
            f"{out} holds results without a {MANIFEST_FILE}, so nobody knows where they come from: give --fresh to "
            "remove them, or another --out"
        )
    _remove([out / SUMMARY_FILE, out / REPORT_FILE, out / TIMINGS_FILE])
    write_json(manifest, here)
    finished = {out / file for record in done.values() for file in record.files}
    _remove(set(_result_files(out)) - finished)
    _remove(set(out.glob(f"{UNITS_FOLDER}/*.json")) - {record_path(out, name) for name in done})
    discard_partials(out)
    for folder in out.glob(f"{PARTS_FOLDER}/*"):
        if sequence_of_parts(folder) in done:
            _remove(folder.glob("*.npz"))
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is empty
    return done


def discard_partials(out: Path) -> None:
    """Remove what killed workers have left half-written."""
    for folder in (".", *RESULT_FOLDERS, UNITS_FOLDER, f"{PARTS_FOLDER}/*"):
        _remove(out.glob(f"{folder}/.*.partial"))


def _read(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path} is no manifest of a run: give --fresh to start over, or another --out")
    return data


def _refuse(out: Path, told: Sequence[str]) -> None:
    if told:
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        raise InputError(
            f"{out} holds a run of another configuration ({'; '.join(told[:_TOLD])}{more}): give --fresh to start "
            "over there, or another --out"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two configurations, in words."""
    old, new = _flat(before), _flat(now)
    told = []
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            told.append(_told(name, old.get(name), new.get(name)))
    return told


def _told(name: str, old: Any, new: Any) -> str:
    if _is_digest(old) and _is_digest(new):
        return f"{name} has other contents"
    shown = ["absent" if value is None else "another file" if _is_digest(value) else value for value in (old, new)]
    return f"{name} was {shown[0]} and is {shown[1]}"


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 and value.isalnum()


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{name} ")
        else:
            flat[f"{prefix}{name}"] = [*item] if isinstance(item, tuple) else item
    return flat


def _result_files(out: Path) -> list[Path]:
    return [file for folder in RESULT_FOLDERS for file in out.glob(f"{folder}/*.npz")]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
