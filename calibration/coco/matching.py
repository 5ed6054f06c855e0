"""Match once, rank many: OKS of every detection with every person of its image, then AP of any confidence over it.

The numbers are pycocotools' own (cocoeval.py, iouType "keypoints") to the last bits: the same arithmetic in the same
order, but over all images at once. What depends on the detections' positions alone is done once (`match`); a confidence
only decides the order in which an image's detections choose their person (`rank`), so a further one costs a fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from calibration.coco.files import KeypointDetections, KeypointTruth
from calibration.coco.pair_oks import may_reach, oks_of_pairs, stable_order

OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {"all": (0.0, 1e10), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MAX_DETECTIONS = 20
"""Of an image's detections only those of the 20 highest scores are judged."""


@dataclass(frozen=True)
class KeypointMatches:
    """OKS of every detection with every person of its image: all that does not depend on confidence.

    Attributes:
        truth, detections: what was matched, in the files' order.
        pair_detection, pair_truth: numbers of the detection and the person of each of the p pairs.
        near: marks the pairs whose OKS was needed so far: those that can reach the lowest threshold.
        near_oks: of these.
        candidates: pairs above the lowest threshold, by detection, the best person first (of equals the later).
        candidate_oks: of these.
        candidate_start: where each detection's candidates begin, one more than there are detections.
        by_image: detections image by image, each image's in the file's order.
    """

    truth: KeypointTruth
    detections: KeypointDetections
    pair_detection: Int[np.ndarray, " p"]
    pair_truth: Int[np.ndarray, " p"]
    near: Bool[np.ndarray, " p"]
    near_oks: Float[np.ndarray, " q"]
    candidates: Int[np.ndarray, " c"]
    candidate_oks: Float[np.ndarray, " c"]
    candidate_start: Int[np.ndarray, " n_plus_1"]
    by_image: Int[np.ndarray, " n"]

    @cached_property
    def oks(self) -> Float[np.ndarray, " p"]:
        """Of each pair; of a person without labelled keypoints, pycocotools' rule by the doubled box."""
        oks = np.empty(len(self.pair_truth))
        oks[self.near] = self.near_oks
        far = ~self.near
        oks[far] = oks_of_pairs(self.truth, self.detections, self.pair_detection[far], self.pair_truth[far])
        return oks


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
    person_order = stable_order(truth.image)
    persons_in = np.bincount(truth.image, minlength=len(truth.image_ids))
    first_person = np.cumsum(persons_in) - persons_in
    pairs_of = persons_in[detections.image]
    pair_detection = np.repeat(np.arange(len(detections)), pairs_of)
    within = np.arange(len(pair_detection)) - np.repeat(np.cumsum(pairs_of) - pairs_of, pairs_of)
    pair_truth = person_order[first_person[detections.image[pair_detection]] + within]
    near = may_reach(OKS_THRESHOLDS[0], truth, detections, pair_detection, pair_truth)
    oks = oks_of_pairs(truth, detections, pair_detection[near], pair_truth[near])
    reached = oks >= OKS_THRESHOLDS[0]
    possible, oks_of_possible = np.flatnonzero(near)[reached], oks[reached]
    # In pycocotools the later person wins a tie.
    order = np.lexsort((-pair_truth[possible], -oks_of_possible, pair_detection[possible]))
    candidates = possible[order]
    start = np.searchsorted(pair_detection[candidates], np.arange(len(detections) + 1))
    return KeypointMatches(
        truth=truth,
        detections=detections,
        pair_detection=pair_detection,
        pair_truth=pair_truth,
        near=near,
        near_oks=oks,
        candidates=candidates,
        candidate_oks=oks_of_possible[order],
        candidate_start=start,
        by_image=stable_order(detections.image),
    )


def oks_per_keypoint(
    truth: KeypointTruth, detections: KeypointDetections, person: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """OKS_k = exp(-d_k^2 / (2 l_k^2)) of each detection with the person assigned to it (equation 6).

    Args:
        truth: the annotated persons.
        detections: one pose each.
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


_CELLS = len(AREA_RANGES) * len(OKS_THRESHOLDS)
_ALL_CELLS = np.uint32((1 << _CELLS) - 1)
"""What is decided in every area range and at every threshold is a bit of a number: bit a * 10 + t."""


def _bits(mark: Bool[np.ndarray, "n a"]) -> np.ndarray:
    """Marks of area ranges as bits, the same at every threshold, uint32 (n,)."""
    bits = np.zeros(len(mark), dtype=np.uint32)
    for a in range(len(AREA_RANGES)):
        bits[mark[:, a]] |= np.uint32(((1 << len(OKS_THRESHOLDS)) - 1) << (a * len(OKS_THRESHOLDS)))
    return bits


def _marks(bits: np.ndarray) -> np.ndarray:
    """Bits as marks by area range and threshold, (a, t, n)."""
    octets = np.ascontiguousarray(bits.astype("<u4")).view(np.uint8).reshape(-1, 4)
    marks = np.unpackbits(np.ascontiguousarray(octets.T), axis=0, count=_CELLS, bitorder="little")
    return marks.view(bool).reshape(len(AREA_RANGES), len(OKS_THRESHOLDS), -1)


def _outside_range(area: np.ndarray) -> np.ndarray:
    """Which areas lie outside each range, (n, a)."""
    low, high = np.array(list(AREA_RANGES.values())).T
    return np.asarray((area[:, None] < low) | (area[:, None] > high))


def rank(matches: KeypointMatches, scores: Float[np.ndarray, " n"]) -> RankedMatches:
    """Let each image's detections choose their persons in the order of `scores`, at every threshold and area range.

    pycocotools' rule: a detection takes the free person of highest OKS that counts, else the ignored one of highest
    OKS; an unmatched detection is ignored when its own area lies outside the range. Equal scores keep the file's order.

    Args:
        matches: from `match`.
        scores: a confidence for each detection, in the file's order; any finite numbers.
    """
    truth, detections = matches.truth, matches.detections
    order = matches.by_image[np.argsort(-scores[matches.by_image], kind="stable")]
    by_image = order[stable_order(detections.image[order])]
    judged = _place_in_run(detections.image[by_image]) < MAX_DETECTIONS
    if not judged.all():
        late = np.zeros(len(order), dtype=bool)
        late[by_image[~judged]] = True
        order, by_image = order[~late[order]], by_image[judged]
    uncounted = truth.ignored[:, None] | _outside_range(truth.area)
    matched, ignored = _assign(matches, by_image, _bits(uncounted))
    ignored |= ~matched & _bits(_outside_range(detections.area))
    matched, ignored = matched[order], ignored[order]
    positives = np.stack([np.bincount(truth.image[~c], minlength=len(truth.image_ids)) for c in uncounted.T])
    return RankedMatches(
        order=order,
        image=detections.image[order],
        true_positive=_marks(matched & ~ignored),
        false_positive=_marks(~matched & ~ignored),
        positives=positives,
    )


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values of a sorted array."""
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.r_[starts, len(values)]))


