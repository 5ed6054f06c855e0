"""Errors of several methods on the same frames, and what `summary.json` reports of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eval3dpw.judging.evaluation import FrameErrors
from eval3dpw.judging.metric_table import ERRORS, JITTER, metrics_of
from eval3dpw.judging.protocols import Protocol
from eval3dpw.judging.track_bootstrap import Estimate, TrackBootstrap
from pose2d.errors import InputError

INITIAL = "init"
"""Name of the row of initial predictions, before any refinement."""
RAW = "raw"

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
        metrics = next(iter(self.errors.values())).values
        stacked = ((name, self.of_rows(name)) for name in metrics)
        return TrackMeans.of(self.sequence, self.track, tuple(self.errors), stacked, len(self.frame_ids))

    def of_rows(self, metric: str) -> Float[np.ndarray, "r n"]:
        """One metric under every method."""
        return np.stack([frames[metric] for frames in self.errors.values()])


@dataclass(frozen=True)
class TrackMeans:
    """Mean errors of every method on one track, small enough to be kept for millions of frames."""

    sequence: str
    track: str
    num_frames: int
    means: dict[str, dict[str, float]]
    """By the name of the row, 'init' first, and the metric; jitter only where there are accelerations."""
    num_accelerations: int = 0
    """Frames whose neighbours on both sides were evaluated too."""

    @classmethod
    def of(
        cls,
        sequence: str,
        track: str,
        rows: Sequence[str],
        errors: Iterable[tuple[str, Float[np.ndarray, "r n"]]],
        num_frames: int,
    ) -> TrackMeans:
        """The means of the errors of n frames.

        Args:
            sequence: its name.
            track: its name.
            rows: names of the methods.
            errors: by metric, one line per method; they are looked at one after the other.
            num_frames: how many frames the errors are of.
        """
        means: dict[str, dict[str, float]] = {row: {} for row in rows}
        num_accelerations = 0
        for metric, values in errors:
            for row, of_frames in zip(rows, values, strict=True):
                mean, count = known_mean(of_frames) if metric in JITTER else (float(of_frames.mean()), num_frames)
                if mean is not None:
                    means[row][metric] = mean
                if metric in JITTER:
                    num_accelerations = count
        return cls(sequence, track, num_frames, means, num_accelerations)


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
        """Mean of a metric over the frames of each track."""
        return np.array([track.means[row][metric] for track in self.tracks])

    def details(self) -> tuple[str, ...]:
        """Names of what the protocol reports beside the errors."""
        return tuple(name for name in metrics_of("detail") if name in self.tracks[0].means[self.rows[0]])

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
        means = {metric: self.track_means(name, metric) for metric in (*ERRORS, *self.details())}
        pooled = {metric: bootstrap.pooled_mean(values) for metric, values in means.items()}
        row: dict[str, Any] = {"weighting": name, **{metric: _round(pooled[metric].value) for metric in ERRORS}}
        for metric in ERRORS:
            row[f"{metric}_interval"] = [_round(pooled[metric].low), _round(pooled[metric].high)]
            for reference in (INITIAL, RAW):
                row[f"{metric}_minus_{reference}"] = (
                    _estimate(bootstrap.difference(means[metric], self.track_means(reference, metric)))
                    if reference in self.rows
                    else None
                )
        return row | {metric: _round(pooled[metric].value) for metric in self.details()} | self._jitter(name)

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


def _round(value: float) -> float:
    return round(float(value), _DIGITS)


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"value": _round(estimate.value), "low": _round(estimate.low), "high": _round(estimate.high)}
