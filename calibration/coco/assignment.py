"""Which detection stands for which person, where a file has duplicates and false alarms."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from calibration.coco.matching import KeypointMatches


def one_per_person(matches: KeypointMatches, pairs: Int[np.ndarray, " p"]) -> Int[np.ndarray, " n"]:
    """Give each person at most one detection and each detection at most one person, the highest OKS first.

    pycocotools assigns in the same way where the scores are the OKS themselves, so this is the order that a perfect
    confidence would bring about.

    Args:
        matches: from `calibration.coco.matching.match`.
        pairs: numbers of the pairs that may be chosen.

    Returns:
        The chosen pair of each detection, -1 where it stands for nobody.
    """
    pair_of = np.full(len(matches.detections), -1)
    free = pairs[matches.oks[pairs] > 0]
    free = free[np.argsort(-matches.oks[free], kind="stable")]
    taken = np.zeros(len(matches.truth), dtype=bool)
    while len(free):
        detection, person = matches.pair_detection[free], matches.pair_truth[free]
        mutual = _is_first(detection, len(pair_of)) & _is_first(person, len(taken))
        pair_of[detection[mutual]] = free[mutual]
        taken[person[mutual]] = True
        free = free[(pair_of[detection] < 0) & ~taken[person]]
    return pair_of


def _is_first(values: np.ndarray, bound: int) -> np.ndarray:
    """Whether each value stands for the first time; all lie below `bound`."""
    place = np.arange(len(values))
    first = np.empty(bound, dtype=np.int64)
    first[values[::-1]] = place[::-1]  # the last assignment stands
    return np.asarray(first[values] == place)
