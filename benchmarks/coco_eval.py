"""Speed and memory of a COCO keypoint evaluation, reading both files included, beside those of other evaluators.

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
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

NUM_IMAGES, NUM_PERSONS = 5000, 11_004
OURS, REFERENCE, FASTEST = "this project", "pycocotools", "hotcoco"
EVALUATORS = (REFERENCE, "faster-coco-eval", "ultrafast-pycocotools", "vernier", FASTEST, OURS)
REPLICATES = 1000
TARGETS = {
    "pycocotools / this project": (">=", 10.0),
    "faster-coco-eval / this project": (">=", 2.5),
    "this project / hotcoco": ("<=", 1.0),
    "a further confidence / hotcoco's": ("<=", 0.3),
    f"{REPLICATES} paired replicates / hotcoco's": ("<=", 0.3),
    "peak memory / pycocotools'": ("<=", 1.0),
    "peak memory / hotcoco's": ("<=", 1.2),
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

    @property
    def times(self) -> dict[str, float]:
        return {"cpu_s": self.cpu_s, "wall_s": self.wall_s}


def measure(evaluator: str, annotations: str, results: str, extra: bool) -> dict[str, Any]:
    """One evaluation in this process; with `extra`, also a further confidence and a comparison of two by resampling."""
    evaluate = {OURS: _ours, FASTEST: _hotcoco, "vernier": _vernier}.get(evaluator) or _as_pycocotools(evaluator)
    with contextlib.redirect_stdout(io.StringIO()):
        measured = evaluate(annotations, results, extra)
    return {"peak_mb": _peak_mb()} | measured


def _peak_mb() -> float:
    """Peak memory of this program: Linux counts what the parent held into ru_maxrss, but not into VmHWM."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _as_pycocotools(evaluator: str) -> Callable[[str, str, bool], dict[str, Any]]:
    module = __import__({"faster-coco-eval": "faster_coco_eval"}.get(evaluator, evaluator.replace("-", "_")))
    if evaluator == REFERENCE:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        COCO, COCOeval = module.COCO, getattr(module, "COCOeval_faster", None) or module.COCOeval

    def evaluate(annotations: str, results: str, extra: bool) -> dict[str, Any]:
        with _Clock() as clock:
            truth = COCO(annotations)
            evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return clock.times | {"stats": [float(s) for s in evaluation.stats[:10]]}

    return evaluate


def _vernier(annotations: str, results: str, extra: bool) -> dict[str, Any]:
    from vernier.instance import evaluate_keypoints_summary

    from pose2d.skeletons import COCO17

    sigmas = {1: (np.round(COCO17.sigmas * 1000) / 100 / 10).tolist()}
    options: dict[str, Any] = {"parity_mode": "strict", "max_dets": [20], "use_cats": True, "num_threads": 1}
    boxed = Path(results).with_suffix(".boxed.json")  # vernier wants boxes: those that pycocotools makes of keypoints
    if not boxed.exists():
        entries = json.loads(Path(results).read_text())
        for entry in entries:
            x, y = entry["keypoints"][::3], entry["keypoints"][1::3]
            entry["bbox"] = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        boxed.write_text(json.dumps(entries))
    with _Clock() as clock:
        files = Path(annotations).read_bytes(), boxed.read_bytes()
        stats = evaluate_keypoints_summary(*files, sigmas=sigmas, **options).stats
    return clock.times | {"stats": [float(s) for s in stats[:10]]}


