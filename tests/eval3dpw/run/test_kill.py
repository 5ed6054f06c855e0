"""`fit` killed again and again.

Each start is a process of its own, forked from one that has imported the packages and done nothing else: imports are
nine tenths of what a start costs. Some starts are whole new interpreters with worker processes.
"""

import contextlib
import importlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.eval3dpw.run_folders import SMALL_CHUNKS, assert_same, command_line

KILLS = 20
WITH_WORKERS = (6, 13)
"""Which kills hit a driver with two workers."""
SEED = 3


class Interpreter:
    """A whole new interpreter, with the methods of a process of multiprocessing."""

    def __init__(self, *words):
        self._process = subprocess.Popen([sys.executable, *words])
        self.pid = self._process.pid

    def join(self, timeout=None):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    @property
    def exitcode(self):
        return self._process.poll()


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(
    tmp_path, make_sequence, write_sequence, random_networks, monkeypatch
):
    for seed, (name, actors, frames) in enumerate((("alone_00", 1, 30), ("two_00", 2, 22), ("short_00", 1, 3))):
        write_sequence(tmp_path / "world", make_sequence(name, frames=frames, actors=actors, seed=seed))
    script = tmp_path / "fit_in_small_chunks.py"
    script.write_text(SMALL_CHUNKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(os.path.abspath, sys.path)))
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload([script.stem])
    rng = random.Random(SEED)
    for folder in ("calm", "killed"):
        (tmp_path / folder).mkdir()
    calm, out = tmp_path / "calm" / "out", tmp_path / "killed" / "out"
    log = tmp_path / "log.txt"

    def start(folder, workers=1):
        words = command_line(tmp_path / "world", random_networks, "--workers", str(workers), "--quiet")
        if workers > 1:
            return Interpreter(script, tmp_path / folder, log, *words)
        process = forked.Process(target=importlib.import_module(script.stem).run, args=(tmp_path / folder, log, words))
        process.start()
        return process

    def wait_for_work(process, manifest, since):
        """Until this start has looked at what is there."""
        while process.exitcode is None and not (manifest.is_file() and manifest.stat().st_mtime_ns > since):
            time.sleep(0.005)

    process = start("calm")
    wait_for_work(process, calm / "manifest.json", 0)
    begun = time.monotonic()
    process.join()
    assert process.exitcode == 0, log.read_text()
    work_s = time.monotonic() - begun

    kills = completed = 0
    kept = set()
    while kills < KILLS:
        since = time.time_ns()
        process = start("killed", workers=2 if kills in WITH_WORKERS else 1)
        if rng.random() < 0.9:  # else also while it starts
            wait_for_work(process, out / "manifest.json", since)
        process.join(rng.uniform(0, work_s / 3))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            kept.add((len(list(out.glob("units/*.json"))), len(list(out.glob("parts/*/*.npz")))))
        else:
            assert process.exitcode == 0, log.read_text()
            completed += 1
            assert_same(calm, out)
            for file in sorted(out.glob("units/*.json"))[completed % 2 :]:  # something is to be done again
                file.unlink()
    assert len(kept) >= 4  # it was killed at different stages of the work
    process = start("killed")
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same(calm, out)
    print(f"{KILLS} kills, {completed} runs between them were whole; {work_s:.1f} s of work undisturbed; kept {kept}")
