"""Match once, rank many: OKS of every detection with every person of its image, then AP of any confidence over it.

The numbers are pycocotools' own (cocoeval.py, iouType "keypoints") to the last bits: the same arithmetic in the same
order, but over all images at once. What depends on the detections' positions alone is done once (`match`); a confidence
only decides the order in which an image's detections choose their person (`rank`), so a further one costs a fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from calibration.coco.files import KeypointDetections, KeypointTruth

OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MAX_DETECTIONS = 20
"""Of an image's detections only those of the 20 highest scores are judged."""

_CHUNK = 1 << 14


@dataclass(frozen=True)
class KeypointMatches:
    """OKS of every detection with every person of its image: all that does not depend on confidence.

    Attributes:
        truth, detections: what was matched, in the files' order.
        pair_detection, pair_truth: numbers of the detection and the person of each of the p pairs.
        oks: of each pair; of a person without labelled keypoints, pycocotools' rule by the doubled box.
        candidates: pairs above the lowest threshold, by detection, the best person first (of equals the later).
        candidate_start: where each detection's candidates begin, one more than there are detections.
    """

    truth: KeypointTruth
    detections: KeypointDetections
    pair_detection: Int[np.ndarray, " p"]
    pair_truth: Int[np.ndarray, " p"]
    oks: Float[np.ndarray, " p"]
    candidates: Int[np.ndarray, " c"]
    candidate_start: Int[np.ndarray, " n_plus_1"]


@dataclass(frozen=True)
class RankedMatches:
    """Detections in the order of one confidence, with what each counts as.

    Attributes:
        order: numbers of the judged detections, the most confident first.
        image: of each of them.
        true_positive, false_positive: by area range and OKS threshold; one that is neither is ignored.
        positives: persons to be found, by area range and image.
    """

    order: Int[np.ndarray, " d"]
    image: Int[np.ndarray, " d"]
    true_positive: Bool[np.ndarray, "a t d"]
    false_positive: Bool[np.ndarray, "a t d"]
    positives: Int[np.ndarray, "a i"]


@dataclass(frozen=True)
class KeypointStats:
    """pycocotools' ten numbers, in its order, each in [0, 1], or -1 where the set has no person of that size."""

    AP: float
    AP50: float
    AP75: float
    APM: float
    APL: float
    AR: float
    AR50: float
    AR75: float
    ARM: float
    ARL: float

    def as_array(self) -> Float[np.ndarray, "10"]:
        """The ten numbers as `COCOeval.stats` holds them."""
        return np.array([getattr(self, name) for name in self.__dataclass_fields__])


def match(truth: KeypointTruth, detections: KeypointDetections) -> KeypointMatches:
    """Pair every detection with every person of its image and compute their OKS (equations 6 and 7 of the paper)."""
    person_order = np.argsort(truth.image, kind="stable")
    persons_in = np.bincount(truth.image, minlength=len(truth.image_ids))
    first_person = np.cumsum(persons_in) - persons_in
    pairs_of = persons_in[detections.image]
    pair_detection = np.repeat(np.arange(len(detections)), pairs_of)
    within = np.arange(len(pair_detection)) - np.repeat(np.cumsum(pairs_of) - pairs_of, pairs_of)
    pair_truth = person_order[first_person[detections.image[pair_detection]] + within]
    oks = _pair_oks(truth, detections, pair_detection, pair_truth)
    possible = np.flatnonzero(oks >= OKS_THRESHOLDS[0])
    # In pycocotools the later person wins a tie.
    candidates = possible[np.lexsort((-pair_truth[possible], -oks[possible], pair_detection[possible]))]
    start = np.searchsorted(pair_detection[candidates], np.arange(len(detections) + 1))
    return KeypointMatches(truth, detections, pair_detection, pair_truth, oks, candidates, start)


