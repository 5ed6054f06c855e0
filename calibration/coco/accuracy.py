"""Which person a detection is judged by when its confidence is compared with its accuracy, and how accurate it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from calibration.coco.assignment import one_per_person
from calibration.coco.matching import OKS_THRESHOLDS, KeypointMatches, normalised_error


@dataclass(frozen=True)
class Accuracy:
    """What came true of each detection, in the file's order.

    Attributes:
        person: number of the person it is judged by, -1 for a detection that is no sample: its image has nobody with
            labelled keypoints, or it shows somebody whom AP ignores.
        top_down: whether every image has one detection per person, so that each is judged by its own.
        speaks: whether it is the one detection that stands for its person.
        oks: of the instance where it speaks; 0 for duplicates and false alarms, which AP counts as wrong.
        keypoint_oks: of each keypoint; NaN where it has no truth or the detection does not speak.
        keypoint_error: end-point error over the falloff length, d_k / l_k; NaN likewise.
        instance_error: its mean over the labelled keypoints; NaN without a person.
    """

    person: Int[np.ndarray, " n"]
    top_down: bool
    speaks: Bool[np.ndarray, " n"]
    oks: Float[np.ndarray, " n"]
    keypoint_oks: Float[np.ndarray, "n k"]
    keypoint_error: Float[np.ndarray, "n k"]
    instance_error: Float[np.ndarray, " n"]

    def subset(self, chosen: Int[np.ndarray, " c"]) -> Accuracy:
        """Of some of the detections, by number."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Accuracy(**{name: v if name == "top_down" else v[chosen] for name, v in columns.items()})

    @property
    def judged(self) -> Bool[np.ndarray, " n"]:
        """Detections with a person: the samples of instance calibration."""
        return self.person >= 0


def accuracy_of(matches: KeypointMatches, person: Int[np.ndarray, " n"] | None = None) -> Accuracy:
    """Judge each detection by its own person (top-down files) or by the best person of its image.

    A file is top-down where every image has as many detections as persons with keypoints. These are then paired one to
    one: by the centre of the crop where the file gives it, else so that the sum of OKS is largest. Otherwise each
    person is given one detection, the highest OKS first. A further detection is judged as a false alarm: its OKS counts
    as 0 (AP counts it as wrong however good its pose is), and its keypoints have no truth.

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
    one_to_one = top_down and person is None
    standing = _own(matches, pairs) if one_to_one else one_per_person(matches, pairs)
    pair_of = standing if one_to_one else np.where(standing >= 0, standing, _best(matches, pairs))
    speaks = standing >= 0
    judged = (pair_of >= 0) & (speaks | ~_shows_ignored(matches, pair_of))
    person = np.where(judged, matches.pair_truth[pair_of], -1) if len(matches.oks) else np.full(len(pair_of), -1)
    oks = np.zeros(len(detections))
    oks[speaks] = matches.oks[standing[speaks]]
    error = normalised_error(truth, detections, person)
    with np.errstate(invalid="ignore"):
        instance_error = np.nansum(error, axis=1) / np.count_nonzero(~np.isnan(error), axis=1)
    error[~speaks] = np.nan
    return Accuracy(person, bool(top_down), speaks, oks, np.exp(-(error**2) / 2), error, instance_error)


def _shows_ignored(matches: KeypointMatches, pair_of: np.ndarray) -> np.ndarray:
    """Whether a detection misses its person at the lowest threshold, but not one whom AP ignores."""
    hits = matches.candidates
    shows = np.zeros(len(pair_of), dtype=bool)
    shows[matches.pair_detection[hits[matches.truth.ignored[matches.pair_truth[hits]]]]] = True
    found = pair_of >= 0
    shows[found] &= matches.oks[pair_of[found]] < OKS_THRESHOLDS[0]
    return shows


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
