"""Calibrators judged on data that they were not fitted to: other images, other boxes, another network.

A calibrator is used on other data than its own by its nature; a table says what is left of its gain there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.coco.accuracy import accuracy_of
from calibration.coco.bootstrap import Interval
from calibration.coco.evaluation import EvaluationRow, evaluate_keypoints
from calibration.coco.files import read_detections, read_truth
from calibration.coco.json_files import Source
from calibration.coco.matching import match
from calibration.file_calibration.application import notes_on, require_match
from calibration.file_calibration.calibrator import FileCalibrator
from calibration.file_calibration.conformal import covered
from calibration.file_calibration.crops import crops_of
from calibration.file_calibration.fitting import error_px
from calibration.file_calibration.judging import in_file_order
from calibration.file_calibration.provenance import distance_of_scores
from pose2d.tables import Cell, Number, ResultTable, Section


@dataclass(frozen=True)
class ShiftRow:
    """One calibrator on one results file.

    Attributes:
        results, calibrator: their names.
        given, calibrated: rows of the evaluation; the second knows the difference of AP.
        coverage: share of the true keypoints within their 90 % radius, and the least and most of one keypoint.
        distance: of the keypoint scores to those of the fit, 0 to 1.
        own_gain: AP gained on unseen images of the fit.
        notes: what speaks against the calibrator here.
    """

    results: str
    calibrator: str
    given: EvaluationRow
    calibrated: EvaluationRow
    coverage: tuple[float, float, float]
    distance: float
    own_gain: float
    notes: tuple[str, ...]


def judge_shift(
    annotations: Source,
    results: Mapping[str, Source],
    calibrators: Mapping[str, FileCalibrator],
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[ShiftRow]:
    """Apply every calibrator to every results file and judge it beside the file's own confidences.

    The calibrators must not have been fitted to images of the annotation file; nothing here can tell.

    Raises:
        InputError: naming file, entry and field of what cannot be used, or results of another skeleton.
    """
    truth = read_truth(annotations)
    rows = []
    for name, source in results.items():
        detections = read_detections(source, truth)
        matches = match(truth, detections)
        accuracy = accuracy_of(matches)
        errors = error_px(matches, accuracy)
        confidences, parts = {}, {}
        for title, calibrator in calibrators.items():
            require_match(calibrator, detections)
            crops = crops_of(source, detections, calibrator.provenance.crop_source)
            found = calibrator.calibrate(detections, crops)
            confidences[title] = in_file_order(found, detections)
            share, per_keypoint = covered(errors, found.radius_px)
            known = per_keypoint[~np.isnan(per_keypoint)]
            parts[title] = (share, float(known.min()), float(known.max())), notes_on(calibrator, detections)
        evaluation = evaluate_keypoints(annotations, source, confidences, bootstrap=bootstrap, seed=seed)
        for title, calibrator in calibrators.items():
            coverage, notes = parts[title]
            rows.append(
                ShiftRow(
                    name,
                    title,
                    evaluation["as given"],
                    evaluation[title],
                    coverage,
                    distance_of_scores(calibrator.provenance.score_quantiles, detections),
                    calibrator.provenance.ap_gain[0],
                    tuple(notes),
                )
            )
    return rows


def shift_table(rows: Sequence[ShiftRow]) -> ResultTable:
    """One row for each pair."""

    def gain(found: tuple[float, Interval | None] | None) -> Number:
        value, paired = found or (0.0, None)
        low, high = (None, None) if paired is None else (paired.low, paired.high)
        return Number(value, low, high, digits=1, factor=100.0, signed=True)

    def before_and_after(row: ShiftRow, name: str) -> tuple[Number, Number]:
        both = (row.given.keypoint, row.calibrated.keypoint)
        first, second = (Number(float("nan") if c is None else getattr(c, name)) for c in both)
        return first, second

    shown: list[list[Cell]] = [
        [
            row.results,
            row.calibrator,
            Number(row.given.stats.AP, digits=1, factor=100.0),
            gain(row.calibrated.ap_difference),
            Number(row.own_gain, digits=1, factor=100.0, signed=True),
            before_and_after(row, "pearson"),
            before_and_after(row, "ece"),
            Number(row.coverage[0], row.coverage[1], row.coverage[2], digits=1, factor=100.0),
            Number(row.distance, digits=2),
        ]
        for row in rows
    ]
    notes = dict.fromkeys(f"note: {row.results}, {row.calibrator}: {note}" for row in rows for note in row.notes)
    return ResultTable(
        "Calibrators on data that they were not fitted to",
        ("results", "calibrator", "AP", "won here", "won at home", "r, kp.", "ECE, kp.", "in radius, %", "distance"),
        (Section(None, shown),),
        (
            "won: AP over the scores given, here and on unseen images of the fit. r, ECE: before / after.",
            "in radius: true keypoints within the 90 % radius [least, most of one keypoint]. distance: of the scores' "
            "distributions.",
            *notes,
        ),
        texts=2,
    )