def _assign(matches: KeypointMatches, by_image: np.ndarray, uncounted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections are matched, and which of them with a person that does not count: bits, each (n,).

    Images do not touch each other, so round r lets the r-th detection of every image choose at once.

    Args:
        matches: which pairs may be matched.
        by_image: detections image by image, those that choose first in front.
        uncounted: bits of each person.
    """
    truth, start = matches.truth, matches.candidate_start
    person_of = matches.pair_truth[matches.candidates]
    reached = _reached(matches.candidate_oks)
    takeable = [reached & ~uncounted[person_of], reached & uncounted[person_of]]
    # pycocotools keeps the matched person's id and reads 0 as none: annotation 0 is taken but never a hit.
    hit = np.where(truth.ids == 0, np.uint32(0), _ALL_CELLS)[person_of]
    again = np.where(truth.crowd, _ALL_CELLS, np.uint32(0))[person_of]
    taken = np.zeros(len(truth), dtype=np.uint32)
    matched = np.zeros(len(matches.detections), dtype=np.uint32)
    ignored = np.zeros_like(matched)
    number = np.diff(start)
    most = number.max(initial=0)
    choosing = by_image[number[by_image] > 0]
    turn = _place_in_run(matches.detections.image[choosing])
    by_turn = choosing[stable_order(turn)]
    ends = np.cumsum(np.bincount(turn))
    for now in (by_turn[begin:end] for begin, end in zip(np.r_[0, ends], ends)):
        now = now[stable_order(most - number[now])]  # those with a further candidate stand in front
        first, many = start[now], number[now]
        chosen = np.zeros(len(now), dtype=np.uint32)
        counts = np.bincount(many)
        having = len(now) - np.cumsum(counts)  # how many have more than 0, 1, 2, ... candidates
        for tier in (0, 1):
            for place, some in enumerate(having[:-1].tolist()):
                candidate = first[:some] + place
                person = person_of[candidate]
                take = takeable[tier][candidate] & ~chosen[:some] & (~taken[person] | again[candidate])
                chosen[:some] |= take
                taken[person] |= take
                take &= hit[candidate]
                matched[now[:some]] |= take
                if tier:
                    ignored[now[:some]] |= take
    return matched, ignored


def _reached(oks: np.ndarray) -> np.ndarray:
    """Bits of the thresholds that an OKS reaches, in every area range."""
    passed = np.searchsorted(OKS_THRESHOLDS, oks, side="right").astype(np.uint32)
    bits = (np.uint32(1) << passed) - np.uint32(1)
    for _ in range(1, len(AREA_RANGES)):
        bits = bits << np.uint32(len(OKS_THRESHOLDS)) | ((np.uint32(1) << passed) - np.uint32(1))
    return bits


def precision_and_recall(ranked: RankedMatches) -> tuple[Float[np.ndarray, "a t 101"], Float[np.ndarray, "a t"]]:
    """Interpolated precision at 101 recalls and the highest recall, by area range and threshold; -1 without persons."""
    shape = ranked.true_positive.shape[:2]
    precision, recall = np.full((*shape, len(RECALL_THRESHOLDS)), -1.0), np.full(shape, -1.0)
    for a, positives in enumerate(ranked.positives.sum(axis=1)):
        if positives == 0:
            continue
        precision[a], recall[a] = 0, 0
        for t in range(shape[1]):
            # Precision falls between hits, so its envelope is found at hits alone.
            hit = np.flatnonzero(ranked.true_positive[a, t])
            if len(hit) == 0:
                continue
            judged = np.cumsum(ranked.true_positive[a, t] | ranked.false_positive[a, t], dtype=np.int32)[hit]
            hits = np.arange(1, len(hit) + 1)
            envelope = hits / (judged + np.spacing(1))
            np.maximum.accumulate(envelope[::-1], out=envelope[::-1])
            place = np.searchsorted(hits / positives, RECALL_THRESHOLDS, side="left")
            reached = place < len(hit)
            precision[a, t, reached] = envelope[place[reached]]
            recall[a, t] = len(hit) / positives
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
