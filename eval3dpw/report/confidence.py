"""How well each confidence of a run predicts whether its keypoint is right: numbers of the report's diagrams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from calibration.coco.metrics import (
    area_under_sparsification_error,
    expected_calibration_error,
    pearson,
    reliability_bins,
    sparsification_curve,
)
from eval3dpw.judging.oracle import oracle_confidence
from eval3dpw.report.run_data import Run, TrackKeypoints, evenly

# Name of a score in the run's files -> name of the weighting that uses it.
SCORES = {"raw_score": "raw", "rescored": "rescored", "confidence": "ccnet"}
_TRUTH = "oracle"
_MOST_POINTS = 1500
_CURVE_POINTS = 101
_MOST_OVERSHOOT = 0.5  # a heatmap's maximum may lie a little above 1 and counts as 1; other scales are no probability
_MOST_TRUTH_FRAMES = 200  # for which the true OKS is computed where the run did not


@dataclass(frozen=True)
class ScoredKeypoints:
    """Flat samples: the scores of each keypoint, and its true OKS."""

    scores: dict[str, np.ndarray]
    oks: np.ndarray


def confidence_charts(run: Run, tracks: Sequence[str]) -> dict[str, Any] | None:
    """Reliability, sparsification and a scatter for every score of the run, ready for JSON; None without truth."""
    samples = gather(run, tracks)
    if samples is None or len(samples.oks) == 0:
        return None
    return chart_scores({SCORES.get(name, name): (values, samples.oks) for name, values in samples.scores.items()})


def chart_scores(
    scores: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]],
) -> dict[str, Any]:
    """Diagrams of some confidences by name, each with the OKS of its own samples, ready for JSON.

    ECE and reliability are of scores on [0, 1]; one that overshoots a little is clipped, others have none.
    The best order drawn beside the sparsification curves is that of the first one's samples.
    """
    first = next(iter(scores.values()))[1]
    charts: dict[str, Any] = {
        "count": len(first),
        "shown": min(len(first), _MOST_POINTS),
        "best": _curve(first - 1, 1 - first),
        "scores": {},
    }
    for name, (confidence, oks) in scores.items():
        shown = np.random.default_rng(0).permutation(len(oks))[:_MOST_POINTS]
        probability = np.clip(confidence, 0, 1)
        near = np.abs(confidence - probability).max(initial=0) <= _MOST_OVERSHOOT
        bins = reliability_bins(probability, oks) if near else None
        charts["scores"][name] = {
            "pearson": _rounded(pearson(confidence, oks)),
            "ece": _rounded(expected_calibration_error(probability, oks)) if bins else None,
            "ause": _rounded(area_under_sparsification_error(confidence, 1 - oks)),
            "reliability": []
            if bins is None
            else [
                [_rounded(c), _rounded(a), int(n)]
                for c, a, n in zip(bins.confidence, bins.accuracy, bins.count, strict=True)
            ],
            "sparsification": _curve(confidence, 1 - oks),
            "scatter": [[_rounded(c), _rounded(a)] for c, a in zip(confidence[shown], oks[shown], strict=True)],
        }
    return charts


def gather(run: Run, tracks: Sequence[str]) -> ScoredKeypoints | None:
    """Every keypoint of some tracks with its scores and true OKS; None where no track has both."""
    parts: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
    budget = max(1, _MOST_TRUTH_FRAMES // max(1, len(tracks)))
    for name in tracks:
        found = run.keypoints(name)
        if found is None:
            continue
        part = _with_truth(run, name, found, budget)
        if part is not None:
            parts.append(part)
    common = [score for score in SCORES if parts and all(score in scores for scores, _ in parts)]
    if not common:
        return None
    oks = np.concatenate([truth for _, truth in parts])
    gathered = {score: np.concatenate([scores[score] for scores, _ in parts]) for score in common}
    good = np.isfinite(oks) & np.logical_and.reduce([np.isfinite(values) for values in gathered.values()])
    return ScoredKeypoints({score: values[good] for score, values in gathered.items()}, oks[good])


def _with_truth(
    run: Run, name: str, found: TrackKeypoints, budget: int
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    if _TRUTH in found.scores:
        return {score: values.ravel() for score, values in found.scores.items()}, found.scores[_TRUTH].ravel()
    track = run.track(name)
    if track is None or track.truth is None or found.skeleton.oks_sigmas is None:
        return None
    rows = evenly(len(found.frame_ids), budget)
    place = np.searchsorted(track.frame_ids, found.frame_ids[rows])
    oks = oracle_confidence(track.select(place), found.xy_px[rows], found.skeleton, run.find_body(track.truth.gender))
    return {score: values[rows].ravel() for score, values in found.scores.items()}, oks.ravel()


def _curve(confidence: np.ndarray, error: np.ndarray) -> list[list[float | None]]:
    """Sparsification at evenly spread fractions removed."""
    curve = sparsification_curve(confidence, error)
    chosen = evenly(len(curve), _CURVE_POINTS)
    return [[_rounded(number / len(curve)), _rounded(curve[number])] for number in chosen]


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
