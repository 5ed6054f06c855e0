"""What a confidence is made to predict: OKS, or PCK (section 6.2's MPII experiment, table 4), each judged by both.

PCK counts a keypoint as right within a threshold of a person's size. On MPII that is the head segment length (PCKh);
data sets without head boxes take the square root of the person's area, so PCK at .1 there is OKS's distance scale
without its keypoint constants. No AP is defined on PCK; AUSE measures how well a confidence sorts by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.training import BRANCH_TRAININGS, Target, TrainingPersons, train_branch
from calibration.coco.bootstrap import (
    Interval,
    bootstrap_average_precision,
    bootstrap_sparsification_error,
    interval,
    resample_images,
)
from calibration.coco.evaluation import Confidence
from calibration.coco.matching import match, rank, stats_of
from calibration.coco.metrics import area_under_sparsification_error
from calibration.experiments.comparison import detections_of, percent, truth_of
from calibration.experiments.methods import usual_confidence
from pose2d.errors import InputError
from pose2d.tables import Cell, ResultTable, Section

PCKH_LEFT_OUT = ("pelvis", "thorax")
"""MPII's official evaluation does not judge these two."""


@dataclass(frozen=True)
class Pck:
    """PCK at a threshold, as a target of training (call it) and a measure.

    Attributes:
        threshold: in head segment lengths where the data set has them, else in square roots of the person's area.
    """

    threshold: float

    def __call__(self, cache: CachedFeatures) -> Float[np.ndarray, "n k"]:
        """1 for every keypoint within the threshold, 0 beyond it; 0 where unlabelled, where it means nothing."""
        distance = np.linalg.norm(cache.poses.xy_px - cache.dataset.xy_px, axis=-1)
        size = person_sizes(cache)[:, None]
        return np.asarray(((distance <= self.threshold * size) & cache.labelled).astype(np.float64))

    def name(self, cache: CachedFeatures) -> str:
        """PCKh@.5, PCK@.1."""
        letter = "h" if cache.dataset.head_sizes_px is not None else ""
        return f"PCK{letter}@{self.threshold:g}".replace("@0.", "@.")


def person_sizes(cache: CachedFeatures) -> Float[np.ndarray, " n"]:
    """Lengths in image px that PCK measures errors in; NaN where a head's is unknown."""
    heads = cache.dataset.head_sizes_px
    return np.sqrt(np.maximum(cache.dataset.areas, 1.0)) if heads is None else heads


def judged_by_pck(cache: CachedFeatures) -> Bool[np.ndarray, "n k"]:
    """Keypoints that PCK judges: labelled, of persons of known size, on MPII without pelvis and thorax."""
    judged = cache.labelled & ~np.isnan(person_sizes(cache))[:, None]
    if cache.dataset.head_sizes_px is not None:
        left_out = [name for name in PCKH_LEFT_OUT if name in cache.dataset.skeleton]
        judged[:, cache.dataset.skeleton.indices(left_out)] = False
    return np.asarray(judged)


def with_known_sizes(cache: CachedFeatures) -> CachedFeatures:
    """The persons that PCK can judge.

    Raises:
        InputError: there is none.
    """
    known = np.flatnonzero(judged_by_pck(cache).any(axis=1))
    if len(known) == 0:
        raise InputError(
            f"{cache.dataset.annotation_file}: nobody's head size is known, so PCKh cannot be told: put the official "
            "gt_<split>.mat with headboxes_src beside the file, or label upper_neck and head_top"
        )
    return cache if len(known) == len(cache) else cache.select(known)


@dataclass(frozen=True)
class JudgedTarget:
    """One confidence by OKS and by PCK.

    Attributes:
        name: of the method.
        ap, ap_interval: by OKS, in [0, 1].
        ause: area under the sparsification error of each accuracy's complement, by its name; not normalised.
        ause_intervals: 95 % over images, likewise by name.
    """

    name: str
    ap: float
    ap_interval: Interval
    ause: Mapping[str, float]
    ause_intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class TargetTable:
    """Confidences side by side, and the poses that they all speak of.

    Attributes:
        rows: one a confidence.
        pck: share of judged keypoints within each threshold, by the measure's name.
        ar: by OKS, in [0, 1].
    """

    rows: tuple[JudgedTarget, ...]
    pck: Mapping[str, float]
    ar: float


