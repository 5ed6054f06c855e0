"""Ctrl-C on real commands: how fast they end, what they say, what they leave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_fitting

ROOT = Path(run_fitting.__file__).parent
WITHIN_S = 2.0


def interrupt(arguments, ready, patience_s=120.0, folder=None):
    """Start a program, wait until `ready(elapsed)`, send it SIGINT; exit status, stderr, seconds it took to end.

    Seconds are those of a machine that is busy with nothing else.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder or ROOT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # tests may run where it is ignored
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    start = time.monotonic()
    while not ready(time.monotonic() - start):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() - start < patience_s
        time.sleep(0.02)
    allowed = allowed_s()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the workers as well
    sent = time.monotonic()
    said = process.communicate(timeout=60)[1]
    return process.returncode, said, (time.monotonic() - sent) / max(allowed, allowed_s()) * WITHIN_S


def allowed_s():
    """Two seconds of a machine of one's own: as much longer as the machine is busy with other things now."""
    start, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.1:
        pass
    return WITHIN_S * max(1.0, (time.monotonic() - start) / 0.1)


def no_partial_files(folder):
    return not [path for path in folder.rglob("*") if "partial" in path.name]


def assert_ended_well(status, said, seconds, *sentences):
    assert status == 130, said
    assert "Traceback" not in said, said
    assert all(sentence in said for sentence in ("interrupted: ", *sentences)), said
    assert seconds < WITHIN_S


HELD_UP = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from pose2d.interruption import watch
from pose2d.storage import atomic_path
watch(lambda: "ended", 0.3)
with atomic_path({file!r}) as partial:
    partial.write_text("half")
    Path({started!r}).touch()
    try:
        time.sleep(60)
    finally:  # as a pool of threads waits here for work that is begun
        time.sleep(60)
"""


def test_what_holds_the_interrupt_up_is_ended_all_the_same(tmp_path):
    started, file = tmp_path / "started", tmp_path / "out.json"
    code = HELD_UP.format(root=str(ROOT), file=str(file), started=str(started))
    status, said, seconds = interrupt(["-c", code], lambda _: started.exists(), folder=tmp_path)
    assert status == 130 and said.strip().endswith("ended")
    assert seconds < WITHIN_S
    assert not file.exists() and no_partial_files(tmp_path)


@pytest.mark.parametrize("after_s", [0.25, 0.6, 1.2])
def test_interrupt_while_it_still_starts(after_s, tmp_path):
    # libraries are being imported then
    words = ["run_fitting.py", "make-world", "--out", tmp_path / "world"]
    assert_ended_well(*interrupt(words, lambda elapsed: elapsed > after_s), "unfinished world was removed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_make_world(workers, tmp_path):
    words = ["run_fitting.py", "make-world", "--out", tmp_path / "world", "--workers", workers, "--parts", "3dpw"]
    drawing = lambda _: any((tmp_path / "world.partial").rglob("*.jpg"))  # noqa: E731
    assert_ended_well(*interrupt(words, drawing), "unfinished world was removed")
    assert list(tmp_path.iterdir()) == []
