"""Weightings: order, normalisation, the inverse of equation 12, and keypoints without say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fitting.evidence import KeypointEvidence
from fitting.weightings import WEIGHTINGS, WeightingConfig, keypoint_weights, mean_weight
from pose2d.errors import InputError


def evidence(seed: int = 0, persons: int = 6) -> KeypointEvidence:
    rng = np.random.default_rng(seed)
    scores = {
        name: rng.uniform(0.05, 0.95, (persons, 17)) for name in ("raw_score", "confidence", "rescored", "oracle")
    }
    return KeypointEvidence(
        **scores, visibility=rng.uniform(0.2, 1, (persons, 17)), falloff=rng.uniform(5, 30, (persons, 17))
    )


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_mean_is_one_over_detected_keypoints(weighting: str, power: float) -> None:
    known = evidence()
    known.raw_score[:, :3] = 0
    weights = keypoint_weights(weighting, known, WeightingConfig(power=power))
    assert (weights[:, :3] == 0).all()
    np.testing.assert_allclose(weights[:, 3:].mean(1), 1)


@pytest.mark.parametrize("weighting", sorted(set(WEIGHTINGS) - {"uniform"}))
def test_a_higher_score_never_gets_less_weight(weighting: str) -> None:
    field = {"raw": "raw_score", "precision": "confidence", "ccnet": "confidence"}.get(weighting, weighting)
    score = np.linspace(0.01, 1, 17)[None]
    known = KeypointEvidence(
        **({"raw_score": np.ones((1, 17))} | {field: score}),
        visibility=np.ones((1, 17)),
        falloff=np.full((1, 17), 12.0),
    )
    weights = keypoint_weights(weighting, known)[0]
    assert (np.diff(weights) > 0).all()


def test_uniform_is_one() -> None:
    np.testing.assert_array_equal(keypoint_weights("uniform", evidence()), np.ones((6, 17)))


def test_visibility_multiplies_calibrated_weightings_only() -> None:
    known = evidence()
    ignore = WeightingConfig(visibility="ignore", normalise="none")
    multiply = WeightingConfig(visibility="multiply", normalise="none")
    for weighting in WEIGHTINGS:
        ratio = keypoint_weights(weighting, known, multiply) / keypoint_weights(weighting, known, ignore)
        expected = known.visibility if weighting in ("ccnet", "precision") else np.ones((6, 17))
        np.testing.assert_allclose(ratio, expected)


def test_presence_multiplies_calibrated_weightings_and_none_counts_as_one() -> None:
    known = evidence()
    presence = np.random.default_rng(1).uniform(0.0, 1.0, (6, 17))
    presence[:, 3] = 0.0
    told = replace(known, presence=presence)
    for weighting in WEIGHTINGS:
        plain = keypoint_weights(weighting, known, WeightingConfig(normalise="none"))
        multiplied = keypoint_weights(weighting, told, WeightingConfig(normalise="none", presence="multiply"))
        ignored = keypoint_weights(weighting, told, WeightingConfig(normalise="none", presence="ignore"))
        np.testing.assert_allclose(multiplied, plain * (presence if weighting in ("ccnet", "precision") else 1.0))
        np.testing.assert_array_equal(ignored, plain)


def test_fixed_normalisation_keeps_what_persons_differ_by() -> None:
    known = evidence()
    mean = mean_weight("ccnet", known, WeightingConfig())
    weights = keypoint_weights("ccnet", known, WeightingConfig(normalise="fixed", mean_weight=mean))
    assert weights.mean() == pytest.approx(1)
    assert np.ptp(weights.mean(1)) > 0.05


def test_no_number_no_weight() -> None:
    known = evidence()
    known.confidence[0, 0] = np.nan
    known.raw_score[1] = 0
    weights = keypoint_weights("ccnet", known)
    assert weights[0, 0] == 0
    assert (weights[1] == 0).all()
    assert np.isfinite(weights).all()


def test_what_is_missing_is_named() -> None:
    bare = KeypointEvidence(raw_score=np.ones((2, 17)))
    with pytest.raises(InputError, match="'ccnet' needs confidence"):
        keypoint_weights("ccnet", bare)
    with pytest.raises(InputError, match="unknown weighting 'best'; known are uniform, raw"):
        keypoint_weights("best", bare)
    with pytest.raises(InputError, match="has no mean"):
        mean_weight("raw", KeypointEvidence(raw_score=np.zeros((2, 17))), WeightingConfig())
