"""Speed and memory of a COCO keypoint evaluation, reading both files included, beside pycocotools and faster-coco-eval.

    python benchmarks/coco_eval.py --annotations person_keypoints_val2017_rebuilt.json [--rounds 5] [--json FILE]

The files have the size of val2017: 5,000 images and 11,004 persons, of whom those of the given file have keypoints, and
a detection jittered from each. Every measurement is a process of its own; rounds go through all evaluators in turn, so
that a busy machine slows them alike, and the ratio of a round is that of neighbours in time. Times are CPU seconds
after the imports (wall seconds stand beside); memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

NUM_IMAGES, NUM_PERSONS = 5000, 11_004
EVALUATORS = ("pycocotools", "faster-coco-eval", "this project")
REPLICATES = 1000
TARGETS = {
    "pycocotools / this project": (">=", 10.0),
    "faster-coco-eval / this project": (">=", 2.5),
    "a further confidence / pycocotools": ("<=", 0.05),
    f"{REPLICATES} bootstrap replicates / pycocotools": ("<=", 2.0),
    "peak memory / pycocotools'": ("<=", 1.0),
}


def make_files(source: Path, directory: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write truth of val2017's size from real persons, and detections jittered from it."""
    truth = json.loads(source.read_text())
    rng = np.random.default_rng(seed)
    with_persons = [image["id"] for image in truth["images"]]
    start = 10_000_000
    truth["images"] += [
        {"id": start + n, "width": 640, "height": 480, "file_name": f"{start + n}.jpg"}
        for n in range(NUM_IMAGES - len(with_persons))
    ]
    for n in range(NUM_PERSONS - len(truth["annotations"])):  # the rest of val2017: persons without keypoints
        x, y, w, h = rng.uniform((0, 0, 10, 10), (500, 400, 150, 150)).tolist()
        truth["annotations"].append(
            {"id": start + n, "image_id": int(rng.choice(with_persons)), "category_id": 1, "num_keypoints": 0}
            | {"keypoints": [0] * 51, "bbox": [x, y, w, h], "area": w * h / 2, "iscrowd": int(rng.random() < 0.04)}
        )
    results = []
    for person in truth["annotations"]:
        keypoints = np.array(person["keypoints"], dtype=float).reshape(17, 3)
        missing = keypoints[:, 2] == 0
        x, y, w, h = person["bbox"]
        keypoints[missing, :2] = [x, y] + rng.random((missing.sum(), 2)) * [w, h]
        spread = 10 ** rng.uniform(-2.3, -0.6)
        keypoints[:, :2] += rng.normal(0, spread * np.sqrt(person["area"] + 1), (17, 2))
        keypoints[:, 2] = np.clip(1 - 2 * spread + rng.normal(0, 0.1, 17), 0.01, 1)
        results.append(
            {"image_id": person["image_id"], "category_id": 1, "keypoints": keypoints.ravel().tolist()}
            | {"score": float(keypoints[:, 2].mean())}
        )
    paths = directory / "truth.json", directory / "results.json"
    for path, content in zip(paths, (truth, results)):
        path.write_text(json.dumps(content))
    return paths


class _Clock:
    """CPU and wall seconds of a block."""

    def __enter__(self) -> _Clock:
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._start[0]
        self.wall_s = time.perf_counter() - self._start[1]


def measure(evaluator: str, annotations: str, results: str, extra: bool) -> dict[str, Any]:
    """One evaluation in this process; with `extra`, also what this project alone can do over the same matches."""
    measured: dict[str, Any] = {}
    if evaluator == "this project":
        from calibration.coco.files import read_detections, read_truth
        from calibration.coco.matching import average_precision, match

        with _Clock() as clock:
            truth = read_truth(annotations)
            matches = match(truth, read_detections(results, truth))
            stats = average_precision(matches).as_array().tolist()
        if extra:
            measured |= _measure_extra(matches)
    else:
        if evaluator == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        else:
            from faster_coco_eval import COCO
            from faster_coco_eval import COCOeval_faster as COCOeval
        with _Clock() as clock, contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(annotations)
            evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            stats = [float(s) for s in evaluation.stats[:10]]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return measured | {"cpu_s": clock.cpu_s, "wall_s": clock.wall_s, "peak_mb": peak_mb, "stats": stats}


