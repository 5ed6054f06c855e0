"""How good must a start be to be refined? Starts of many qualities, refined under several priors and weightings.

Every start is refined under today's constants of the paper (`paper`), with a prior whose scale the evidence chose
(`auto`), and with one fitted to the errors of the same method on another split (`fitted`). The 2D stage runs once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.judging.comparison import INITIAL, Comparison, TrackMeans
from eval3dpw.judging.posterior import Coverage, joint_errors_mm
from eval3dpw.judging.protocols import Protocol, find_protocol
from eval3dpw.judging.track_bootstrap import TrackBootstrap
from eval3dpw.results.fits import GivenPredictions
from eval3dpw.results.frame_errors import track_errors
from eval3dpw.run.constants import method_config
from eval3dpw.run.loading import load_job
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import Observations, Stages, fit_track, initial_fits
from eval3dpw.run.start_priors import EVIDENCE_FRAMES, prior_by_evidence
from eval3dpw.start.calibration import Seen, look_at_split, with_posterior_scale
from eval3dpw.start.errors import start_errors
from eval3dpw.start.synthetic import synthetic_start
from fitting.start_prior import StartPrior, fit_prior
from pose2d.console.progress import say
from pose2d.errors import InputError

SHORT = "regressor"
WORSE_MM = 2.0
"""A track that gets worse by more than this is counted."""
CALIBRATED, RAW = "ccnet", "raw"


@dataclass(frozen=True)
class StudyOptions:
    """What the study sweeps."""

    test: FitOptions
    """Whose tracks are reported on, and all options of the 2D stage."""
    validation: FitOptions | None
    """Whose tracks priors are fitted on; None for `auto` alone."""
    scales: tuple[float, ...]
    """Of synthetic starts."""
    initial: Mapping[str, tuple[Path, Path | None]]
    """Other methods' bodies of the test and of the validation tracks, by name."""
    weightings: tuple[str, ...]
    seed: int


def run_study(options: StudyOptions) -> dict[str, Any]:
    """Refine every start under every prior and weighting.

    Returns:
        What study.json holds.

    Raises:
        InputError: no sequence can be used, or a folder of starts lacks a track.
    """
    needed = tuple(dict.fromkeys((*options.weightings, CALIBRATED, RAW)))
    job, _ = load_job(replace(options.test, objective="probability"), needed)
    say("looking at the test tracks")
    test = look_at_split(job, options.test, oracle="oracle" in options.weightings)
    validation = None
    if options.validation is not None:
        say("looking at the validation tracks")
        validation_job, _ = load_job(replace(options.validation, objective="probability"), needed)
        validation = look_at_split(validation_job, options.validation)
    study = _Study(options, job.stages, find_protocol(options.test.protocol), test, validation)
    starts = [study.start(name) for name in (*(f"synthetic {s:g}" for s in options.scales), SHORT, *options.initial)]
    return {
        "protocol": options.test.protocol,
        "root": str(options.test.root),
        "split": options.test.split,
        "prior_root": None if options.validation is None else str(options.validation.root),
        "num_tracks": len(test.observations),
        "num_frames": sum(len(one.track) for one in test.observations),
        "seed_of_synthetic_starts": options.seed,
        "starts": starts,
        "failed_sequences": test.failed,
    }


