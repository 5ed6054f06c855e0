"""Where jobs are done: in this process, or in processes beside it.

An engine takes a function that loads all that the work needs and returns the work itself, which each worker calls
once, and the items to do it on. It yields the outcome of each item, in the order in which they end. What an item's
work writes is the work's own affair: a result that depended on the engine would be a fault.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

from pose2d.console.interruption import left_to_parent
from pose2d.errors import InputError
from pose2d.parallel import single_threaded_children, usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 2
"""How often an item is tried again after its worker died."""
_PATIENCE_S = 1.0  # for workers to remove half-written files before they are killed


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """What came of one item."""

    item: Item
    result: Result | None
    """None where every worker that tried it died."""
    failure: str = ""


class Engine(Protocol):
    """One way to get work done."""

    def run(self, load: Callable[[], Callable[[Any], Any]], items: Sequence[Any]) -> Generator[Done[Any, Any]]:
        """Load the work where it is done and do it on every item.

        Raises:
            Exception: what the work or its loading raised; what other items have written stays.
        """
        ...


@dataclass(frozen=True)
class InProcess:
    """One item after the other, here."""

    def run(self, load: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Generator[Done[Item, Result]]:
        """See `Engine`."""
        if items:
            work = load()
            for item in items:
                yield Done(item, work(item))


@dataclass(frozen=True)
class Processes:
    """Worker processes of this machine. One that dies is replaced, and its item done again."""

    workers: int
    """0: one for each core."""
    retries: int = RETRIES

    def run(self, load: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Generator[Done[Item, Result]]:
        """See `Engine`."""
        count = min(self.workers or usable_cores(), len(items))
        waiting: deque[tuple[Item, int]] = deque((item, 0) for item in items)
        workers: list[_Worker] = []
        deaths_while_loading = 0
        try:
            while waiting or any(worker.busy for worker in workers):
                while len(workers) < count and len(workers) < len(waiting) + sum(worker.busy for worker in workers):
                    workers.append(_Worker.start(load))
                for worker in workers:
                    if worker.ready and not worker.busy and waiting:
                        worker.give(*waiting.popleft())
                for connection in wait([worker.connection for worker in workers]):
                    worker = next(worker for worker in workers if worker.connection is connection)
                    message = worker.receive()
                    if isinstance(message, _Died):
                        workers.remove(worker)
                        if not worker.ready:
                            deaths_while_loading += 1
                            _check_loading(deaths_while_loading, self.retries, message)
                        elif worker.task is not None:
                            item, tries = worker.task
                            if tries < self.retries:
                                waiting.appendleft((item, tries + 1))
                            else:
                                yield Done(item, None, f"its worker died {tries + 1} times ({message.how})")
                    elif isinstance(message, _Result):
                        yield Done(worker.finish(), message.value)
                    elif isinstance(message, _Raised):
                        raise message.error
        finally:
            _end(workers)


@dataclass(frozen=True)
class _Ready:
    """The work is loaded."""


@dataclass(frozen=True)
class _Result:
    value: Any


@dataclass(frozen=True)
class _Raised:
    error: BaseException


@dataclass(frozen=True)
class _Died:
    how: str


class _Worker:
    """A process as the driver sees it."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self.process, self.connection = process, connection
        self.ready = False
        self.task: tuple[Any, int] | None = None

    @classmethod
    def start(cls, load: Callable[[], Any]) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, load), daemon=True)
        with single_threaded_children(), left_to_parent():
            process.start()
        theirs.close()  # only the worker holds it now, so that its death closes the pipe
        return cls(process, ours)

    @property
    def busy(self) -> bool:
        return self.task is not None

    def give(self, item: Any, tries: int) -> None:
        self.task = (item, tries)
        with contextlib.suppress(OSError):  # it has just died: the next receive says so
            self.connection.send(item)

    def finish(self) -> Any:
        assert self.task is not None
        item, self.task = self.task[0], None
        return item

    def receive(self) -> Any:
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            return _Died(f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}")
        self.ready = True
        return message


def _check_loading(deaths: int, retries: int, message: _Died) -> None:
    if deaths > retries:
        raise InputError(
            f"worker processes die while they load the networks ({message.how}): try fewer --workers, there may be too "
            "little memory"
        )


def _end(workers: Sequence[_Worker]) -> None:
    """End all workers, in a second at most: first asked, so that they remove what is half-written, then killed."""
    for worker in workers:
        worker.connection.close()  # an idle one ends by itself
        if worker.busy or not worker.ready:
            worker.process.terminate()
    until = time.monotonic() + _PATIENCE_S
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(connection: Connection, load: Callable[[], Callable[[Any], Any]]) -> None:
    """A worker's life."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = load()
        connection.send(_Ready())
        while True:
            try:
                item = connection.recv()
            except (EOFError, OSError):
                return
            connection.send(_Result(work(item)))
    except (InputError, OSError) as error:
        _tell(connection, error)
    except Exception:
        _tell(connection, RuntimeError(f"in a worker process:\n{traceback.format_exc()}"))


def _tell(connection: Connection, error: BaseException) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        connection.send(_Raised(error))


def _leave(*_: object) -> None:
    raise SystemExit(1)


def _end_with_parent() -> None:
    """A driver that was killed leaves no workers behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
