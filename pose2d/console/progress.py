"""Progress of long work, on stderr: a bar on a terminal, a plain line now and then in a log, nothing when quiet.

Results go to stdout; what is said on the way (`say`) and how far the work is (`track`, `meter`) go to stderr, so that a
table can be piped into a file while the bar runs. Bars may lie in one another: all share one display. Worker processes
show nothing, since the process that started them does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

Item = TypeVar("Item")

_LOG_INTERVAL_S = 15.0
_BAR_INTERVAL_S = 0.1
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence (or un-silence) every progress display of the process."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether nothing is to be shown: asked for by `set_quiet`, or this is a worker process."""
    return _quiet or multiprocessing.parent_process() is not None


def say(line: str) -> None:
    """Print a line about the work under way, above the bars if there are any; nothing when quiet."""
    if is_quiet():
        return
    if _display.live:
        _display.print(line)
    else:
        print(line, file=sys.stderr, flush=True)


def stop_showing() -> None:
    """End every bar at once and give the terminal back its cursor, when an error or the user has ended the work."""
    _display.stop()


def track(iterable: Iterable[Item], description: str, total: int | float | None = None) -> Iterator[Item]:
    """Yield the items of `iterable` while showing how many are done, the rate and the time left.

    Args:
        iterable: what to go through.
        description: a few words in front of the bar.
        total: number of items, taken from `len(iterable)` when it has one.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with meter(description, total) as shown:
        for item in iterable:
            yield item
            shown.advance()


@contextlib.contextmanager
def meter(description: str, total: int | float | None = None, done: int | float = 0) -> Iterator[Meter]:
    """Show progress of work that is no loop over items: the block says how far it is by `advance` or `move_to`.

    Args:
        description: a few words in front of the bar.
        total: what there is to do, in any unit; None where it is not known.
        done: how much of it was done before, by an earlier run.
    """
    shown: Meter
    if is_quiet():
        shown = Meter(total, done)
    elif _display.live or sys.stderr.isatty():  # while it is live, stderr is the display's and no terminal
        shown = _Bar(description, total, done)
    else:
        shown = _Lines(description, total, done)
    try:
        yield shown
    finally:
        shown.close()


class Meter:
    """How far some work is; this one shows nothing."""

    def __init__(self, total: int | float | None, done: int | float = 0) -> None:
        self.total = total
        self.done = done

    def advance(self, count: int | float = 1) -> None:
        """That much more is done."""
        self.move_to(self.done + count)

    def move_to(self, done: int | float, note: str | None = None) -> None:
        """So much is done altogether; a note stands in place of the rate."""
        self.done = done
        self._show(note)

    def close(self) -> None:
        """The work has ended, done or not."""

    def _show(self, note: str | None) -> None:
        pass


class _Lines(Meter):
    """A line every `_LOG_INTERVAL_S`."""

    def __init__(self, description: str, total: int | float | None, done: int | float) -> None:
        super().__init__(total, done)
        self._description, self._before = description, done
        self._start = self._last = time.monotonic()

    def _show(self, note: str | None) -> None:
        now = time.monotonic()
        if now - self._last < _LOG_INTERVAL_S:
            return
        self._last, rate = now, (self.done - self._before) / max(now - self._start, 1e-9)
        parts = [f"{self._description}: {self.done:,.0f}"]
        if self.total is not None:
            left = f", {_duration((self.total - self.done) / rate)} left" if rate > 0 else ""
            parts.append(f" of {self.total:,.0f}{left}")
        parts.append(f", {note if note is not None else _rate(rate)}")
        print("".join(parts), file=sys.stderr, flush=True)


class _Bar(Meter):
    """A bar in the display that all bars share."""

    def __init__(self, description: str, total: int | float | None, done: int | float) -> None:
        super().__init__(total, done)
        self._task = _display.add(description, total, done)
        self._next = 0.0

    def _show(self, note: str | None) -> None:
        now = time.monotonic()
        if now >= self._next or self.done == self.total:
            self._next = now + _BAR_INTERVAL_S
            _display.update(self._task, self.done, note)

    def close(self) -> None:
        _display.remove(self._task)


class _Display:
    """The bars of all work under way; live from the first one's beginning to the last one's end."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._progress: Any = None
        self._tasks: list[Any] = []

    @property
    def live(self) -> bool:
        return self._progress is not None

    def print(self, line: str) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.console.print(line, markup=False, highlight=False)

    def add(self, description: str, total: int | float | None, done: int | float) -> Any:
        with self._lock:
            if self._progress is None:
                self._progress = _new_progress()
                self._progress.start()
            name = description.replace("[", r"\[")
            task = self._progress.add_task(name, total=total, completed=done, rate="")
            self._tasks.append(task)
            return task

    def update(self, task: Any, done: int | float, note: str | None) -> None:
        with self._lock:
            if task not in self._tasks:
                return
            self._progress.update(task, completed=done)
            if note is None:
                speed = next(one.speed for one in self._progress.tasks if one.id == task)
                note = _rate(speed) if speed else ""
            self._progress.update(task, rate=note)

    def remove(self, task: Any) -> None:
        with self._lock:
            if task not in self._tasks:  # the display was stopped before
                return
            self._tasks.remove(task)
            if self._tasks:
                self._progress.remove_task(task)
            else:
                self.stop()

    def stop(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
            self._progress = None
            self._tasks = []


def _new_progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # stdout is led through the display only where it is a terminal too: a table piped into a file stays there.
    return Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())


_display = _Display()


def _rate(speed: float) -> str:
    return f"{speed:.1f}/s" if speed >= 1 or speed <= 0 else f"{1 / speed:.1f} s each"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 2 * 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