@dataclass(frozen=True)
class _Study:
    options: StudyOptions
    stages: Stages
    protocol: Protocol
    test: Seen
    validation: Seen | None

    def start(self, name: str) -> dict[str, Any]:
        """One quality of start under everything."""
        say(f"start: {name}")
        seen = self._started(self.test, name, 0)
        chosen = prior_by_evidence([_few(one) for one in seen], CALIBRATED, self.stages)
        priors = {"auto": chosen.prior}
        if self.validation is not None and (fitted := self._fitted(name)) is not None:
            priors["fitted"] = fitted
        stages = {"paper": self._paper()} | {kind: self._with(prior) for kind, prior in priors.items()}
        rows = [(kind, weighting) for kind in stages for weighting in self.options.weightings]
        coverage = {f"{kind} {weighting}": Coverage.empty() for kind, weighting in rows}
        means: list[TrackMeans] = []
        for one, truth in zip(seen, self.test.truths, strict=True):
            fits = [initial_fits(one)]
            for kind, weighting in rows:
                fit = replace(fit_track(one, weighting, stages[kind]), weighting=f"{kind} {weighting}")
                fits.append(fit)
                if fit.fits.joint_std_mm is not None:
                    bodies = (self.stages.find_body("neutral"), self.stages.find_body(one.track.require_truth().gender))
                    coverage[fit.weighting].add(joint_errors_mm(fit.fits, truth, *bodies), fit.fits.joint_std_mm)
            means.append(track_errors(one.track, fits, self.protocol, self.stages.find_body).means())
        comparison = Comparison(self.protocol, tuple(means))
        return {
            "start": name,
            "auto": chosen.record,
            "rows": [self._row(comparison, row, coverage.get(row)) for row in comparison.rows],
            "calibrated_minus_raw": _calibrated_minus_raw(comparison, list(stages)),
        }

    def _started(self, seen: Seen, name: str, extra_seed: int) -> list[Observations]:
        """The observations with other initial bodies."""
        if name == SHORT:
            return list(seen.observations)
        if name in self.options.initial:
            folder = self.options.initial[name][1 if seen is self.validation else 0]
            if folder is None:
                raise InputError(f"start {name} has no bodies of the validation tracks")
            given = GivenPredictions(folder)
            return [replace(one, initial=given.of(one.track)) for one in seen.observations]
        scale, seed = float(name.split()[1]), self.options.seed + extra_seed
        return [
            replace(one, initial=synthetic_start(truth, scale, seed, one.track.name))
            for one, truth in zip(seen.observations, seen.truths, strict=True)
        ]

    def _fitted(self, name: str) -> StartPrior | None:
        if self.validation is None or (name in self.options.initial and self.options.initial[name][1] is None):
            return None
        seen, truths = self._started(self.validation, name, 1_000_003), self.validation.truths
        prior = fit_prior(start_errors([one.initial for one in seen], truths), name, "", "")
        return with_posterior_scale(prior, seen, truths, CALIBRATED, self._with(prior))

    def _with(self, prior: StartPrior) -> Stages:
        refinement = replace(self.stages.fitting.refinement, start_prior=prior)
        return replace(self.stages, fitting=replace(self.stages.fitting, refinement=refinement))

    def _paper(self) -> Stages:
        fitting = method_config(self.options.test.constants, objective="paper")
        return replace(self.stages, objective="paper", fitting=fitting)

    def _row(self, comparison: Comparison, row: str, coverage: Coverage | None) -> dict[str, Any]:
        bootstrap = TrackBootstrap(comparison.num_frames())
        found: dict[str, Any] = {"row": row}
        for metric in ("mpjpe_mm", "pa_mpjpe_mm"):
            values, initial = (comparison.track_means(name, metric) for name in (row, INITIAL))
            found[metric] = _estimate(bootstrap.pooled_mean(values))
            if row != INITIAL:
                found[f"{metric}_minus_init"] = _estimate(bootstrap.difference(values, initial))
        if row != INITIAL:
            change = comparison.track_means(row, "mpjpe_mm") - comparison.track_means(INITIAL, "mpjpe_mm")
            found["share_of_tracks_worse"] = round(float((change > WORSE_MM).mean()), 4)
            found["worst_track_mm"] = round(float(change.max()), 2)
            found["posterior"] = None if coverage is None else coverage.record()
        return found


def _few(seen: Observations) -> Observations:
    """A few frames of a track, as a run takes the evidence from."""
    count = len(seen.track)
    rows = np.unique(np.linspace(0, count - 1, min(count, EVIDENCE_FRAMES)).round().astype(int))
    scored = seen.scored.select(rows)
    return replace(
        seen,
        track=seen.track.select(rows),
        scored=scored,
        evidence=scored.evidence(None),
        initial=seen.initial.select(rows),
        crops=None,
    )


def _calibrated_minus_raw(comparison: Comparison, kinds: Sequence[str]) -> dict[str, Any]:
    bootstrap, found = TrackBootstrap(comparison.num_frames()), dict[str, Any]()
    for kind in kinds:
        if {f"{kind} {CALIBRATED}", f"{kind} {RAW}"} <= set(comparison.rows):
            found[kind] = {
                metric: _estimate(
                    bootstrap.difference(
                        comparison.track_means(f"{kind} {CALIBRATED}", metric),
                        comparison.track_means(f"{kind} {RAW}", metric),
                    )
                )
                for metric in ("mpjpe_mm", "pa_mpjpe_mm")
            }
    return found


def _estimate(estimate: Any) -> dict[str, float]:
    return {name: round(getattr(estimate, name), 3) for name in ("value", "low", "high")}