def _measure_extra(matches: Any) -> dict[str, float]:
    from calibration.coco.bootstrap import bootstrap_average_precision, resample_images
    from calibration.coco.matching import average_precision, rank

    scores = np.random.default_rng(0).random(len(matches.detections))
    with _Clock() as further:
        average_precision(matches, scores)
    with _Clock() as bootstrap:
        counts = resample_images(len(matches.truth.image_ids), REPLICATES)
        bootstrap_average_precision(rank(matches, scores), counts)
    return {"further_cpu_s": further.cpu_s, "bootstrap_cpu_s": bootstrap.cpu_s}


def _in_a_process(evaluator: str, paths: tuple[Path, Path], extra: bool = False) -> dict[str, Any]:
    call = [sys.executable, __file__, "--measure", evaluator, *map(str, paths), *(["--extra"] if extra else [])]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    measured: dict[str, Any] = json.loads(subprocess.run(call, check=True, capture_output=True, env=environment).stdout)
    return measured


def compare(paths: tuple[Path, Path], rounds: int) -> dict[str, Any]:
    """Interleaved rounds; medians, and the median ratio of a round."""
    series: dict[str, list[dict[str, Any]]] = {evaluator: [] for evaluator in EVALUATORS}
    extra = []
    for number in range(rounds):
        for evaluator in EVALUATORS:
            series[evaluator].append(_in_a_process(evaluator, paths))
        extra.append(_in_a_process("this project", paths, extra=True))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    reference, faster, ours = (series[evaluator] for evaluator in EVALUATORS)
    exact = np.array_equal(reference[0]["stats"], ours[0]["stats"])
    if not exact and np.abs(np.subtract(reference[0]["stats"], ours[0]["stats"])).max() > 1e-12:
        raise SystemExit("the stats differ from pycocotools': speed means nothing")

    def ratio(above: list[dict[str, Any]], a: str, below: list[dict[str, Any]], b: str) -> float:
        return statistics.median(x[a] / y[b] for x, y in zip(above, below))

    values = (
        ratio(reference, "cpu_s", ours, "cpu_s"),
        ratio(faster, "cpu_s", ours, "cpu_s"),
        ratio(extra, "further_cpu_s", reference, "cpu_s"),
        ratio(extra, "bootstrap_cpu_s", reference, "cpu_s"),
        ratio(ours, "peak_mb", reference, "peak_mb"),
    )
    medians = {
        evaluator: {key: statistics.median(m[key] for m in found) for key in ("cpu_s", "wall_s", "peak_mb")}
        for evaluator, found in series.items()
    }
    wall = {evaluator: ratio(series[evaluator], "wall_s", ours, "wall_s") for evaluator in EVALUATORS[:2]}
    return {
        "medians": medians,
        "ratios": dict(zip(TARGETS, values)),
        "wall_ratios": wall,
        "stats": ours[0]["stats"],
    } | {key: statistics.median(m[key] for m in extra) for key in ("further_cpu_s", "bootstrap_cpu_s")}


def machine() -> str:
    """Processor, cores and load, for the record."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, help="annotation file that gives the persons with keypoints")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--measure", nargs=3, metavar=("EVALUATOR", "TRUTH", "RESULTS"), help=argparse.SUPPRESS)
    parser.add_argument("--extra", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        evaluator, truth, results = options.measure
        print(json.dumps(measure(evaluator, truth, results, options.extra)))
        return 0
    if options.annotations is None:
        parser.error("--annotations is needed: person_keypoints_val2017.json, or any file of the kind")
    with tempfile.TemporaryDirectory() as directory:
        paths = make_files(options.annotations, Path(directory))
        result = compare(paths, options.rounds)
    result |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine(), "rounds": options.rounds}
    print(f"{NUM_IMAGES:,} images, {NUM_PERSONS:,} persons; {result['date']}, {result['machine']}")
    for evaluator, found in result["medians"].items():
        print(f"  {evaluator:17} {found['cpu_s']:6.2f} s CPU {found['wall_s']:6.2f} s wall {found['peak_mb']:5.0f} MB")
    further_ms = 1000 * result["further_cpu_s"]
    print(f"  a further confidence {further_ms:.0f} ms, {REPLICATES} replicates {result['bootstrap_cpu_s']:.2f} s CPU")
    met = True
    for (name, value), (sign, target) in zip(result["ratios"].items(), TARGETS.values()):
        fine = value >= target if sign == ">=" else value <= target
        met &= fine
        print(f"  {name:42} {value:8.3f}  (wanted {sign} {target:g}{'' if fine else ': MISSED'})")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
