"""Which person a detection is judged by when its confidence is compared with its accuracy, and how accurate it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from calibration.coco.matching import KeypointMatches, normalised_error


@dataclass(frozen=True)
class Accuracy:
    """What came true of each detection, in the file's order.

    Attributes:
        person: number of the person it is judged by, -1 where its image has none with labelled keypoints.
        top_down: whether every image has one detection a person, so that each is judged by its own.
        oks: of the instance, 0 without a person.
        keypoint_oks: of each keypoint; NaN where it has no truth or a better detection speaks for the person.
        keypoint_error: end-point error over the falloff length, d_k / l_k; NaN likewise.
        instance_error: its mean over the labelled keypoints; NaN without a person.
    """

    person: Int[np.ndarray, " n"]
    top_down: bool
    oks: Float[np.ndarray, " n"]
    keypoint_oks: Float[np.ndarray, "n k"]
    keypoint_error: Float[np.ndarray, "n k"]
    instance_error: Float[np.ndarray, " n"]

    @property
    def judged(self) -> Bool[np.ndarray, " n"]:
        """Detections with a person: the samples of instance calibration."""
        return self.person >= 0


def accuracy_of(matches: KeypointMatches, person: Int[np.ndarray, " n"] | None = None) -> Accuracy:
    """Judge each detection by its own person (top-down files) or by the best person of its image.

    A file is top-down where every image has as many detections as persons with keypoints. These are then paired one to
    one: by the centre of the crop where the file gives it, else so that the sum of OKS is largest. Otherwise a
    detection is judged by the person of highest OKS, and a person's keypoints speak through the best of its detections
    alone, so that false alarms weigh on the instance's calibration but not on the keypoints'.

    Args:
        matches: from `calibration.coco.matching.match`.
        person: numbers of the persons where they are known already: a part of the body belongs to whom the body does.
    """
    truth, detections = matches.truth, matches.detections
    usable = ~truth.ignored & truth.labelled.any(axis=1)
    images = len(truth.image_ids)
    detections_in = np.bincount(detections.image, minlength=images)
    top_down = np.array_equal(detections_in, np.bincount(truth.image[usable], minlength=images))
    pairs = np.flatnonzero(usable[matches.pair_truth])
    if person is not None:
        pairs = pairs[person[matches.pair_detection[pairs]] == matches.pair_truth[pairs]]
    pair_of = _own(matches, pairs) if top_down and person is None else _best(matches, pairs)
    judged = pair_of >= 0
    person = np.where(judged, matches.pair_truth[pair_of], -1) if len(matches.oks) else np.full(len(pair_of), -1)
    oks = np.zeros(len(detections))
    oks[judged] = matches.oks[pair_of[judged]]
    error = normalised_error(truth, detections, person)
    with np.errstate(invalid="ignore"):
        instance_error = np.nansum(error, axis=1) / np.count_nonzero(~np.isnan(error), axis=1)
    error[~_speaks(person, oks)] = np.nan
    return Accuracy(person, bool(top_down), oks, np.exp(-(error**2) / 2), error, instance_error)


def _best(matches: KeypointMatches, pairs: np.ndarray) -> np.ndarray:
    """Pair of highest OKS of each detection, -1 without any."""
    pair_of = np.full(len(matches.detections), -1)
    ascending = pairs[np.argsort(matches.oks[pairs], kind="stable")]
    pair_of[matches.pair_detection[ascending]] = ascending  # the last assignment stands
    return pair_of


def _own(matches: KeypointMatches, pairs: np.ndarray) -> np.ndarray:
    """Pair of each detection with its own person, image by image."""
    from scipy.optimize import linear_sum_assignment

    truth, detections = matches.truth, matches.detections
    detection, person = matches.pair_detection[pairs], matches.pair_truth[pairs]
    cost = -matches.oks[pairs]
    if detections.centres is not None:
        centre = truth.boxes_xywh[person, :2] + truth.boxes_xywh[person, 2:] / 2
        cost = np.linalg.norm(detections.centres[detection] - centre, axis=1)
    pair_of = np.full(len(detections), -1)
    in_image = np.argsort(detections.image[detection], kind="stable")
    ends = np.flatnonzero(np.diff(detections.image[detection[in_image]])) + 1
    for group in np.split(in_image, ends) if len(in_image) else ():
        members, row = np.unique(detection[group], return_inverse=True)
        table = np.empty((len(members), len(group) // len(members)))
        column = np.unique(person[group], return_inverse=True)[1]
        table[row, column] = cost[group]
        place = np.empty(table.shape, dtype=np.int64)
        place[row, column] = pairs[group]
        rows, columns = linear_sum_assignment(table)
        pair_of[members[rows]] = place[rows, columns]
    return pair_of


def _speaks(person: np.ndarray, oks: np.ndarray) -> np.ndarray:
    """Whether each detection is the best of its person."""
    speaks = np.zeros(len(person), dtype=bool)
    best = np.lexsort((-np.arange(len(oks)), oks))
    speaker = np.full(person.max(initial=-1) + 2, -1)
    speaker[person[best]] = best  # the last assignment stands; the place of -1 is the spare last one
    speaks[speaker[:-1][speaker[:-1] >= 0]] = True
    return speaks
