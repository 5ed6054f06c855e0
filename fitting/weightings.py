"""Weightings: the rules that turn what is known about a 2D keypoint into what the objective multiplies its error by.

Every rule sees the same persons and the same keypoints; the weights of each are normalised to mean 1, so that none wins
by pulling harder on all keypoints at once, which the strength of the prior could do as well.

Normalisation is per person by default. Then a frame's fit depends on nothing but that frame: not on which other frames
are in the run, not on `--limit`, and an interrupted run goes on to the same bytes; and a comparison of weightings asks
one question only, which keypoints of a person to trust. The price: that *all* keypoints of a person are doubtful is
forgotten. `"fixed"` keeps that knowledge, with one mean per weighting measured beforehand on other data
(`mean_weight` on the validation split) so that all weightings pull equally on the average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from calibration.oks import precision_from_expected_oks
from fitting.evidence import KeypointEvidence
from pose2d.errors import InputError

LANDMARK_PX = 2.0
"""s0 of `keypoint_precisions`, pixels of the `BOX_PX` box: how far the body's landmarks lie from the annotators'."""
UNIFORM_OKS = 0.75
"""Expected OKS of every keypoint where no score is to count."""


@dataclass(frozen=True)
class WeightingConfig:
    """How scores become weights; the same for all weightings that are compared.

    Attributes:
        power: exponent on the rule's score before normalisation (SPIN squares its confidences: 2).
        visibility: use of CCNet's visibility in `ccnet` and `precision`. "multiply" (default): the confidence holds
            only *if* the keypoint is labelled, so the expected worth of a keypoint is visibility times confidence, as
            in CCNet's own instance score. "ignore": the confidence alone.
        presence: use of CCNet's presence there. "multiply": a keypoint outside the picture gets no weight.
        noise_floor: s0 of `precision` in pixels of the `BOX_PX` box: no keypoint is better than this, because the
            body model's landmark is not exactly the annotators' keypoint.
        normalise: "person", "fixed" (divide by `mean_weight`) or "none"; see the module's text.
        mean_weight: of the rule on other data, for `normalise="fixed"`.
    """

    power: float = 1.0
    visibility: Literal["multiply", "ignore"] = "multiply"
    presence: Literal["multiply", "ignore"] = "multiply"
    noise_floor: float = 4.0
    normalise: Literal["person", "fixed", "none"] = "person"
    mean_weight: float = 1.0


def _known(evidence: KeypointEvidence, field: str) -> Float[np.ndarray, "n k"]:
    """A field that the rule needs, so that it is there."""
    return np.asarray(getattr(evidence, field), dtype=np.float64)


def _seen(score: np.ndarray, evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """A calibrated score, which holds only if the keypoint is labelled and in the picture, times those chances."""
    if config.visibility == "multiply":
        score = score * _known(evidence, "visibility")
    if config.presence == "multiply" and evidence.presence is not None:
        score = score * evidence.presence
    return score


def uniform(evidence: KeypointEvidence, _: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """1 for each detected keypoint."""
    return np.ones_like(evidence.raw_score, dtype=np.float64)


def raw(evidence: KeypointEvidence, _: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """The network's own score."""
    return _known(evidence, "raw_score")


