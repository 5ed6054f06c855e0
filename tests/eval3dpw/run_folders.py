"""Run folders compared byte by byte, and a command line with small chunks for processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NOT_COMPARED = ("timings.json", ".lock")

SMALL_CHUNKS = """
import os
import sys
import eval3dpw.run.fit
import eval3dpw.run.sequence_job
import run_fitting

eval3dpw.run.sequence_job.CHUNK_FRAMES = 4  # worker processes run this line too

def run(folder, log, words):
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.exit(run_fitting.main(words))

if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], sys.argv[3:])
"""
"""A command line with small chunks, `fit_in_small_chunks.py FOLDER LOG SUBCOMMAND ...`."""


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a run folder but those that tell of the machine."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in NOT_COMPARED]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def assert_same(first: Path, second: Path) -> None:
    """All files are there in both, with the same bytes."""
    before, after = contents(first), contents(second)
    assert sorted(before) == sorted(after)
    assert [name for name in before if before[name] != after[name]] == []


def command_line(world: Path, networks: dict[str, Path], *arguments: str) -> list[str]:
    """`fit` of a world with some networks into the folder `out` of where it is started."""
    options = ["fit", "--root", str(world), "--out", "out", "--checkpoint", str(networks["pose"])]
    options += ["--ccnet", str(networks["ccnet"]), "--regressor", str(networks["regressor"])]
    return [*options, *arguments]


def run_apart(folder: Path, words: list[str]) -> None:
    """A command in a process of its own: the last bits of a product may depend on what a process did before."""
    folder.mkdir(exist_ok=True)
    driver = [sys.executable, "-c", "import run_fitting, sys; sys.exit(run_fitting.main(sys.argv[1:]))", *words]
    done = subprocess.run(driver, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
