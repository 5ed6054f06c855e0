"""Ctrl-C: a program ends at once, whatever it is doing, and leaves no half-written file.

Usually the KeyboardInterrupt does it: every `finally` runs, and files that are not whole are removed. But Python raises
it in the main thread only, between two of its own instructions; a thread that is being waited for, or one long call of
a library, can hold it up. So a watching thread, which the operating system wakes directly, ends the process after a
while by itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE_S = 1.5
STATUS = 130  # what shells expect of a program that Ctrl-C has ended

_unfinished: set[Path] = set()


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """A file or folder that must not stay if the program ends inside the block."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


def discard_unfinished() -> None:
    """Remove what is half-written now."""
    for path in list(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def watch(farewell: Callable[[], str], patience_s: float = PATIENCE_S) -> None:
    """From now on Ctrl-C ends the process within a bounded time. Call it from the main thread, once.

    Args:
        farewell: what to print if the process had to be ended so; empty if that was said already.
        patience_s: seconds that the process has to end by itself.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(receiver, farewell, patience_s), daemon=True, name="interruption").start()


def finished() -> None:
    """From now on Ctrl-C changes nothing: the work is done, and only the process is still ending."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wait(receiver: socket.socket, farewell: Callable[[], str], patience_s: float) -> None:
    while signal.SIGINT not in receiver.recv(64):
        pass
    time.sleep(patience_s)
    end_children()
    discard_unfinished()
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        os.write(2, b"\x1b[?25h")  # a bar hides the cursor
    if words := farewell():
        os.write(2, f"{words}\n".encode())
    os._exit(STATUS)


def end_children() -> None:
    """End every worker process at once."""
    for child in multiprocessing.active_children():
        child.kill()


@contextlib.contextmanager
def left_to_parent() -> Iterator[None]:
    """Processes that are started inside the block do not hear Ctrl-C; who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, also by an executed program
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
