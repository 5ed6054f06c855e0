"""Intervals for errors pooled over frames, when the frames come in tracks.

Frames of one track resemble each other, so resampling frames would give intervals that are far too narrow. Whole tracks
are drawn with replacement instead (the cluster bootstrap, Davison and Hinkley 1997, section 3.8), and each replicate
pools the frames of the tracks drawn. All methods see the same draws: differences between them are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from pose2d.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A number with the interval of its replicates."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TrackBootstrap:
    """Draws of tracks, shared by everything that is compared.

    With a single track every replicate is the same and the interval is a point: it then says nothing.
    """

    num_frames: Int[np.ndarray, " t"]
    """Frames of each track."""
    replicates: int = 10_000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if len(self.num_frames) == 0 or self.num_frames.min() < 1:
            raise InputError("an interval needs at least one track, and every track at least one frame")

    @cached_property
    def _draws(self) -> Float[np.ndarray, "r t"]:
        """How often each replicate drew each track."""
        tracks = len(self.num_frames)
        rng = np.random.default_rng(self.seed)
        return rng.multinomial(tracks, np.full(tracks, 1 / tracks), size=self.replicates).astype(np.float64)

    @cached_property
    def _frames_drawn(self) -> Float[np.ndarray, " r"]:
        return np.asarray(self._draws @ self.num_frames)

    def pooled_mean(self, track_means: Float[np.ndarray, " t"]) -> Estimate:
        """Mean over all frames, from each track's mean over its frames."""
        totals = track_means * self.num_frames
        replicates = self._draws @ totals / self._frames_drawn
        tail = (1 - self.level) / 2
        low, high = np.quantile(replicates, (tail, 1 - tail))
        return Estimate(float(totals.sum() / self.num_frames.sum()), float(low), float(high))

    def difference(self, track_means: Float[np.ndarray, " t"], reference: Float[np.ndarray, " t"]) -> Estimate:
        """Pooled mean minus the reference's, paired: both over the same frames and the same draws."""
        return self.pooled_mean(track_means - reference)
