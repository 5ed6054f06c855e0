"""The report of a run: time to write its page, the page's size, and the time a browser needs to open it.

    python benchmarks/report.py [--persons 1000] [--repeats 3] [--json FILE]

The run is of `--persons` frames of tracks of 50 with seven rows (init and six weightings), their errors kept as
`compare` keeps them, photographs of 3DPW's size. Bodies are the truth with noise: the page does not depend on how good
they are. Written once in a process of its own, imports included, and then again in this one. The browser is Chromium
without a screen ($CHROMIUM or the usual names); without one the page is not opened. CPU seconds stand beside the wall
time, for machines that are busy with other things; of the browser they are those of the page's main thread.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from eval3dpw.report.run_report import write_report  # noqa: E402
from pose2d.console.progress import set_quiet  # noqa: E402
from pose2d.files.storage import write_json  # noqa: E402
from tests.eval3dpw.small_runs import write_run  # noqa: E402
from tests.headless_browser import Browser, find_browser  # noqa: E402

ROWS = {"init": 0.3, "uniform": 0.25, "raw": 0.2, "rescored": 0.18, "ccnet": 0.15, "precision": 0.15, "oracle": 0.1}
TRACK_FRAMES = 50
IMAGE_WH = (1080, 1920)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    options = parser.parse_args()
    set_quiet(True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = make_run(Path(folder), options.persons)
        result: dict[str, Any] = {"persons": options.persons, "rows": len(ROWS)}
        result["process"] = process_time(run)
        times = [write_time(run) for _ in range(options.repeats)]
        result["wall_s"], result["cpu_s"] = (min(values) for values in zip(*times, strict=True))
        page = run / "report.html"
        result["mb"] = page.stat().st_size / 1e6
        opened = open_times(page, Path(folder), options.repeats)
        result["open_s"], result["open_cpu_s"] = (None, None) if opened is None else map(min, zip(*opened, strict=True))
    print(f"{options.persons} persons, {len(ROWS)} rows: page of {result['mb']:.1f} MB")
    print(f"written in {result['wall_s']:.1f} s ({result['cpu_s']:.1f} s of CPU)")
    print("whole process: {wall_s:.1f} s ({cpu_s:.1f} s of CPU)".format(**result["process"]))
    if result["open_s"] is None:
        print("no Chromium here: the page was not opened")
    else:
        print(f"opened in {result['open_s']:.2f} s ({result['open_cpu_s']:.2f} s of CPU)")
    if options.json is not None:
        write_json(options.json, result)


def make_run(folder: Path, persons: int) -> Path:
    """A run's folder, with its dataset beside it."""
    root, rng, files = folder / "root", np.random.default_rng(0), []
    picture = cv2.resize(rng.integers(0, 255, (48, 27, 3), dtype=np.uint8), IMAGE_WH, interpolation=cv2.INTER_CUBIC)
    for number in range(-(-persons // TRACK_FRAMES)):
        name, frames = f"sequence_{number:02d}", min(TRACK_FRAMES, persons - number * TRACK_FRAMES)
        images = root / "imageFiles" / name
        images.mkdir(parents=True)
        first = images / "image_00000.jpg"
        cv2.imwrite(str(first), picture)
        for frame in range(1, frames):
            os.link(first, images / f"image_{frame:05d}.jpg")
        path = root / "sequenceFiles" / "test" / f"{name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(sequence(name, frames, rng), protocol=2))
        files.append(path)
    return write_run(root, folder / "run", files, rows=ROWS, keep_errors=True)


def sequence(name: str, frames: int, rng: np.random.Generator) -> dict[str, object]:
    """The fields of a 3DPW sequence file: one person who moves smoothly in front of a camera that stands."""
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, 2, 3] = 4.0
    poses = np.cumsum(rng.normal(0, 0.02, (frames, 72)), axis=0)
    poses[:, 0] += np.pi
    return {
        "sequence": name,
        "betas": [rng.normal(size=10)],
        "poses": [poses],
        "trans": [np.cumsum(rng.normal(0, 0.01, (frames, 3)), axis=0)],
        "poses2d": [rng.uniform(300, 900, (frames, 3, 18))],
        "genders": ["m"],
        "campose_valid": [np.ones(frames, dtype=int)],
        "cam_poses": cameras,
        "cam_intrinsics": np.array([[1960.0, 0, 540], [0, 1960.0, 960], [0, 0, 1]]),
        "img_frame_ids": np.arange(frames),
    }


def write_time(run: Path) -> tuple[float, float]:
    """Seconds, and seconds of CPU, that writing the page takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    write_report(run)
    return time.perf_counter() - wall, time.process_time() - cpu


def process_time(run: Path) -> dict[str, float]:
    """The same of `run_fitting.py report`, from the start of Python to its end."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, str(ROOT / "run_fitting.py"), "--quiet", "report", "--run-dir", str(run)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": time.perf_counter() - wall, "cpu_s": cpu}


def open_times(page: Path, folder: Path, repeats: int) -> list[tuple[float, float]] | None:
    """Seconds, and seconds of CPU, from asking for the page to its load event, each in a browser of its own."""
    path = find_browser()
    if path is None:
        return None
    times = []
    for number in range(repeats):
        with Browser(path, folder / f"profile-{number}", 1440, 900) as browser:
            browser.call("Performance.enable", timeDomain="threadTicks")
            wall = browser.open(page.as_uri())
            metrics = {one["name"]: one["value"] for one in browser.call("Performance.getMetrics")["metrics"]}
            times.append((wall, metrics["TaskDuration"]))
            if browser.problems:
                raise SystemExit(f"the page complains: {browser.problems}")
    return times


if __name__ == "__main__":
    main()
