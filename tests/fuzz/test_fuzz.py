"""No damaged file of any format gets past its door but as one sentence, in bounded time and memory."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

import pytest

from pose2d.errors import MESSAGE_LENGTH, InputError
from tests.fuzz.generators import generators
from tests.fuzz.readers import readers

SEED = 20
FAST, SLOW = 2_000, 100_000
SECONDS, MEMORY_MB = 10.0, 2048


def fuzz(folder: Path, first: int, count: int) -> Counter[str]:
    """Read `count` damaged files, numbered from `first`; failures by the line that raised."""
    makers, doors = generators(), readers(folder)
    failures: Counter[str] = Counter()
    formats = list(makers)
    for number in range(first, first + count):
        name = formats[number % len(formats)]
        path = folder / ("seq.pkl" if name == "sequence.pkl" else name)
        path.write_bytes(makers[name](random.Random(zlib.crc32(f"{SEED} {number}".encode()))))
        for place, door in enumerate(doors[name]):
            start = time.perf_counter()
            try:
                door(path)
            except InputError as error:
                if not str(error).isprintable() or len(str(error)) > MESSAGE_LENGTH:
                    failures[f"{name}: a message of several lines or {len(str(error))} characters ({number})"] += 1
            except Exception as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                line = f"{Path(frame.filename).name}:{frame.lineno}"
                failures[f"{name}, reader {place}: {type(error).__name__} at {line}"] += 1
            if time.perf_counter() - start > SECONDS:
                failures[f"{name}, reader {place}: longer than {SECONDS:.0f} s ({number})"] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if peak > MEMORY_MB:
        failures[f"{peak} MB"] += 1
    return failures


def told(failures: Counter[str]) -> str:
    """Distinct failures, the most frequent first."""
    return "\n".join(f"{count:6d}  {what}" for what, count in failures.most_common())


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    failures = fuzz(tmp_path, 0, FAST)
    assert not failures, told(failures)


@pytest.mark.slow
def test_a_hundred_thousand_damaged_files(tmp_path: Path) -> None:
    """In processes of their own, so that a crash, a hang or a flood of memory ends one part and is seen."""
    parts = 2 * (os.cpu_count() or 1)
    share = -(-SLOW // parts)
    running: list[tuple[int, subprocess.Popen[str]]] = []
    failures: Counter[str] = Counter()

    def collect(first: int, process: subprocess.Popen[str]) -> None:
        printed, _ = process.communicate()
        if process.returncode != 0:
            failures[f"the part from {first} ended with {process.returncode}: {printed.strip()[-200:]}"] += 1
        for line in printed.splitlines():
            count, _, what = line.strip().partition("  ")
            if count.isdigit():
                failures[what] += int(count)

    for part in range(parts):
        folder = tmp_path / str(part)
        folder.mkdir()
        call = [sys.executable, "-m", "tests.fuzz.test_fuzz", str(folder), str(part * share), str(share)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        running.append((part * share, subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)))
        if len(running) >= (os.cpu_count() or 1):
            collect(*running.pop(0))
    for first, process in running:
        collect(first, process)
    assert not failures, told(failures)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (3 * MEMORY_MB << 20,) * 2)
    found = fuzz(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(told(found))
