"""`fit` killed again and again, in processes of its own."""

import os
import random
import subprocess
import sys
import time

import pytest

from tests.eval3dpw.run_folders import SMALL_CHUNKS, assert_same, command_line

KILLS = 20
SEED = 3


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(
    tmp_path, make_sequence, write_sequence, random_networks
):
    for seed, (name, actors, frames) in enumerate((("alone_00", 1, 30), ("two_00", 2, 22), ("short_00", 1, 3))):
        write_sequence(tmp_path / "world", make_sequence(name, frames=frames, actors=actors, seed=seed))
    script = tmp_path / "fit_in_small_chunks.py"
    script.write_text(SMALL_CHUNKS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    rng = random.Random(SEED)

    def start(folder, workers=1):
        (tmp_path / folder).mkdir(exist_ok=True)
        words = command_line(tmp_path / "world", random_networks, "--workers", str(workers), "--quiet")
        with open(tmp_path / f"{folder}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, script, *words], cwd=tmp_path / folder, env=environment, stdout=log, stderr=log
            )

    def wait_for_work(process, manifest, since):
        """Until this start of the run has looked at what is there."""
        while process.poll() is None and not (manifest.is_file() and manifest.stat().st_mtime_ns > since):
            time.sleep(0.005)

    manifest = tmp_path / "calm" / "out" / "manifest.json"
    process = start("calm")
    wait_for_work(process, manifest, 0)
    begun = time.monotonic()
    assert process.wait() == 0
    work_s = time.monotonic() - begun

    kills = completed = 0
    kept = set()
    out = tmp_path / "killed" / "out"
    while kills < KILLS:
        since = time.time_ns()
        process = start("killed", workers=2 if kills % 4 == 3 else 1)
        if rng.random() < 0.9:  # else also while it starts
            wait_for_work(process, out / "manifest.json", since)
        try:
            status = process.wait(timeout=rng.uniform(0, work_s / 3))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            kept.add((len(list(out.glob("units/*.json"))), len(list(out.glob("parts/*/*.npz")))))
        else:
            assert status == 0
            completed += 1
            assert_same(tmp_path / "calm" / "out", out)
            for file in sorted(out.glob("units/*.json"))[completed % 2 :]:  # something is to be done again
                file.unlink()
    assert len(kept) >= 4  # it was killed at different stages of the work
    process = start("killed")
    assert process.wait() == 0
    assert_same(tmp_path / "calm" / "out", out)
    print(f"{KILLS} kills, {completed} runs between them were whole; {work_s:.1f} s of work undisturbed; kept {kept}")