def judge_targets(
    cache: CachedFeatures,
    confidences: Mapping[str, Confidence],
    measures: Sequence[Pck],
    replicates: int = 1000,
    seed: int = 0,
) -> TargetTable:
    """AP by OKS and AUSE by OKS and by each PCK, of every confidence.

    Args:
        cache: persons with truth; those of unknown size count for OKS alone.
        confidences: by name, with keypoint confidences.
        measures: thresholds of PCK.
        replicates: resamples of the images; 0 for none.
        seed: of the resamples.
    """
    truth = truth_of(cache)
    matches = match(truth, detections_of(cache, truth))
    counts = resample_images(len(truth.image_ids), replicates, seed)
    image = np.broadcast_to(truth.image[:, None], cache.labelled.shape)
    accuracies = {"OKS": (cache.keypoint_oks(), cache.labelled)}
    accuracies |= {measure.name(cache): (measure(cache), judged_by_pck(cache)) for measure in measures}
    rows, recall = [], float("nan")
    for name, confidence in confidences.items():
        ranked = rank(matches, confidence.instance)
        stats = stats_of(ranked)
        recall = stats.AR
        ause, spans = {}, {}
        if confidence.keypoint is None:
            raise ValueError(f"confidence {name!r} has none of keypoints, which PCK is judged by")
        for measure, (accuracy, judged) in accuracies.items():
            said, error = confidence.keypoint[judged], 1.0 - accuracy[judged]
            ause[measure] = area_under_sparsification_error(said, error, normalised=False)
            spans[measure] = interval(bootstrap_sparsification_error(said, error, image[judged], counts))
        samples = bootstrap_average_precision(ranked, counts).mean(axis=1)
        rows.append(JudgedTarget(name, stats.AP, interval(samples), ause, spans))
    shares = {name: float(accuracy[judged].mean()) for name, (accuracy, judged) in accuracies.items() if name != "OKS"}
    return TargetTable(tuple(rows), shares, recall)


def target_confidences(
    persons: TrainingPersons, test: CachedFeatures, measures: Sequence[Pck], network_name: str
) -> dict[str, Confidence]:
    """Raw scores, CCNet's expected OKS, and CCNet's expected PCK at each threshold.

    Raises:
        InputError: nobody's size is known.
    """
    persons = persons.without_views()
    found = {"raw": usual_confidence(np.clip(test.poses.raw_score, 0.0, 1.0))}
    targets: list[Target] = [CachedFeatures.keypoint_oks, *measures]
    for target in targets:
        fitted, name = persons, "CCNet for OKS"
        if isinstance(target, Pck):
            held_out = persons.validation
            fitted = TrainingPersons(
                with_known_sizes(persons.plain), None if held_out is None else with_known_sizes(held_out)
            )
            name = f"CCNet for {target.name(test)}"
        trained = train_branch(fitted, BRANCH_TRAININGS["local"], network_name, target)
        calibrated = calibrate_cache(trained.branch, test)
        found[name] = Confidence(calibrated.instance_confidence, calibrated.confidence)
    return found


def target_table(table: TargetTable, title: str) -> ResultTable:
    """Confidences judged by OKS and PCK; AP and AUSE in per cent."""
    names = list(table.rows[0].ause)
    rows: list[list[Cell]] = [
        [
            row.name,
            percent(row.ap, row.ap_interval),
            *(percent(row.ause[name], row.ause_intervals[name], digits=2) for name in names),
        ]
        for row in table.rows
    ]
    shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in table.pck.items())
    return ResultTable(
        title,
        ("confidence", "AP", *(f"AUSE {name}" for name in names)),
        (Section(None, rows),),
        (f"{shares}, AR {100 * table.ar:.1f} for all. AUSE of the complement, in percent, not normalised.",),
    )
