"""The compiled inner loop of the bootstrap of AP."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

_SPACING = np.spacing(1)


@njit(cache=True, error_model="numpy", nogil=True)
@no_type_check
def weighted_average_precision(
    counts: np.ndarray,
    image: np.ndarray,
    hit: np.ndarray,
    counted: np.ndarray,
    positives: np.ndarray,
    recalls: np.ndarray,
) -> np.ndarray:
    """AP of every resample at every threshold, (r, t).

    Read backwards, the highest precision so far is the envelope. Between the copies of a hit precision rises and at
    other places it falls, so only hits can raise it; two precisions are compared as fractions of whole numbers, without
    a branch that the processor would have to guess.

    Args:
        counts: how often each image is drawn, (r, i).
        image: of each detection, the most confident first, (d,).
        hit: 1 for hits, (t, d).
        counted: 1 for hits and misses, (t, d).
        positives: persons of each resample, (r,).
        recalls: at which precision is read, ascending.
    """
    thresholds, detections = hit.shape
    result = np.zeros((len(counts), thresholds))
    needed = np.zeros(len(recalls), dtype=np.int64)
    times = np.zeros(detections, dtype=np.int32)
    for r in range(len(counts)):
        number = positives[r]
        if number == 0:
            continue
        for m in range(len(recalls)):  # the fewest hits that reach this recall
            least = np.int64(recalls[m] * number)
            while least > 0 and (least - 1) / number >= recalls[m]:
                least -= 1
            while least / number < recalls[m]:
                least += 1
            needed[m] = least
        for d in range(detections):
            times[d] = counts[r, image[d]]
        for t in range(thresholds):
            seen, hits = np.int64(0), np.int64(0)
            for d in range(detections):
                seen += times[d] * counted[t, d]
                hits += times[d] * hit[t, d]
            m = len(recalls) - 1
            while m >= 0 and needed[m] > hits:
                m -= 1
            best_hits, best_seen, total = np.int64(0), np.int64(1), 0.0
            for d in range(detections - 1, -1, -1):
                better = (hit[t, d] != 0) & (hits * best_seen > best_hits * seen)
                best_hits = hits if better else best_hits
                best_seen = seen if better else best_seen
                hits -= times[d] * hit[t, d]
                seen -= times[d] * counted[t, d]
                while m >= 0 and needed[m] > hits:
                    total += best_hits / (best_seen + _SPACING)
                    m -= 1
            result[r, t] = (total + (m + 1) * (best_hits / (best_seen + _SPACING))) / len(recalls)
    return result
