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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from calibration.oks import BODY_SHARE_OF_LOOSE_BOX, area_of_boxes, falloff, precision_from_expected_oks
from pose2d.errors import InputError
from pose2d.skeletons import Skeleton

BOX_PX = 256.0
"""Errors and falloffs are in pixels of a person box scaled to this size, so near and far persons count alike."""


@dataclass(frozen=True)
class KeypointEvidence:
    """What is known about the keypoints of n persons. Fields that a weighting does not need may be None.

    Attributes:
        raw_score: what the 2D network says; 0 or less: not detected, weight 0 under every rule.
        confidence: CCNet's expected OKS, given that the keypoint is labelled.
        visibility: CCNet's probability that the keypoint is labelled.
        presence: CCNet's probability that it lies in the picture at all; None counts as 1.
        rescored: expected OKS by the closed-form correction of the raw score (equation 12 with a predicted sigma).
        oracle: the OKS that the keypoint really has. Only an evaluation can know it; it bounds the other weightings.
        falloff: OKS falloff l_k in pixels of the `BOX_PX` box (`oks_falloff`).
    """

    raw_score: Float[np.ndarray, "n k"]
    confidence: Float[np.ndarray, "n k"] | None = None
    visibility: Float[np.ndarray, "n k"] | None = None
    presence: Float[np.ndarray, "n k"] | None = None
    rescored: Float[np.ndarray, "n k"] | None = None
    oracle: Float[np.ndarray, "n k"] | None = None
    falloff: Float[np.ndarray, "n k"] | None = None


@dataclass(frozen=True)
class WeightingConfig:
    """How scores become weights; the same for all weightings that are compared.

    Attributes:
        power: exponent on the rule's score before normalisation (SPIN squares its confidences: 2).
        visibility: what CCNet's visibility does in `ccnet` and `precision`. "multiply" (default): the confidence holds
            only *if* the keypoint is labelled, so the expected worth of a keypoint is visibility times confidence, as
            in CCNet's own instance score. "ignore": the confidence alone.
        presence: what CCNet's presence does there. "multiply": a keypoint that is not in the picture has no say.
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


def oks_falloff(
    skeleton: Skeleton,
    boxes_xywh: Float[np.ndarray, "n 4"],
    size_px: Float[np.ndarray, "n"],
    body_share: float = BODY_SHARE_OF_LOOSE_BOX,
) -> Float[np.ndarray, "n k"]:
    """OKS falloff l_k = sqrt(area) kappa_k (equation 6) in pixels of the `BOX_PX` box.

    Args:
        size_px: the person size by which the objective scales its errors.
        body_share: body area over box area (`calibration.oks.area_of_boxes`).

    Raises:
        InputError: no OKS sigmas are published for the skeleton.
    """
    if skeleton.oks_sigmas is None:
        raise InputError(
            f"no OKS sigmas are published for skeleton {skeleton.name}, so a confidence cannot be turned into pixels; "
            "use another weighting than precision"
        )
    scale = np.divide(BOX_PX, size_px, out=np.zeros_like(size_px), where=size_px > 0)
    root_areas = np.sqrt(area_of_boxes(boxes_xywh, body_share)) * scale
    return falloff(root_areas[:, None], skeleton.sigmas)


def _need(evidence: KeypointEvidence, field: str, weighting: str) -> np.ndarray:
    value = getattr(evidence, field)
    if value is None:
        raise InputError(f"weighting {weighting!r} needs {field}, which this run has not computed; see `--weighting`")
    return np.asarray(value, dtype=np.float64)


def _seen(score: np.ndarray, evidence: KeypointEvidence, config: WeightingConfig, weighting: str) -> np.ndarray:
    if config.visibility == "multiply":
        score = score * _need(evidence, "visibility", weighting)
    if config.presence == "multiply" and evidence.presence is not None:
        score = score * evidence.presence
    return score


def uniform(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """1 for each detected keypoint."""
    return np.ones_like(evidence.raw_score, dtype=np.float64)


def raw(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """The network's own score."""
    return _need(evidence, "raw_score", "raw")


def rescored(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """The closed-form correction of the raw score."""
    return _need(evidence, "rescored", "rescored")


def ccnet(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """CCNet's calibrated confidence."""
    return _seen(_need(evidence, "confidence", "ccnet"), evidence, config, "ccnet")


def precision(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """Inverse variance of the pixel error that CCNet's confidence implies: the weight of maximum likelihood."""
    weight = precision_from_expected_oks(
        _need(evidence, "confidence", "precision"), _need(evidence, "falloff", "precision"), config.noise_floor
    )
    return _seen(weight, evidence, config, "precision")


def oracle(evidence: KeypointEvidence, config: WeightingConfig) -> Float[np.ndarray, "n k"]:
    """The true OKS of each keypoint: a bound, not a method."""
    return _need(evidence, "oracle", "oracle")


Weighting = Callable[[KeypointEvidence, WeightingConfig], np.ndarray]

WEIGHTINGS: dict[str, Weighting] = {
    "uniform": uniform,
    "raw": raw,
    "rescored": rescored,
    "ccnet": ccnet,
    "precision": precision,
    "oracle": oracle,
}


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
    return np.divide(score * detected.sum(1, keepdims=True), total, out=np.zeros_like(score), where=total > 0)


def _scores(
    weighting: str, evidence: KeypointEvidence, config: WeightingConfig
) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    if weighting not in WEIGHTINGS:
        raise InputError(f"unknown weighting {weighting!r}; known are {', '.join(WEIGHTINGS)}")
    raw_score = np.asarray(evidence.raw_score, dtype=np.float64)
    detected = np.isfinite(raw_score) & (raw_score > 0)
    score = WEIGHTINGS[weighting](evidence, config)
    usable = detected & np.isfinite(score) & (score > 0)
    return np.where(usable, np.where(usable, score, 1.0) ** config.power, 0.0), detected
