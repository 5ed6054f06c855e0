"""The one place where what goes wrong inside a reader becomes a sentence for the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pose2d.errors import InputError


@contextlib.contextmanager
def reading(path: str | Path, what: str, remedy: str = "") -> Iterator[None]:
    """Turn every error of the block but Ctrl-C into an InputError that names the file.

    Readers of damaged files raise nearly anything, and running out of memory is an answer to a file, too.

    Args:
        path: the file that is read.
        what: what it was to be, e.g. "an .npz of plain arrays".
        remedy: what to do, appended behind a colon.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        behind = f": {remedy}" if remedy else ""
        raise InputError(f"{path} cannot be read as {what} ({reason(error)}){behind}") from None


def reason(error: BaseException) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    if isinstance(error, MemoryError):
        return "it announces more than there is memory"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]} is missing"
    text = " ".join(str(error).split())
    return f"{text[:150]}..." if len(text) > 150 else text or type(error).__name__
