"""Work spread over processes, with results that do not depend on how many there are."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pose2d.console.interruption import end_children, left_to_parent
from pose2d.console.progress import track
from pose2d.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def usable_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def single_threaded_children() -> Iterator[None]:
    """Processes started meanwhile run their numerical libraries on one thread each."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Run torch and OpenCV on one thread: sums keep their order, and worker processes do not crowd one another."""
    import cv2
    import torch

    torch_threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(opencv_threads)


def _call(work: tuple[Callable[[Item], Result], Item]) -> Result:
    function, item = work
    with single_thread():
        return function(item)


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, description: str, chunk: int = 1
) -> list[Result]:
    """Apply ``function`` to every item, in order, with a progress display.

    Args:
        function: importable by name (worker processes are started afresh), its result depending on its item alone.
        items: what to work on; each must pickle.
        workers: number of processes; with one, everything runs in the calling process.
        description: a few words in front of the progress display.
        chunk: items that are handed to a process at a time.

    Raises:
        InputError: a process was killed from outside.
    """
    work = [(function, item) for item in items]
    workers = min(workers, len(work))
    if workers <= 1:
        return list(track(map(_call, work), description, total=len(work)))
    # The first item is done here: what numba compiles for it lies in its cache before the processes need it.
    first = _call(work[0])
    context = multiprocessing.get_context("spawn")
    try:
        with single_threaded_children(), ProcessPoolExecutor(workers, context) as pool:
            try:
                with left_to_parent():
                    rest = pool.map(_call, work[1:], chunksize=chunk)
                return list(track(itertools.chain([first], rest), description, total=len(work)))
            except BaseException:  # do not wait for what is begun
                pool.shutdown(wait=False, cancel_futures=True)
                end_children()
                raise
    except BrokenProcessPool:
        raise InputError(
            f"{description}: a worker process was killed, perhaps for want of memory: try fewer than {workers} workers"
        ) from None
