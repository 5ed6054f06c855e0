"""Ctrl-C on real commands: how fast they end, what they say, what they leave."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import run_fitting
from tests.eval3dpw.conftest import fake_sequence
from tests.eval3dpw.small_runs import write_run
from tests.stick_figures import write_stick_figures

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
from pose2d.console.interruption import watch
from pose2d.files.storage import atomic_path
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


# A command that says, by a file, when it comes to a certain function for the first time.
SAYS_WHEN = """
import functools, importlib, sys, time
from pathlib import Path
sys.argv = {words!r}
module = importlib.import_module({module!r})
holder = functools.reduce(getattr, {name!r}.split(".")[:-1], module)
last = {name!r}.split(".")[-1]
work = getattr(holder, last)
def begun(*arguments, **options):
    Path({started!r}).touch()
    time.sleep(0.5)  # so that the interrupt comes while the function is at work, however fast that is
    return work(*arguments, **options)
setattr(holder, last, begun)
import run_fitting
sys.exit(run_fitting.main())
"""


def interrupt_in(location, words, folder):
    """Interrupt a command when it has come to a function, named module:name."""
    started = folder / "started"
    module, name = location.split(":")
    words = ["run_fitting.py", *map(str, words)]
    code = SAYS_WHEN.format(words=words, module=module, name=name, started=str(started))
    found = interrupt(["-c", code], lambda _: started.exists(), folder=folder)
    started.unlink()
    assert no_partial_files(folder)
    return found


def small_dataset(root):
    """Two sequences in 3DPW's layout."""
    for seed, name in enumerate(("one", "two")):
        path = root / "sequenceFiles" / "test" / f"{name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(fake_sequence(name, frames=3, seed=seed), protocol=2))
        (root / "imageFiles" / name).mkdir(parents=True)
        for frame in range(3):
            cv2.imwrite(str(root / "imageFiles" / name / f"image_{frame:05d}.jpg"), np.full((48, 64, 3), 90, np.uint8))
    return root


@pytest.mark.slow
def test_fit(tmp_path):
    root, out = small_dataset(tmp_path / "root"), tmp_path / "out"
    words = ["fit", "--root", root, "--out", out, "--weighting", "raw", "--workers", 1]
    assert_ended_well(
        *interrupt_in("eval3dpw.run.sequence_job:fit_track", words, tmp_path), "kept", "run the same command again"
    )
    assert not (out / "summary.json").exists()


@pytest.mark.slow
def test_report_leaves_the_old_page(tmp_path):
    root = small_dataset(tmp_path / "root")
    run = write_run(root, tmp_path / "run", sorted((root / "sequenceFiles" / "test").iterdir()))
    (run / "report.html").write_text("the old page")
    words = ["report", "--run-dir", run]
    assert_ended_well(*interrupt_in("eval3dpw.report.run_report:draw_frame", words, tmp_path), "nothing was written")
    assert (run / "report.html").read_text() == "the old page"


@pytest.mark.slow
def test_training_and_calibration(tmp_path):
    for split in ("train", "calibration", "validation"):
        write_stick_figures(tmp_path / "coco", split, 24)
    words = ["train-pose", "--data", tmp_path / "coco", "--out", tmp_path / "out", "--minutes", 2]
    location = "pose2d.training.run:TrainingRun.descend"
    assert_ended_well(*interrupt_in(location, words, tmp_path), "--resume")
    words = ["calibrate", "--data", tmp_path / "coco", "--out", tmp_path / "ccnet.safetensors"]
    words += ["--cache", tmp_path / "cache"]
    location = "calibration.ccnet.training:_fit"
    assert_ended_well(*interrupt_in(location, words, tmp_path), "features that were computed are kept")
    assert not (tmp_path / "ccnet.safetensors").exists() and any((tmp_path / "cache").rglob("cache.json"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_make_world(workers, tmp_path):
    words = ["run_fitting.py", "make-world", "--out", tmp_path / "world", "--workers", workers, "--parts", "3dpw"]
    drawing = lambda _: any((tmp_path / "world.partial").rglob("*.jpg"))  # noqa: E731
    assert_ended_well(*interrupt(words, drawing), "unfinished world was removed")
    assert list(tmp_path.iterdir()) == []
