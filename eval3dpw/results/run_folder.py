"""What runs over the sequences of a split share: their log, their folder, their summary."""

from __future__ import annotations

import contextlib
import errno
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval3dpw.dataset.sequences import SequenceRef
from eval3dpw.judging.comparison import INITIAL, Comparison, TrackMeans
from eval3dpw.results.layout import SUMMARY_FILE
from pose2d.errors import MESSAGE_LENGTH, InputError, one_line
from pose2d.files.boundary import reason
from pose2d.files.storage import write_json

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@dataclass
class RunLog:
    """What a run did with each sequence."""

    used: list[SequenceRef] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why a sequence could not be used, by name."""

    def attempt(self, sequence: SequenceRef, work: Callable[[], list[TrackMeans]]) -> list[TrackMeans]:
        """Run the work of one sequence; a user's mistake in it does not end the run."""
        try:
            result = work()
        except Exception as error:
            self.failed[sequence.name] = failure_of(error, sequence.path)
            return []
        self.used.append(sequence)
        return result

    def raise_if_nothing_was_done(self) -> None:
        """Raise the first failure when no sequence could be used."""
        if not self.used and self.failed:
            first = next(iter(self.failed.values()))
            more = f" (and {len(self.failed) - 1} more sequences failed)" if len(self.failed) > 1 else ""
            raise InputError(first + more)

    def raise_if_some_failed(self, out: Path) -> None:
        """Raise one sentence that names every sequence that could not be used.

        A run that leaves something out ends with status 2, after the others are finished: a script must not take a
        part for the whole.
        """
        if self.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            total = len(self.used) + len(self.failed)
            raise InputError(
                f"{len(self.failed)} of {total} sequences could not be used, the others are finished in {out} "
                f"({reasons})",
                length=MESSAGE_LENGTH * (2 + len(self.failed)),
            )


def failure_of(error: Exception, path: Path) -> str:
    """Why a sequence failed, so that the run goes on with the others.

    Raises:
        Exception: the same again, where the machine is at fault: the other sequences would not do better.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError | MemoryError):
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    return one_line(
        f"{path}: cannot be used, a check that should have said why is missing "
        f"({type(error).__name__} at {place}: {reason(error)})"
    )


@contextlib.contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Write to `out`: the folder exists, and a full disk is told in one sentence."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}; choose another --out") from None
    try:
        yield
    except OSError as error:
        if error.errno in _CANNOT_WRITE:
            raise InputError(
                f"cannot write {error.filename or out}: {error.strerror}; make room or choose another --out "
                "(what was finished before is whole)"
            ) from None
        raise


def write_summary(out: Path, comparison: Comparison, log: RunLog, record: dict[str, Any]) -> dict[str, Any]:
    """Write `summary.json`, last of all files of a run, and return what it holds."""
    summary = comparison.summary() | {"failed_sequences": log.failed} | record
    if INITIAL not in comparison.rows:
        summary["note"] = "no initial predictions among the fits: differences to init are null"
    write_json(out / SUMMARY_FILE, summary)
    return summary
