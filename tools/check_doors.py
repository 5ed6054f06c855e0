"""Run every hostile and every awkward input of two folders through the command line, and print how each one ended.

    python tools/check_doors.py --hostile HOSTILE --cases CASES [--only 06 19] [--table FILE.md]

The folders do not travel with the project; README.md in each says what its inputs are. Each command runs in a process
forked from this one, in an empty folder of its own, with limits on time and memory. An input holds when the command
ends with the expected status, its last line on stderr is one sentence of at most 300 characters (a list of several
sequences may be longer), there is no traceback, no signal, and nothing half-written is left.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.door_inputs import Input, case_inputs, hostile_inputs
from tools.door_layouts import files_of

MEMORY_MB = 2048
SECONDS = 60.0
SENTENCE = 300
STREAMS = ("out", "err")


@dataclass
class Ending:
    """How a command ended."""

    status: int
    seconds: float
    memory_mb: int
    out: str
    err: str
    left: list[str] = field(default_factory=list)


def run(arguments: list[str], folder: Path, seconds: float = SECONDS) -> Ending:
    """Run the command line in a forked process, in a folder of its own, and wait for its end."""
    before, begin = set(files_of(folder)), time.perf_counter()
    names = [folder / f".{name}.{time.monotonic_ns()}" for name in STREAMS]
    code, memory = wait(start(arguments, folder, names), begin + seconds)
    texts = [name.read_text() for name in names]
    for name in names:
        name.unlink()
    left = sorted(str(file.relative_to(folder)) for file in set(files_of(folder)) - before)
    return Ending(code, time.perf_counter() - begin, memory // 1024, texts[0], texts[1], left)


def start(arguments: list[str], folder: Path, streams: Sequence[Path] = ()) -> int:
    """Fork a process that runs the command line in a folder; its standard streams go to files."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    os.chdir(folder)
    status = 70
    try:
        for number in (1, 2):
            name = streams[number - 1] if streams else os.devnull
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        import run_fitting

        status = run_fitting.main([*arguments, "--quiet"])
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, deadline: float) -> tuple[int, int]:
    """Status and kilobytes of a forked process; -999 where it had to be killed at the deadline."""
    while True:
        pid, code, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(code), usage.ru_maxrss
        if time.perf_counter() > deadline:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return -999, usage.ru_maxrss
        time.sleep(0.01)


def verdict(one: Input, ending: Ending, folder: Path) -> str:
    """What is wrong with an ending; empty where it holds."""
    lines = ending.err.strip().splitlines()
    wrong = []
    if ending.status == -999:
        wrong.append(f"ran for more than {SECONDS:.0f} s")
    elif ending.status != one.status:
        wrong.append(f"status {ending.status}, not {one.status}")
    if "Traceback" in ending.err + ending.out:
        wrong.append("a traceback")
    if one.status == 2 and not (lines and lines[-1].startswith("error: ")):
        wrong.append("no sentence")
    if one.status == 2 and len(lines) > 1 and "Traceback" not in ending.err:
        wrong.append(f"{len(lines)} lines on stderr")
    if lines and len(lines[-1]) > SENTENCE + 7 and "sequences could not be used" not in lines[-1]:
        wrong.append(f"a message of {len(lines[-1])} characters")
    wrong += [f"does not say {words!r}" for words in one.says if words not in ending.out + ending.err]
    if ending.memory_mb > MEMORY_MB:
        wrong.append(f"{ending.memory_mb} MB")
    halves = [name for name in ending.left if "partial" in name]
    if halves:
        wrong.append(f"left {halves[0]}")
    if one.check is not None and ending.status == one.status:
        wrong.append(one.check(folder))
    return "; ".join(part for part in wrong if part)


def main() -> int:
    """Run all, print the table; status 1 if one does not hold, 77 if there is nothing to run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hostile", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    folders = [folder for folder in (options.hostile, options.cases) if folder is not None and folder.is_dir()]
    if not folders:
        print("there is no folder of hostile inputs or cases on this machine: nothing to run")
        return 77
    import torch

    torch.set_num_threads(1)
    import_everything()
    inputs: list[Input] = []
    cases = options.cases.resolve() if options.cases is not None and options.cases.is_dir() else None
    if options.hostile is not None and options.hostile.is_dir():
        inputs += hostile_inputs(options.hostile.resolve(), cases)
    if cases is not None:
        inputs += case_inputs(cases)
    chosen = [one for one in inputs if not options.only or one.name.startswith(tuple(options.only))]
    rows, failures = ["| input | ended | s | MB | says |", "|---|---|---|---|---|"], 0
    for one in chosen:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if one.prepare is not None:
                one.prepare(folder)
            ending = run(one.arguments, folder)
            wrong = verdict(one, ending, folder)
        failures += bool(wrong)
        last = ((ending.err if one.status else ending.out).strip().splitlines() or [""])[-1][:150].replace("|", "/")
        held = "holds" if not wrong else f"**{wrong}**"
        rows.append(f"| {one.name} | {held} | {ending.seconds:.1f} | {ending.memory_mb} | {last} |")
        print(rows[-1], flush=True)
    print(f"\n{len(chosen) - failures} of {len(chosen)} hold")
    if options.table is not None:
        options.table.write_text("\n".join([*rows, "", f"{len(chosen) - failures} of {len(chosen)} hold", ""]))
    return int(failures > 0)


def import_everything() -> None:
    """Import what the commands import, once, so that each fork is quick."""
    import cv2

    import run_fitting

    cv2.setNumThreads(1)
    for name in run_fitting.COMMANDS:
        run_fitting._load(name)
    from eval3dpw.run import fit  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
