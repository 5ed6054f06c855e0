"""Choose the refinement's constants on a validation split, with the raw weighting alone.

Coordinate descent over the visible grid below: each constant in turn takes the value that gives the least mean of
MPJPE, PA-MPJPE and MVE, each relative to the initial prediction's, until a round changes nothing. The test split and
the other weightings are never looked at. 2D keypoints and initial bodies are computed once.

    python tools/choose_constants.py --root world/3dpw --split validation --out out/constants
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import tyro

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.judging.comparison import INITIAL, RAW
from eval3dpw.judging.metric_table import ERRORS
from eval3dpw.judging.protocols import Protocol, find_protocol
from eval3dpw.results.frame_errors import track_errors
from eval3dpw.run.loading import load_stages
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import Observations, Stages, fit_track, initial_fits, observe, read_fittable
from fitting.methods.catalogue import MethodConfig
from fitting.refinement_config import RefinementConfig
from pose2d.errors import InputError
from pose2d.files.storage import write_json

GRID: dict[str, tuple[Any, ...]] = {
    "prior_strength": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    "pixel_scale": (3.0, 5.0, 8.0, 12.0),
    "kernel_knee": (1.5, 3.0, 5.0, 10.0, 20.0),
    "kernel_on": ("weighted", "error"),
    "rotation_std_scale": (0.5, 0.75, 1.0, 1.5, 2.0),
    "translation_std": ((0.02, 0.02, 0.03), (0.02, 0.02, 0.06), (0.04, 0.04, 0.12), (0.1, 0.1, 0.3)),
    "mean_shape_pull": (0.1, 0.25, 1.0),
    "beta_std": (0.5, 1.0, 2.0),
}


@dataclass(frozen=True)
class Choose(FitOptions):
    """Options of `fit`, and how long to search."""

    rounds: int = 2
    """Times that every constant is tried."""
    grid: Annotated[dict[str, tuple[Any, ...]], tyro.conf.Suppress] = field(default_factory=lambda: GRID)
    """Values to try."""


def mean_errors(observed: list[Observations], protocol: Protocol, stages: Stages, row: str) -> dict[str, float]:
    """Errors pooled over frames, millimetres, of the initial prediction or of one weighting."""
    errors = []
    for seen in observed:
        fits = initial_fits(seen) if row == INITIAL else fit_track(seen, row, stages)
        errors.append(track_errors(seen.track, [fits], protocol, stages.find_body).errors[row])
    return {name: float(np.concatenate([frames[name] for frames in errors]).mean()) for name in ERRORS}


def choose(options: Choose) -> RefinementConfig:
    """Search, print each step, write the log; returns the chosen constants."""
    protocol = find_protocol(options.protocol)
    stages, _ = load_stages(options, (RAW,), protocol)
    observed: list[Observations] = []
    dataset = open_dataset(options.root)
    for sequence in dataset.find(options.split, options.sequences):
        observed += observe(read_fittable(dataset, sequence, protocol, options.limit), stages, oracle=False)
    start = mean_errors(observed, protocol, stages, INITIAL)
    print(f"{len(observed)} tracks, init {start}", flush=True)
    log: list[dict[str, Any]] = []

    def cost(config: RefinementConfig) -> float:
        errors = mean_errors(observed, protocol, replace(stages, fitting=MethodConfig(refinement=config)), RAW)
        value = float(np.mean([errors[name] / start[name] for name in start]))
        log.append({"changed": {name: getattr(config, name) for name in options.grid}, "cost": value} | errors)
        return value

    best = stages.fitting.refinement
    least = cost(best)
    print(f"{least:.4f} with the constants as they stand: {json.dumps(log[-1])}", flush=True)
    for _ in range(options.rounds):
        before = best
        for name, values in options.grid.items():
            for value in values:
                if value == getattr(best, name):
                    continue
                trial = replace(best, **{name: value})
                now = cost(trial)
                print(f"  {name}={value}: {now:.4f}", flush=True)
                if now < least:
                    best, least = trial, now
            print(f"{least:.4f} {name}={getattr(best, name)}", flush=True)
        if best == before:
            break
    chosen = {name: getattr(best, name) for name in options.grid}
    write_json(options.out / "constants.json", {"init": start, "chosen": chosen, "cost": least, "log": log})
    print(" ".join(f"{name}={value}" for name, value in chosen.items()))
    return best


if __name__ == "__main__":
    try:
        choose(tyro.cli(Choose))
    except InputError as error:
        sys.exit(f"error: {error}")
