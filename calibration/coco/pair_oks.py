"""OKS of many pairs of a detection and a person at once, to the last bits of pycocotools (equations 6 and 7)."""

from __future__ import annotations

import itertools

import numpy as np

from calibration.coco.files import KeypointDetections, KeypointTruth, extremes

_CHUNK = 768
"""Pairs whose OKS are computed at a time: few enough to stay in the cache."""


def may_reach(
    threshold: float,
    truth: KeypointTruth,
    detections: KeypointDetections,
    pair_detection: np.ndarray,
    pair_truth: np.ndarray,
) -> np.ndarray:
    """Which pairs can reach an OKS: no keypoint is nearer to its truth than the boxes around all are to each other.

    The truth's box is that of its labelled keypoints; without any, its own widened by its size on each side.
    """
    first, last = extremes(detections.xy_px)
    low, high = extremes(truth.xy_px, truth.labelled)
    corner, size = truth.boxes_xywh[:, :2].T, truth.boxes_xywh[:, 2:].T
    empty = ~truth.labelled.any(axis=1)
    low[:, empty], high[:, empty] = (corner - size)[:, empty], (corner + size * 2)[:, empty]
    gap_squared = np.zeros(len(pair_truth))
    for axis in (0, 1):
        gap = np.take(low[axis], pair_truth) - np.take(last[axis], pair_detection)
        behind = np.take(first[axis], pair_detection) - np.take(high[axis], pair_truth)
        np.maximum(np.maximum(gap, behind, out=gap), 0, out=gap)
        with np.errstate(over="ignore"):
            gap *= gap
        gap_squared += gap
    widest = -np.log(threshold * (1 - 1e-9)) * 2 * ((truth.sigmas * 2) ** 2).max()
    return np.asarray(gap_squared <= (widest * (truth.area + np.spacing(1)))[pair_truth])


def oks_of_pairs(
    truth: KeypointTruth, detections: KeypointDetections, pair_detection: np.ndarray, pair_truth: np.ndarray
) -> np.ndarray:
    """OKS of each pair.

    Persons are taken by their number of labelled keypoints: a row then holds these alone, and NumPy sums it in the same
    order as pycocotools sums its own, which a sum over masked zeros would not.
    """
    oks = np.empty(len(pair_truth))
    keypoints = truth.visibility.shape[1]
    labelled = np.flatnonzero(truth.labelled)
    keypoint = labelled % keypoints
    # A complex number holds x and y: one gather and one difference for both.
    detected, annotated = (_as_complex(xy_px) for xy_px in (detections.xy_px, truth.xy_px))
    annotated = np.take(annotated, labelled)
    variance = ((truth.sigmas * 2) ** 2)[keypoint]
    minus_two_areas = -2 * (truth.area + np.spacing(1))  # a factor of 2 rounds nothing
    count = np.bincount(labelled // keypoints, minlength=len(truth))
    first = np.cumsum(count) - count
    count_of_pair = count[pair_truth]
    by_count = stable_order(count_of_pair)
    ends = np.cumsum(np.bincount(count_of_pair, minlength=keypoints + 1))
    unlabelled = by_count[: ends[0]]
    oks[unlabelled] = _oks_of_unlabelled(truth, detections, pair_detection[unlabelled], pair_truth[unlabelled])
    for number, (start, end) in enumerate(itertools.pairwise(ends), 1):
        for chunk in (by_count[c : min(c + _CHUNK, end)] for c in range(start, end, _CHUNK)):
            person, detection = pair_truth[chunk, None], pair_detection[chunk, None]
            place = first[person] + np.arange(number)
            offset = np.take(detected, np.take(keypoint, place) + keypoints * detection)
            offset -= np.take(annotated, place)
            with np.errstate(over="ignore"):
                exponent = offset.real**2
                exponent += offset.imag**2
            exponent /= np.take(variance, place)
            exponent /= minus_two_areas[person]
            oks[chunk] = np.exp(exponent, out=exponent).sum(axis=1) / number
    return oks


def _as_complex(xy_px: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(xy_px).view(complex)[:, :, 0]


def _oks_of_unlabelled(
    truth: KeypointTruth, detections: KeypointDetections, detection: np.ndarray, person: np.ndarray
) -> np.ndarray:
    """OKS of pairs with persons without labelled keypoints: by the box widened by its own size on each side."""
    corner, size = truth.boxes_xywh[:, :2].T, truth.boxes_xywh[:, 2:].T
    low, high = corner - size, corner + size * 2
    variances = ((truth.sigmas * 2) ** 2)[:, None]
    minus_two_areas = -2 * (truth.area + np.spacing(1))
    oks = np.empty(len(detection))
    for chunk in (slice(start, start + _CHUNK) for start in range(0, len(detection), _CHUNK)):
        here = person[chunk]
        turned = np.ascontiguousarray(np.take(detections.xy_px, detection[chunk], axis=0).transpose(2, 1, 0))
        exponent = np.zeros((len(variances), len(here)))
        for values, least, most in zip(turned, low, high):
            outside = np.maximum(0, least[here] - values)
            values -= most[here]
            outside += np.maximum(0, values, out=values)
            with np.errstate(over="ignore"):
                outside *= outside
                exponent += outside
        exponent /= variances
        exponent /= minus_two_areas[here]
        oks[chunk] = np.ascontiguousarray(np.exp(exponent, out=exponent).T).sum(axis=1) / len(variances)
    return oks


def stable_order(numbers: np.ndarray) -> np.ndarray:
    """What sorts small whole numbers stably: NumPy sorts those of 16 bits by their digits, ten times as fast."""
    return np.argsort(numbers.astype(np.min_scalar_type(int(numbers.max(initial=0)))), kind="stable")