def _pair_oks(
    truth: KeypointTruth, detections: KeypointDetections, pair_detection: np.ndarray, pair_truth: np.ndarray
) -> np.ndarray:
    """OKS of each pair.

    Persons are taken by their number of labelled keypoints: a row then holds these alone, and NumPy sums it in the same
    order as pycocotools sums its own, which a sum over masked zeros would not.
    """
    oks = np.empty(len(pair_truth))
    labelled = truth.labelled
    labelled_first = np.argsort(~labelled, axis=1, kind="stable")
    count = labelled.sum(axis=1)
    variances = (truth.sigmas * 2) ** 2
    area = truth.area + np.spacing(1)
    count_of_pair = count[pair_truth]
    for number in np.unique(count_of_pair):
        group = np.flatnonzero(count_of_pair == number)
        for chunk in np.split(group, np.arange(_CHUNK, len(group), _CHUNK)):
            person, detection = pair_truth[chunk], pair_detection[chunk]
            if number == 0:
                offset = _outside_doubled_box(detections.xy_px[detection], truth.boxes_xywh[person])
                variance = variances
            else:
                keypoint = labelled_first[person, :number]
                offset = detections.xy_px[detection[:, None], keypoint] - truth.xy_px[person[:, None], keypoint]
                variance = variances[keypoint]
            with np.errstate(over="ignore"):
                offset **= 2
                exponent = (offset[:, :, 0] + offset[:, :, 1]) / variance / area[person, None] / 2
            oks[chunk] = np.exp(-exponent).sum(axis=1) / exponent.shape[1]
    return oks


def _outside_doubled_box(xy_px: np.ndarray, boxes_xywh: np.ndarray) -> np.ndarray:
    """How far each keypoint lies outside the person's box widened by its own size on each side, (p, k, 2)."""
    corner, size = boxes_xywh[:, None, :2], boxes_xywh[:, None, 2:]
    low, high = corner - size, corner + size * 2
    return np.maximum(0, low - xy_px) + np.maximum(0, xy_px - high)


