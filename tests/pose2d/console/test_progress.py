"""What long work shows: a bar on a terminal, lines in a log, nothing when quiet."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pose2d.console import progress

ROOT = Path(progress.__file__).parents[2]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


@pytest.fixture(autouse=True)
def _loud():
    progress.set_quiet(False)
    yield
    progress.set_quiet(True)


def test_items_pass_through_and_a_log_gets_a_line_once_a_while(clock, capsys):
    seen = []
    for item in progress.track(range(100), "cutting"):
        seen.append(item)
        clock.now += 0.5
    assert seen == list(range(100))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "cutting: 30 of 100, 35 s left, 2.0/s",
        "cutting: 60 of 100, 20 s left, 2.0/s",
        "cutting: 90 of 100, 5 s left, 2.0/s",
    ]


def test_slow_work_says_seconds_of_one(clock, capsys):
    for _ in progress.track(iter("abc"), "fitting", 400):
        clock.now += 40
    assert capsys.readouterr().err.splitlines()[0] == "fitting: 1 of 400, 4 h 26 min left, 40.0 s each"


def test_length_that_is_not_known(clock, capsys):
    for _ in progress.track(iter("ab"), "reading"):
        clock.now += 16
    assert capsys.readouterr().err.splitlines() == ["reading: 1, 16.0 s each", "reading: 2, 16.0 s each"]


def test_work_that_says_itself_how_far_it_is(clock, capsys):
    with progress.meter("training", 60) as shown:
        clock.now += 30
        shown.move_to(30, "loss 0.5")
    assert capsys.readouterr().err == "training: 30 of 60, 30 s left, loss 0.5\n"


def test_what_was_done_before_does_not_count_in_the_rate(clock, capsys):
    with progress.meter("sequences", 100, done=80) as shown:
        clock.now += 20
        shown.advance(10)
    assert capsys.readouterr().err == "sequences: 90 of 100, 20 s left, 2.0 s each\n"


def test_quiet_shows_nothing(clock, capsys):
    progress.set_quiet(True)
    for _ in progress.track(range(3), "x"):
        clock.now += 60
    progress.say("something")
    assert capsys.readouterr().err == ""


def test_nothing_said_is_for_stdout(capsys):
    progress.say("going on after 3 persons")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "going on after 3 persons\n")


def test_an_interrupted_loop_leaves_no_bar_behind(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    loops = progress.track(range(3), "outer"), progress.track(range(3), "inner")
    with pytest.raises(KeyboardInterrupt):
        for _ in loops[0]:
            for _ in loops[1]:
                raise KeyboardInterrupt
    progress.stop_showing()  # the loops are still referred to, as they are by a traceback
    said = sys.stderr.getvalue()
    assert said.endswith("\x1b[?25h")  # the cursor is there again
    assert list(loops[1]) == [1, 2]
    assert list(progress.track(range(2), "again")) == [0, 1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TWO_BARS = """
import time
from pose2d.console.progress import say, track
for _ in track(range(3), "sequences [a]"):
    for _ in track(range(4), "keypoints"):
        time.sleep(0.05)
    say("one is [done]")
    print("result")
"""


def on_terminal(code, stdout_too):
    """What a program writes to a terminal (and what to its stdout, if that is a pipe)."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=child if stdout_too else subprocess.PIPE,
        stderr=child,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    piped = b"" if stdout_too or process.stdout is None else process.stdout.read()
    if process.stdout is not None:
        process.stdout.close()
    assert process.wait() == 0
    os.close(parent)
    return shown.decode(), piped.decode()


def test_bars_in_one_another_on_a_terminal():
    shown, _ = on_terminal(TWO_BARS, stdout_too=True)
    assert "sequences [a]" in shown and "keypoints" in shown and "3/3" in shown and "0:00:00" in shown
    assert shown.count("one is [done]") == 3 and shown.count("result") == 3


def test_results_stay_in_the_file_that_stdout_is():
    shown, piped = on_terminal(TWO_BARS, stdout_too=False)
    assert piped == "result\n" * 3 and "3/3" in shown and "result" not in shown


def test_worker_processes_show_nothing(tmp_path):
    code = """
import multiprocessing
from pose2d.console.progress import say, set_quiet
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=say, args=("from the worker",))
    process.start(); process.join()
    say("from the parent")
"""
    file = tmp_path / "work.py"
    file.write_text(code)
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == "from the parent\n"
