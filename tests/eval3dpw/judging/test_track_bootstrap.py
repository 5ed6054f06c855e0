import itertools
import time

import numpy as np
import pytest
import scipy.stats

from eval3dpw.judging.track_bootstrap import Estimate, TrackBootstrap
from pose2d.errors import InputError


def test_value_is_the_mean_over_frames_not_over_tracks():
    bootstrap = TrackBootstrap(np.array([1, 3]))
    assert bootstrap.pooled_mean(np.array([8.0, 4.0])).value == pytest.approx(5.0)


def test_interval_of_equal_tracks_is_scipys():
    means = np.random.default_rng(0).gamma(4.0, 20.0, size=40)
    ours = TrackBootstrap(np.full(40, 25)).pooled_mean(means)
    theirs = scipy.stats.bootstrap(
        (means,), np.mean, n_resamples=10_000, method="percentile", random_state=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_interval_of_unequal_tracks_is_that_of_all_possible_draws():
    frames, means = np.array([5, 1, 9, 2, 4]), np.array([60.0, 95.0, 71.0, 120.0, 80.0])
    every = np.array(list(itertools.product(range(5), repeat=5)))
    exact = (means[every] * frames[every]).sum(1) / frames[every].sum(1)
    ours = TrackBootstrap(frames, replicates=40_000).pooled_mean(means)
    assert ours.low == pytest.approx(np.quantile(exact, 0.025), abs=0.6)
    assert ours.high == pytest.approx(np.quantile(exact, 0.975), abs=0.6)


def test_coverage_with_correlated_frames():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        frames = rng.integers(5, 60, size=30)
        means = 100 + rng.normal(0, 15, size=30) + rng.normal(0, 5, size=30) / np.sqrt(frames)
        estimate = TrackBootstrap(frames, replicates=500).pooled_mean(means)
        covered += estimate.low <= 100 <= estimate.high
    assert 0.87 <= covered / 200 <= 0.985


def test_differences_are_paired():
    rng = np.random.default_rng(3)
    frames = rng.integers(5, 60, size=50)
    before = rng.gamma(4.0, 20.0, size=50)
    after = before - 2.0 + rng.normal(0, 0.1, size=50)
    bootstrap = TrackBootstrap(frames)
    difference = bootstrap.difference(after, before)
    assert difference.high < -1.9
    assert difference.value == pytest.approx(bootstrap.pooled_mean(after).value - bootstrap.pooled_mean(before).value)
    assert bootstrap.difference(after, after) == Estimate(0.0, 0.0, 0.0)


def test_same_seed_same_interval_and_cheap():
    frames, means = np.full(80, 50), np.random.default_rng(4).normal(100, 20, size=80)
    start = time.process_time()
    first = TrackBootstrap(frames).pooled_mean(means)
    assert time.process_time() - start < 1.0
    assert first == TrackBootstrap(frames).pooled_mean(means)
    assert first != TrackBootstrap(frames, seed=1).pooled_mean(means)


def test_one_track_gives_a_point_and_none_is_refused():
    assert TrackBootstrap(np.array([7])).pooled_mean(np.array([90.0])) == Estimate(90.0, 90.0, 90.0)
    with pytest.raises(InputError, match="at least one track"):
        TrackBootstrap(np.array([], dtype=int))