def rescored(evidence: KeypointEvidence, _: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """The closed-form correction of the raw score."""
    return _known(evidence, "rescored")


def ccnet(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """CCNet's calibrated confidence."""
    return _seen(_known(evidence, "confidence"), evidence, config)


def precision(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """Inverse variance of the pixel error that CCNet's confidence implies: the weight of maximum likelihood."""
    falloff = _known(evidence, "falloff")
    return _seen(
        precision_from_expected_oks(_known(evidence, "confidence"), falloff, config.noise_floor), evidence, config
    )


def oracle(evidence: KeypointEvidence, _: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """The true OKS of each keypoint: a bound, not a method."""
    return _known(evidence, "oracle")


@dataclass(frozen=True)
class Weighting:
    """A rule from evidence to weights."""

    score: Callable[[KeypointEvidence, WeightingConfig], Float[np.ndarray, "n k"]]
    needs: tuple[str, ...] = ()
    """Optional fields of the evidence that a run must compute for it."""
    expected_oks: str | None = None
    """The field that it takes for the expected OKS, where errors are weighed by their precision; None: the same for
    all keypoints."""
    seen: bool = False
    """Whether it knows the probability that a keypoint is visible and in the picture."""


WEIGHTINGS: dict[str, Weighting] = {
    "uniform": Weighting(uniform),
    "raw": Weighting(raw, (), "raw_score"),
    "rescored": Weighting(rescored, ("rescored",), "rescored"),
    "ccnet": Weighting(ccnet, ("confidence", "visibility"), "confidence", seen=True),
    "precision": Weighting(precision, ("confidence", "visibility", "falloff"), "confidence", seen=True),
    "oracle": Weighting(oracle, ("oracle",), "oracle"),
}
"""All rules by the name that the command line knows them by."""


_WHY_MISSING = {"falloff": "no OKS sigmas are published for this skeleton"}


def fields_needed(weightings: Iterable[str]) -> frozenset[str]:
    """The optional fields of `KeypointEvidence` that some weightings need.

    Raises:
        InputError: unknown weighting.
    """
    return frozenset(field for name in weightings for field in _find(name).needs)


def _find(weighting: str) -> Weighting:
    if weighting not in WEIGHTINGS:
        raise InputError(f"unknown weighting {weighting!r}; known are {', '.join(WEIGHTINGS)}")
    return WEIGHTINGS[weighting]


def mean_weight(weighting: str, evidence: KeypointEvidence, config: WeightingConfig) -> float:
    """Mean of a rule over the detected keypoints, for `normalise="fixed"` on other data.

    Raises:
        InputError: nothing is detected.
    """
    score, detected = _scores(weighting, evidence, config)
    if not detected.any():
        raise InputError(f"no keypoint is detected, so weighting {weighting!r} has no mean")
    return float(score[detected].mean())


def keypoint_weights(
    weighting: str, evidence: KeypointEvidence, config: WeightingConfig = WeightingConfig()
) -> Float[np.ndarray, "n k"]:
    """Weights of the reprojection error, by rule `weighting`.

    Normalised to mean 1 over the *detected* keypoints (of the person, or of other data by `mean_weight`).
    A keypoint that is not detected or whose score is 0 or not finite gets exactly 0.

    Raises:
        InputError: unknown weighting, or the evidence lacks what it needs.
    """
    score, detected = _scores(weighting, evidence, config)
    if config.normalise == "none":
        return score
    if config.normalise == "fixed":
        if not config.mean_weight > 0:
            raise InputError(f"mean_weight must be above 0, got {config.mean_weight}")
        return score / config.mean_weight
    total = score.sum(1, keepdims=True)
    weights = np.zeros_like(score)
    np.divide(score * detected.sum(1, keepdims=True), total, out=weights, where=total > 0)
    return weights


def keypoint_precisions(
    weighting: str, evidence: KeypointEvidence, config: WeightingConfig = WeightingConfig()
) -> Float[np.ndarray, "n k"]:
    """Expected precision p / (sigma^2 + s0^2) of each keypoint's error, per squared pixel of the `BOX_PX` box.

    Every rule is read as an expected OKS, from which equation 12 gives sigma; p is CCNet's visibility times presence
    where the rule knows them. Nothing is normalised: that all keypoints of a person are doubtful is kept. `ccnet` and
    `precision` are one rule here. A keypoint that is not detected or whose precision is not finite gets exactly 0.

    Raises:
        InputError: unknown weighting, or the evidence lacks what it needs.
    """
    rule = _find(weighting)
    _check_needs(weighting, (*rule.needs, "falloff"), evidence)
    raw_score = np.asarray(evidence.raw_score, dtype=np.float64)
    oks = np.full_like(raw_score, UNIFORM_OKS) if rule.expected_oks is None else _known(evidence, rule.expected_oks)
    found = precision_from_expected_oks(np.clip(oks, 0.0, 1.0), _known(evidence, "falloff"), LANDMARK_PX)
    if rule.seen:
        found = _seen(found, evidence, config)
    usable = np.isfinite(raw_score) & (raw_score > 0) & np.isfinite(found) & (found > 0)
    return np.where(usable, found, 0.0)


def _check_needs(weighting: str, needs: Iterable[str], evidence: KeypointEvidence) -> None:
    for field in needs:
        if getattr(evidence, field) is None:
            why = _WHY_MISSING.get(field, "this run has not computed it")
            raise InputError(f"weighting {weighting!r} needs {field}: {why}; take another --weighting")


def _scores(
    weighting: str, evidence: KeypointEvidence, config: WeightingConfig
) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    rule = _find(weighting)
    _check_needs(weighting, rule.needs, evidence)
    raw_score = np.asarray(evidence.raw_score, dtype=np.float64)
    detected = np.isfinite(raw_score) & (raw_score > 0)
    score = rule.score(evidence, config)
    usable = detected & np.isfinite(score) & (score > 0)
    return np.where(usable, np.where(usable, score, 1.0) ** config.power, 0.0), detected