def oks_per_keypoint(
    truth: KeypointTruth, detections: KeypointDetections, person: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """OKS_k = exp(-d_k^2 / (2 l_k^2)) of each detection with the person assigned to it (equation 6).

    Args:
        person: number of each detection's person (`assigned_person`); -1 for none.

    Returns:
        NaN where the keypoint is not labelled or the detection has no person.
    """
    return np.exp(-(normalised_error(truth, detections, person) ** 2) / 2)


def normalised_error(
    truth: KeypointTruth, detections: KeypointDetections, person: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """End-point error over the falloff length, d_k / l_k with l_k = 2 sigma_k sqrt(area); NaN as `oks_per_keypoint`."""
    offset = detections.xy_px - truth.xy_px[person]
    falloff = 2 * truth.sigmas * np.sqrt(truth.area[person] + np.spacing(1))[:, None]
    error = np.hypot(offset[:, :, 0], offset[:, :, 1]) / falloff
    return np.where(truth.labelled[person] & (person >= 0)[:, None], error, np.nan)


def _area_ignored(truth: KeypointTruth) -> np.ndarray:
    """Which persons an area range ignores, (m, a)."""
    low, high = np.array(list(AREA_RANGES.values())).T
    return truth.ignored[:, None] | (truth.area[:, None] < low) | (truth.area[:, None] > high)


def rank(matches: KeypointMatches, scores: Float[np.ndarray, " n"]) -> RankedMatches:
    """Let each image's detections choose their persons in the order of `scores`, at every threshold and area range.

    pycocotools' rule: a detection takes the free person of highest OKS that counts, else the ignored one of highest
    OKS; an unmatched detection is ignored when its own area lies outside the range. Equal scores keep the file's order.

    Args:
        matches: from `match`.
        scores: a confidence for each detection, in the file's order; any finite numbers.
    """
    truth, detections = matches.truth, matches.detections
    by_image = np.lexsort((-scores, detections.image))
    by_image = by_image[_place_in_run(detections.image[by_image]) < MAX_DETECTIONS]
    matched, ignored = _assign(matches, by_image)
    low, high = np.array(list(AREA_RANGES.values())).T
    outside = (detections.area[:, None] < low) | (detections.area[:, None] > high)
    ignored |= ~matched & outside[:, :, None]
    order = by_image[np.argsort(-scores[by_image], kind="stable")]
    matched, ignored = matched[order], ignored[order]
    counted = ~_area_ignored(truth)
    positives = np.stack([np.bincount(truth.image[c], minlength=len(truth.image_ids)) for c in counted.T])
    return RankedMatches(
        order=order,
        image=detections.image[order],
        true_positive=np.ascontiguousarray((matched & ~ignored).transpose(1, 2, 0)),
        false_positive=np.ascontiguousarray((~matched & ~ignored).transpose(1, 2, 0)),
        positives=positives,
    )


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values of a sorted array."""
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.r_[starts, len(values)]))


def _assign(matches: KeypointMatches, by_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections are matched, and which of them with an ignored person, each (n, a, t).

    Images do not touch each other, so round r lets the r-th detection of every image choose at once.
    """
    truth, start = matches.truth, matches.candidate_start
    shape = (len(AREA_RANGES), len(OKS_THRESHOLDS))
    ignorable = _area_ignored(truth)
    taken = np.zeros((len(truth), *shape), dtype=bool)
    matched = np.zeros((len(matches.detections), *shape), dtype=bool)
    ignored = np.zeros_like(matched)
    number = np.diff(start)
    choosing = by_image[number[by_image] > 0]
    turn = _place_in_run(matches.detections.image[choosing])
    for now in (choosing[turn == r] for r in range(turn.max(initial=-1) + 1)):
        chosen = np.zeros((len(now), *shape), dtype=bool)
        for tier in (False, True):
            for place in range(number[now].max()):
                some = np.flatnonzero(number[now] > place)
                pair = matches.candidates[start[now[some]] + place]
                person = matches.pair_truth[pair]
                free = ~taken[person] | truth.crowd[person, None, None]
                take = free & ~chosen[some] & (ignorable[person] == tier)[:, :, None]
                take &= (matches.oks[pair, None] >= OKS_THRESHOLDS)[:, None, :]
                chosen[some] |= take
                taken[person] |= take
                # pycocotools keeps the matched person's id and reads 0 as none: annotation 0 is taken but never a hit.
                matched[now[some]] |= take & (truth.ids[person] != 0)[:, None, None]
                if tier:
                    ignored[now[some]] |= take
    return matched, ignored


def precision_and_recall(ranked: RankedMatches) -> tuple[Float[np.ndarray, "a t 101"], Float[np.ndarray, "a t"]]:
    """Interpolated precision at 101 recalls and the highest recall, by area range and threshold; -1 without persons."""
    shape = ranked.true_positive.shape[:2]
    precision, recall = np.full((*shape, len(RECALL_THRESHOLDS)), -1.0), np.full(shape, -1.0)
    hits = np.cumsum(ranked.true_positive, axis=2, dtype=np.int32).astype(float)
    misses = np.cumsum(ranked.false_positive, axis=2, dtype=np.int32).astype(float)
    misses += hits
    misses += np.spacing(1)
    envelope = np.divide(hits, misses, out=misses)
    np.maximum.accumulate(envelope[:, :, ::-1], axis=2, out=envelope[:, :, ::-1])
    for a, positives in enumerate(ranked.positives.sum(axis=1)):
        if positives == 0:
            continue
        recall[a] = 0
        precision[a] = 0
        for t in range(shape[1]) if len(ranked.order) else ():
            recalls = hits[a, t] / positives
            place = np.searchsorted(recalls, RECALL_THRESHOLDS, side="left")
            reached = place < len(recalls)
            precision[a, t, reached] = envelope[a, t, place[reached]]
            recall[a, t] = recalls[-1]
    return precision, recall


def stats_of(ranked: RankedMatches) -> KeypointStats:
    """pycocotools' summary of one ranking."""
    precision, recall = precision_and_recall(ranked)

    def mean(values: np.ndarray) -> float:
        values = values[values > -1]
        return float(np.mean(values)) if len(values) else -1.0

    everyone, medium, large = (list(AREA_RANGES).index(name) for name in ("all", "medium", "large"))
    at_50, at_75 = (int(np.argmin(abs(OKS_THRESHOLDS - t))) for t in (0.5, 0.75))
    return KeypointStats(
        *(mean(precision[a]) for a in (everyone,)),
        *(mean(precision[everyone, t]) for t in (at_50, at_75)),
        *(mean(precision[a]) for a in (medium, large)),
        *(mean(recall[a]) for a in (everyone,)),
        *(mean(recall[everyone, [t]]) for t in (at_50, at_75)),
        *(mean(recall[a]) for a in (medium, large)),
    )


def average_precision(matches: KeypointMatches, scores: Float[np.ndarray, " n"] | None = None) -> KeypointStats:
    """pycocotools' ten numbers with detections ranked by `scores` (in the file's order), or by the file's own."""
    return stats_of(rank(matches, matches.detections.score if scores is None else scores))