def _hotcoco(annotations: str, results: str, extra: bool) -> dict[str, Any]:
    from hotcoco import COCO, COCOeval, compare

    def evaluate() -> Any:
        evaluation = COCOeval(truth, detections, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation

    with _Clock() as clock:
        truth = COCO(annotations)
        detections = truth.loadRes(results)
        evaluation = evaluate()
    measured = clock.times | {"stats": [float(s) for s in evaluation.stats[:10]]}
    if extra:
        with _Clock() as further:
            other = evaluate()
        with _Clock() as bootstrap:
            compare(evaluation, other, n_bootstrap=REPLICATES)
        measured |= {"further_cpu_s": further.cpu_s, "bootstrap_cpu_s": bootstrap.cpu_s}
    return measured


def _ours(annotations: str, results: str, extra: bool) -> dict[str, Any]:
    from calibration.coco.files import read_detections, read_truth
    from calibration.coco.matching import average_precision, match

    with _Clock() as clock:
        truth = read_truth(annotations)
        matches = match(truth, read_detections(results, truth))
        stats = average_precision(matches).as_array().tolist()
    measured = clock.times | {"stats": stats}
    return measured | (_our_extra(matches) if extra else {})


def _our_extra(matches: Any) -> dict[str, float]:
    """A further confidence, and intervals of what hotcoco's comparison has them for; compiled code is loaded before."""
    from calibration.coco.bootstrap import bootstrap_average_precision, bootstrap_average_recall, resample_images
    from calibration.coco.matching import average_precision, rank

    scores = np.random.default_rng(0).random(len(matches.detections))
    with _Clock() as further:
        average_precision(matches, scores)
    bootstrap_average_precision(rank(matches, scores), resample_images(len(matches.truth.image_ids), 1))
    with _Clock() as bootstrap:
        counts = resample_images(len(matches.truth.image_ids), REPLICATES)
        for ranking in (matches.detections.score, scores):
            ranked = rank(matches, ranking)
            for area in ("all", "medium", "large"):
                bootstrap_average_precision(ranked, counts, area)
            bootstrap_average_recall(ranked, counts)
    return {"further_cpu_s": further.cpu_s, "bootstrap_cpu_s": bootstrap.cpu_s}


def _in_a_process(evaluator: str, paths: tuple[Path, Path], extra: bool = False) -> dict[str, Any]:
    call = [sys.executable, __file__, "--measure", evaluator, *map(str, paths), *(["--extra"] if extra else [])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    environment = os.environ | threads | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    measured: dict[str, Any] = json.loads(subprocess.run(call, check=True, capture_output=True, env=environment).stdout)
    return measured


def compare(paths: tuple[Path, Path], rounds: int) -> dict[str, Any]:
    """Interleaved rounds; medians, and the median ratio of a round."""
    series: dict[str, list[dict[str, Any]]] = {evaluator: [] for evaluator in EVALUATORS}
    extra: dict[str, list[dict[str, Any]]] = {FASTEST: [], OURS: []}
    for number in range(rounds):
        for evaluator in EVALUATORS:
            series[evaluator].append(_in_a_process(evaluator, paths))
        for evaluator, found in extra.items():
            found.append(_in_a_process(evaluator, paths, extra=True))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    ours = series[OURS]
    for evaluator, found in series.items():
        apart = np.abs(np.subtract(found[0]["stats"], ours[0]["stats"])).max()
        print(f"  {evaluator}: stats differ from ours by {apart:.1e}", file=sys.stderr)
        if evaluator == REFERENCE and apart > 1e-12:
            raise SystemExit("the stats differ from pycocotools': speed means nothing")

    def ratio(above: list[dict[str, Any]], below: list[dict[str, Any]], key: str = "cpu_s") -> float:
        return float(statistics.median(x[key] / y[key] for x, y in zip(above, below)))

    values = (
        ratio(series[REFERENCE], ours),
        ratio(series["faster-coco-eval"], ours),
        ratio(ours, series[FASTEST]),
        ratio(extra[OURS], extra[FASTEST], "further_cpu_s"),
        ratio(extra[OURS], extra[FASTEST], "bootstrap_cpu_s"),
        ratio(ours, series[REFERENCE], "peak_mb"),
        ratio(ours, series[FASTEST], "peak_mb"),
    )
    medians = {
        evaluator: {key: statistics.median(m[key] for m in found) for key in ("cpu_s", "wall_s", "peak_mb")}
        for evaluator, found in series.items()
    }
    for evaluator, found in extra.items():
        medians[evaluator] |= {
            key: statistics.median(m[key] for m in found) for key in ("further_cpu_s", "bootstrap_cpu_s")
        }
    return {"medians": medians, "ratios": dict(zip(TARGETS, values)), "stats": ours[0]["stats"]}


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
        print(f"  {evaluator:21} {found['cpu_s']:6.3f} s CPU {found['wall_s']:6.3f} s wall {found['peak_mb']:5.0f} MB")
        if "further_cpu_s" in found:
            further_ms, bootstrap_s = 1000 * found["further_cpu_s"], found["bootstrap_cpu_s"]
            print(
                f"    a further confidence {further_ms:.0f} ms, {REPLICATES} paired replicates {bootstrap_s:.2f} s CPU"
            )
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
