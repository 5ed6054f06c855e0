"""Progress of long work: a bar on a terminal, a plain line now and then in a log, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

_LOG_INTERVAL_S = 15.0
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence (or un-silence) every progress display of the process."""
    global _quiet
    _quiet = quiet


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of `iterable` while showing how many are done, the rate and the time left.

    Args:
        iterable: what to go through.
        description: a few words in front of the bar.
        total: number of items, taken from `len(iterable)` when it has one.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if _quiet:
        yield from iterable
    elif sys.stderr.isatty():
        yield from _bar(iterable, description, total)
    else:
        yield from _lines(iterable, description, total)


def _bar(iterable: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, rate="")
        for item in iterable:
            yield item
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.1f}/s" if speed else "")


def _lines(iterable: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _LOG_INTERVAL_S:
            last, rate = now, done / (now - start)
            rest = "" if total is None else f" of {total}, {(total - done) / rate:.0f} s left"
            print(f"{description}: {done}{rest}, {rate:.1f}/s", file=sys.stderr, flush=True)
