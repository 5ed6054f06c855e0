"""The three readings of "we follow CLIFF to refine the initial predictions" side by side on sequences.

    python benchmarks/methods.py --root world/3dpw --split validation --tracks 6 --frames 16 --json methods.json

`params` moves each person's parameters by the second-order solver (also as one problem a track, `+ temporal`),
`network` fine-tunes the regressor's weights on the frames of a track, `smplify` is SPIN's Adam schedule through the
full body. All get the same 2D keypoints, weights and initial bodies. The objective is the solver's own, whatever a
method minimises itself; errors are those of the protocol, accelerations in mm per frame squared. `smplify` fits some 2
to 4 frames per second, so take few.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.judging.evaluation import evaluate_track
from eval3dpw.judging.metric_table import ERRORS, JITTER
from eval3dpw.judging.posed_bodies import pose_truth
from eval3dpw.judging.protocols import find_protocol
from eval3dpw.run.constants import method_config
from eval3dpw.run.loading import load_stages
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import (
    Observations,
    Stages,
    fit_inputs,
    fit_track,
    initial_fits,
    observe,
    read_fittable,
)
from fitting.body_fits import BodyFits
from fitting.methods.network import whiten
from fitting.methods.preparation import prepare
from fitting.objective import value
from fitting.weightings import keypoint_weights

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
METHODS = ("params", "params compiled", "params + temporal", "network", "smplify")
COLUMNS = ("ms_per_frame", "objective", *ERRORS, *JITTER)


def configured(stages: Stages, name: str, constants: list[str]) -> Stages:
    """The stages of one row of the table."""
    method = name.split()[0]
    temporal = name.endswith("temporal")
    kept = [text for text in constants if temporal or not text.startswith("temporal.")]
    config = method_config(kept, temporal)
    if name.endswith("compiled"):
        config = replace(config, refinement=replace(config.refinement, solver="compiled", threads=1))
    return replace(stages, method=method, fitting=config)


def objective(seen: Observations, weights: np.ndarray, fits: BodyFits, stages: Stages) -> np.ndarray:
    """The solver's objective of the bodies of a track; frames that no method can fit are left out."""
    prepared = prepare(fit_inputs(seen, weights, stages), stages.fitting.refinement)
    chosen = fits.select(prepared.frames.numpy())
    z = whiten(prepared.problem, *(torch.tensor(a) for a in (chosen.rotations, chosen.betas, chosen.translation)))
    return value(prepared.problem, z).numpy()


def measure(
    observed: list[Observations], name: str, weighting: str, stages: Stages, protocol: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """One row: every track by one method and weighting."""
    rules = find_protocol(protocol)
    seconds, costs, errors = 0.0, [], []
    for seen in observed:
        weights = keypoint_weights(weighting if name != INITIAL else "uniform", seen.evidence, stages.weighting)
        start = clock()
        fits = (initial_fits(seen) if name == INITIAL else fit_track(seen, weighting, stages)).fits
        seconds += clock() - start
        costs.append(objective(seen, weights, fits, stages))
        errors.append(
            evaluate_track(
                rules,
                torch.as_tensor(fits.rotations).float(),
                torch.as_tensor(fits.betas).float(),
                stages.find_body("neutral"),
                pose_truth(rules, seen.track, stages.find_body),
            )
        )
    frames = sum(len(seen.track) for seen in observed)
    row: dict[str, Any] = {"method": name, "weighting": "" if name == INITIAL else weighting}
    row["ms_per_frame"] = None if name == INITIAL else 1e3 * seconds / frames
    row["objective"] = None if name == INITIAL else float(np.concatenate(costs).mean())
    for metric in ERRORS:
        row[metric] = float(np.concatenate([error[metric] for error in errors]).mean())
    for metric in JITTER:
        values = np.concatenate([error[metric] for error in errors])
        row[metric] = float(np.nanmean(values)) if np.isfinite(values).any() else None
    return row


def line(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    cells = ["-" if row[name] is None else f"{row[name]:.{1 if row[name] > 0.1 else 2}f}" for name in COLUMNS]
    return "| " + " | ".join([row["method"], row["weighting"], *cells]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that lies on disk as 3DPW does")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--tracks", type=int, default=6, help="how many tracks, of as many sequences")
    parser.add_argument("--frames", type=int, default=16, help="of each track, the first valid ones")
    parser.add_argument("--weightings", nargs="+", default=["raw", "ccnet"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--constants", nargs="*", default=[], help="as those of `fit`")
    parser.add_argument("--protocol", default="camerahmr")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu for a busy machine")
    parser.add_argument("--json", default=None, help="where to write the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)

    protocol = find_protocol(options.protocol)
    command = FitOptions(root=options.root, out=Path(), split=options.split, protocol=options.protocol)
    loaded, _ = load_stages(command, tuple(options.weightings), protocol)
    stages = replace(loaded, method="network")  # which keeps the regressor's crops
    dataset = open_dataset(options.root)
    sequences = dataset.find(options.split)
    step = max(len(sequences) // options.tracks, 1)  # from all over the list, whose neighbours show the same activity
    observed: list[Observations] = []
    for sequence in sequences[: step * options.tracks : step]:
        track = read_fittable(dataset, sequence, protocol, None)[0]
        observed += observe([track.select(np.arange(min(options.frames, len(track))))], stages, oracle=False)

    print("| " + " | ".join(["method", "weighting", *COLUMNS]) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    rows = [measure(observed, INITIAL, INITIAL, stages, options.protocol, CLOCKS[options.clock])]
    print(line(rows[0]), flush=True)
    for name in options.methods:
        chosen = configured(stages, name, options.constants)
        if name.endswith("compiled"):
            fit_track(observed[0], options.weightings[0], chosen)  # compile
        for weighting in options.weightings:
            rows.append(measure(observed, name, weighting, chosen, options.protocol, CLOCKS[options.clock]))
            print(line(rows[-1]), flush=True)
    if options.json:
        from pose2d.files.storage import write_json

        about = {name: str(found) if isinstance(found, Path) else found for name, found in vars(options).items()}
        frames = sum(len(seen.track) for seen in observed)
        write_json(options.json, about | {"num_frames": frames, "torch": torch.__version__, "rows": rows})


if __name__ == "__main__":
    main()
