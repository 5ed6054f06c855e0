"""Frames per second of the whole way from images to bodies on disk, and what each stage takes of it.

    python benchmarks/pipeline.py --root world/3dpw --split validation --sequences 6 --json pipeline.json

Stages: read (the sequence file), decode (opening images, cutting persons out for both networks), detect (the 2D
network), calibrate (CCNet), initial (the regressor), fit (one weighting), write. With `--clock cpu`, for a busy
machine, everything runs on one thread and each stage's figure is its processor time. Evaluation is not part of the way.

Processor time per person in a frame of 640 x 360 pixels, small networks, 184 persons (AMD EPYC, one thread, torch's
solver): every image used to be opened twice, in the 2D stage (11.4 ms with decoding and calibration) and again for the
regressor (6.4 ms), 48 persons a second in all. Now decode 1.1, detect 9.2, calibrate 0.4, initial 4.0, fit 2.5 (0.6
with `--constants solver=compiled`), write 0.2 ms, 57 to 60 a second: the 2D network is what bounds it, with 52 to 59 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef
from eval3dpw.judging.protocols import Protocol, find_protocol
from eval3dpw.run.loading import load_stages
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import Stages, fit_track, observe, read_fittable

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
STAGES = ("read", "decode", "detect", "calibrate", "initial", "fit", "write")


def run(
    dataset: SequenceDataset,
    sequences: Sequence[SequenceRef],
    protocol: Protocol,
    weighting: str,
    stages: Stages,
    out: Path,
) -> int:
    """Fit some sequences; returns how many persons in frames they hold."""
    frames = 0
    for sequence in sequences:
        with stages.timed("read"):
            tracks = read_fittable(dataset, sequence, protocol, None)
        for seen in observe(tracks, stages, oracle=False):
            fits = fit_track(seen, weighting, stages)
            with stages.timed("write"):
                fits.save(out, seen.track)
            frames += len(seen.track)
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that lies on disk as 3DPW does")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--sequences", type=int, default=6, help="the first of the split")
    parser.add_argument("--weighting", default="ccnet")
    parser.add_argument("--network", default="sbl-small", help="2D network, with its packaged weights")
    parser.add_argument("--constants", nargs="*", default=[], help="as those of `fit`")
    parser.add_argument("--repeats", type=int, default=2, help="the best counts, after one sequence to warm up")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu for a busy machine")
    parser.add_argument("--json", default=None, help="where to write the numbers")
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    if options.clock == "cpu":
        torch.set_num_threads(1)

    protocol = find_protocol("camerahmr")
    command = FitOptions(
        root=options.root,
        out=Path(),
        split=options.split,
        network=options.network,
        constants=tuple(options.constants),
    )
    loaded, _ = load_stages(command, (options.weighting,), protocol)
    dataset = open_dataset(options.root)
    sequences = dataset.find(options.split)[: options.sequences]
    best: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        run(dataset, sequences[:1], protocol, options.weighting, loaded, Path(folder))
        for _ in range(options.repeats):
            stages = replace(loaded, clock=clock, decode_threads=2 if options.clock == "wall" else 0, seconds={})
            stages.seconds.update(dict.fromkeys(STAGES, 0.0))
            start = clock()
            frames = run(dataset, sequences, protocol, options.weighting, stages, Path(folder))
            seconds = clock() - start
            if not best or seconds < best["seconds"]:
                best = {"seconds": seconds, "frames": frames, "stages": dict(stages.seconds)}
    rate = best["frames"] / best["seconds"]
    print(f"{rate:.1f} persons per second ({options.clock} time), {best['frames']} in {len(sequences)} sequences")
    for name in STAGES:
        spent = best["stages"][name]
        print(f"{name:10s} {1e3 * spent / best['frames']:8.2f} ms per person {100 * spent / best['seconds']:6.1f} %")
    if options.json:
        from pose2d.files.storage import write_json

        summary = {
            "frames_per_second": rate,
            "shares": {name: best["stages"][name] / best["seconds"] for name in STAGES},
            "ms_per_frame": {name: 1e3 * best["stages"][name] / best["frames"] for name in STAGES},
            "frames": best["frames"],
            "clock": options.clock,
            "network": options.network,
            "constants": options.constants,
            "threads": torch.get_num_threads(),
            "cores": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg()[0],
            "torch": torch.__version__,
        }
        write_json(options.json, summary)


if __name__ == "__main__":
    main()
