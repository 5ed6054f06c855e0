"""Errors of several methods on the same frames, and what `summary.json` says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eval3dpw.judging.protocols import JITTER, FrameErrors, Protocol
from eval3dpw.judging.track_bootstrap import Estimate, TrackBootstrap
from pose2d.errors import InputError

INITIAL = "init"
"""Name of the row of initial predictions, before any refinement."""
RAW = "raw"
METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "mve_mm")

_DIGITS = 4  # of a millimetre and of a degree: far below what a protocol can tell


@dataclass(frozen=True)
class TrackErrors:
    """Errors of every method on one track."""

    sequence: str
    track: str
    frame_ids: Int[np.ndarray, " n"]
    errors: dict[str, FrameErrors]
    """By the name of the row, 'init' first; each over all n frames."""

    def means(self) -> TrackMeans:
        """What a comparison needs of them."""
        means = {
            row: {name: float(_values(frames, name).mean()) for name in (*METRICS, *frames.parts)}
            | {name: mean for name, values in frames.jitter.items() if (mean := known_mean(values)[0]) is not None}
            for row, frames in self.errors.items()
        }
        jitter = next(iter(self.errors.values())).jitter
        count = known_mean(jitter[JITTER[0]])[1] if jitter else 0
        return TrackMeans(self.sequence, self.track, len(self.frame_ids), means, count)


@dataclass(frozen=True)
class TrackMeans:
    """Mean errors of every method on one track, small enough to be kept for millions of frames."""

    sequence: str
    track: str
    num_frames: int
    means: dict[str, dict[str, float]]
    """By the name of the row, 'init' first, and the metric: the three, the protocol's `parts`, and the jitter where
    there are accelerations."""
    num_accelerations: int = 0
    """Frames whose neighbours on both sides were evaluated too."""


def known_mean(values: Float[np.ndarray, " n"]) -> tuple[float | None, int]:
    """Mean of what is not NaN, and of how many numbers; None of none."""
    known = values[~np.isnan(values)]
    return (float(known.mean()) if len(known) else None), len(known)


@dataclass(frozen=True)
class Comparison:
    """Errors of the same methods on the same frames of some tracks."""

    protocol: Protocol
    tracks: tuple[TrackMeans, ...]

    def __post_init__(self) -> None:
        if not self.tracks:
            raise InputError("there is no track to compare on")
        names = [list(track.means) for track in self.tracks]
        if any(row != names[0] for row in names):
            raise InputError("the tracks do not hold the same methods in the same order")

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the methods."""
        return tuple(self.tracks[0].means)

    def num_frames(self) -> Int[np.ndarray, " t"]:
        """Frames of each track."""
        return np.array([track.num_frames for track in self.tracks])

    def track_means(self, row: str, metric: str) -> Float[np.ndarray, " t"]:
        """Mean of a metric over the frames of each track; the metric may be one of the protocol's `parts`."""
        return np.array([track.means[row][metric] for track in self.tracks])

    def extra_metrics(self) -> tuple[str, ...]:
        """Names of what the protocol reports beside the three."""
        return tuple(name for name in self.tracks[0].means[self.rows[0]] if name not in (*METRICS, *JITTER))

    def summary(self, bootstrap: TrackBootstrap | None = None) -> dict[str, Any]:
        """Pooled errors with intervals and paired differences, and the errors of each track, ready for JSON.

        A difference to a row that this run does not have is null.
        """
        bootstrap = bootstrap or TrackBootstrap(self.num_frames())
        return {
            "protocol": self.protocol.name,
            "num_frames": int(self.num_frames().sum()),
            "num_tracks": len(self.tracks),
            "rows": [self._row(name, bootstrap) for name in self.rows],
            "bootstrap": {"replicates": bootstrap.replicates, "seed": bootstrap.seed, "level": bootstrap.level},
            "tracks": [self._track(number) for number in range(len(self.tracks))],
        }

    def _row(self, name: str, bootstrap: TrackBootstrap) -> dict[str, Any]:
        means = {metric: self.track_means(name, metric) for metric in (*METRICS, *self.extra_metrics())}
        pooled = {metric: bootstrap.pooled_mean(values) for metric, values in means.items()}
        row: dict[str, Any] = {"weighting": name, **{metric: _round(pooled[metric].value) for metric in METRICS}}
        for metric in METRICS:
            row[f"{metric}_interval"] = [_round(pooled[metric].low), _round(pooled[metric].high)]
            for reference in (INITIAL, RAW):
                row[f"{metric}_minus_{reference}"] = (
                    _estimate(bootstrap.difference(means[metric], self.track_means(reference, metric)))
                    if reference in self.rows
                    else None
                )
        return row | {metric: _round(pooled[metric].value) for metric in self.extra_metrics()} | self._jitter(name)

    def _jitter(self, name: str) -> dict[str, float | None]:
        """Pooled over the frames that have both neighbours; null where there are none."""
        tracks = [track for track in self.tracks if track.num_accelerations]
        weights = [track.num_accelerations for track in tracks]
        return {
            metric: _round(np.average([track.means[name][metric] for track in tracks], weights=weights))
            if tracks
            else None
            for metric in JITTER
        }

    def _track(self, number: int) -> dict[str, Any]:
        track = self.tracks[number]
        errors = {row: {metric: _round(value) for metric, value in means.items()} for row, means in track.means.items()}
        return {
            "sequence": track.sequence,
            "track": track.track,
            "num_frames": track.num_frames,
            "errors": errors,
        }


def _values(errors: FrameErrors, metric: str) -> np.ndarray:
    return errors.parts[metric] if metric in errors.parts else getattr(errors, metric)


def _round(value: float) -> float:
    return round(float(value), _DIGITS)


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"value": _round(estimate.value), "low": _round(estimate.low), "high": _round(estimate.high)}
