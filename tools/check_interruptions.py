"""Kill commands at random moments, interrupt them, start them twice, fill their disk; print what became of results.

    python tools/check_interruptions.py --root 3DPW --images FOLDER [--kills 100] [--interrupts 20]

Each command runs in forked processes. After a kill the same command runs again, and its results must be those of an
undisturbed run, byte for byte. Ctrl-C must end it with status 130 and a sentence within 2 s. Of two at once one is
refused, or both results are whole.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.check_doors import Ending, import_everything, run, start, wait
from tools.door_layouts import files_of

_CHANGING = {"timings.json", ".lock"}


def commands(root: Path, images: Path, fits: Path) -> dict[str, list[str]]:
    """Commands whose results lie in a folder o, by name."""
    fit = ["--root", str(root), "--limit", "3", "--out", "o"]
    return {
        "detect": ["detect", "--network", "sbl-small", "--images", str(images), "--batch", "2", "--out", "o/r.json"],
        "fit": ["fit", "--weighting", "raw", *fit],
        "compare": ["compare", "--weightings", "raw", "uniform", *fit],
        "export": ["export", "--fits", str(fits), "--format", "npz", "--out", "o"],
        "make-world": ["make-world", "--out", "o", "--parts", "coco", "--size", "small", "--workers", "1"],
    }


def contents(folder: Path) -> dict[str, str]:
    """A digest of every result; of an .npz its arrays, of the others the bytes."""
    found = {}
    for file in files_of(folder):
        if file.name in _CHANGING or ".lock" in file.name:
            continue
        data = file.read_bytes()
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                data = b"".join(name.encode() + np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
        found[str(file.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def killed(arguments: list[str], expected: dict[str, str], moment: float) -> str:
    """Kill a run after some seconds, run it again; what differs, or an empty text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child = start(arguments, folder)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ending = run(arguments, folder)
        if ending.status != 0:
            return f"status {ending.status}: {ending.err.strip()[-160:]}"
        found = contents(folder)
        different = sorted(file for file in found.keys() | expected.keys() if found.get(file) != expected.get(file))
        return f"{different[0]} differs" if different else ""


def interrupted(arguments: list[str], moment: float) -> tuple[str, float]:
    """Ctrl-C after some seconds; what is wrong, and how long it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = str(Path(__file__).resolve().parents[1] / "run_fitting.py")
        call, pipe = [sys.executable, program, *arguments], subprocess.PIPE
        process = subprocess.Popen(call, cwd=folder, stdout=pipe, stderr=pipe, text=True)
        time.sleep(moment)
        if process.poll() is not None:
            process.communicate()
            return "", 0.0
        before = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        took = time.perf_counter() - before
        if process.returncode == 0:  # it was done
            return "", took
        wrong = [] if process.returncode == 130 else [f"status {process.returncode}"]
        wrong += [] if "interrupted: " in err else [f"no sentence: {err.strip()[-80:]}"]
        wrong += ["partial files"] if any("partial" in file.name for file in files_of(folder)) else []
        return "; ".join(wrong), took


def twice(arguments: list[str], expected: dict[str, str]) -> str:
    """Two at once into one --out; what is wrong, or an empty text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = start(arguments, folder)
        time.sleep(0.3)
        ending = run(arguments, folder)
        status, _ = wait(first, time.perf_counter() + 120)
        whole = contents(folder) == expected
        refused = ending.status == 2 and "another run is writing" in ending.err
        if status == 0 and whole and (refused or ending.status == 0):
            return ""
        became = "whole" if whole else "not whole"
        return f"statuses {status} and {ending.status}, results {became}: {ending.err[-120:]}"


def full_disk(arguments: list[str], expected: dict[str, str]) -> str:
    """Run on a file system of a few kilobytes, then again with room; needs the right to mount one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", name], capture_output=True).returncode:
            return "not tried: no right to mount"
        try:
            (folder / "o").mkdir()
            first = run(arguments, folder)
            subprocess.run(["mount", "-o", "remount,size=2g", name], check=True)
            second = run(arguments, folder)
            if first.status != 2 or "Traceback" in first.err:
                return f"status {first.status}: {first.err.strip()[-160:]}"
            if second.status != 0:
                return f"with room status {second.status}: {second.err.strip()[-160:]}"
            return "" if contents(folder) == expected else "with room the results differ"
        finally:
            subprocess.run(["umount", name], check=True)


def main() -> int:
    """Run all and print a table; status 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=["detect", "fit", "compare", "export", "make-world"])
    options = parser.parse_args()
    import_everything()
    rng, failures = random.Random(0), 0
    with tempfile.TemporaryDirectory() as name:
        fits = Path(name)
        calm = run(commands(options.root.resolve(), options.images.resolve(), fits)["fit"], fits, 300)
        assert calm.status == 0, calm.err
        chosen = commands(options.root.resolve(), options.images.resolve(), fits / "o")
        for command in options.only:
            failures += _check(command, chosen[command], rng, options)
    return int(failures > 0)


def _check(command: str, arguments: list[str], rng: random.Random, options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as name:
        calm: Ending = run(arguments, Path(name), 300)
        assert calm.status == 0, calm.err
        expected = contents(Path(name))
    checks: list[tuple[str, Callable[[], str]]] = [("two at once", lambda: twice(arguments, expected))]
    checks.append(("full disk", lambda: full_disk(arguments, expected)))
    failures = 0
    for what, check in checks:
        wrong = check()
        failures += bool(wrong) and not wrong.startswith("not tried")
        print(f"{command}, {what}: {wrong or 'holds'}", flush=True)
    kills = options.kills // len(options.only)
    found = [killed(arguments, expected, rng.uniform(0, calm.seconds)) for _ in range(kills)]
    wrong_ones = [wrong for wrong in found if wrong]
    print(f"{command}, killed {kills} times: {len(wrong_ones)} differ {wrong_ones[:3]}", flush=True)
    times = [interrupted(arguments, rng.uniform(1.5, 3.5 + calm.seconds)) for _ in range(options.interrupts)]
    bad = [wrong for wrong, _ in times if wrong]
    slowest = max((took for _, took in times), default=0.0)
    print(f"{command}, interrupted {len(times)} times: {len(bad)} wrong {bad[:3]}, slowest {slowest:.1f} s", flush=True)
    return failures + len(wrong_ones) + len(bad)


if __name__ == "__main__":
    sys.exit(main())
