"""The tables that `coco-eval` and `calibrate-file` print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from rich.console import Console

from calibration.coco.bootstrap import Interval
from calibration.coco.evaluation import COCO_PART, EvaluationRow, KeypointEvaluation
from calibration.coco.metrics import Calibration
from calibration.coco.thresholds import DELTA, Threshold
from pose2d.tables import Cell, Number, ResultTable, Section, print_tables

_STATS = ("AP50", "AP75", "APM", "APL", "AR")


def print_evaluation(evaluation: KeypointEvaluation, console: Console | None = None) -> None:
    """Print the rows (how they rank, then how they are calibrated), and what a reader must know beside."""
    print_tables(evaluation_tables(evaluation), console)


def evaluation_tables(evaluation: KeypointEvaluation) -> list[ResultTable]:
    """How the rows rank, and how they are calibrated."""
    counts = f"{evaluation.num_images:,} images, {evaluation.num_persons:,} persons"
    brackets = "[low, high]: 95 % over resampled images; differences are paired, to the first row."
    notes = (
        *([brackets] if any(row.intervals for row in evaluation.rows) else []),
        "AR - AP: what a better confidence can still win on these very poses.",
        "ECE: 10 bins of equal width / of equal mass. AUSE: normalised by the mean / raw.",
        "Error: end-point error over the falloff length 2 sigma_k sqrt(area).",
        *(f"note: {note}" for note in evaluation.notes),
    )
    ranking = ResultTable(
        f"Ranking: {counts}, {evaluation.num_detections:,} detections",
        ("confidence", "AP", *_STATS, "AR - AP", "AP - first"),
        _by_source(evaluation.rows, lambda row: [_ranking_cells(row)]),
    )
    calibration = ResultTable(
        "Calibration against OKS",
        ("confidence", "of", "n", "Pearson", "ECE", "AUSE, 1 - OKS", "AUSE, error", "Brier"),
        _by_source(evaluation.rows, _calibration_rows),
        notes,
        texts=2,
    )
    return [ranking, calibration]


def threshold_table(
    thresholds: Sequence[tuple[str, Threshold]],
) -> ResultTable:
    """Scores above which a keypoint or a person is right; of each, its row's name stands before it."""
    sections = [
        Section(
            name,
            [
                [
                    found.kind,
                    f"OKS >= {found.right_oks:g}",
                    f"{100 * found.precision:g} %",
                    Number(found.threshold),
                    Number(found.kept, digits=1, factor=100.0),
                    Number(found.found, found.lower, 1.0, digits=1, factor=100.0),
                ]
                for _, found in group
            ],
        )
        for name, group in groupby(thresholds, lambda pair: pair[0])
    ]
    return ResultTable(
        "Thresholds: scores from which keypoints and persons are right with the wanted precision",
        ("of", "right", "wanted", "score >=", "kept, %", "precision, %"),
        tuple(sections),
        (
            f"[low, 100]: the precision is above low with {100 * (1 - DELTA):g} % (Clopper and Pearson, images as "
            "clusters). –: none is proven.",
            "Persons: duplicates and false alarms are wrong however good their poses are.",
        ),
        texts=3,
    )


def zoo_table(
    evaluation: KeypointEvaluation, won_back: Mapping[str, Mapping[str, Number]] | None = None
) -> ResultTable:
    """One row for each part and file: AP, AR, what its confidences cost it, and what calibrators win back.

    Args:
        evaluation: with the rows "as given" and "oracle" of each.
        won_back: AP gained on unseen images, by file and method.
    """
    won_back = won_back or {}
    methods = list(dict.fromkeys(method for gains in won_back.values() for method in gains))
    rows: list[list[Cell]] = []
    for (source, part), group in groupby(evaluation.rows, lambda row: (row.source, row.part)):
        by_name = {row.confidence_name: row for row in group}
        given, oracle = by_name["as given"], by_name["oracle"]
        undefined = given.stats.AP < 0
        lost = float("nan") if undefined else oracle.stats.AP - given.stats.AP
        cells: list[Cell] = [
            source if part == COCO_PART else f"{source}, {part}",
            _percent(given.stats.AP, given.intervals.get("AP")),
            _percent(given.stats.AR),
            Number(lost, digits=1, factor=100.0),
            *(Number(c.pearson if c else float("nan"), digits=2) for c in (given.keypoint, given.instance)),
            *(Number(c.ece if c else float("nan"), digits=2) for c in (given.keypoint, given.instance)),
        ]
        gains = won_back.get(source, {})
        rows.append(cells + [gains.get(method) for method in methods])
    return ResultTable(
        "Files side by side",
        (
            *("file", "AP", "AR", "lost", "r, kp.", "r, pers.", "ECE, kp.", "ECE, pers."),
            *(f"{method}" for method in methods),
        ),
        (Section(None, rows),),
        (
            "lost: AP of the oracle's order less AP as given. r: Pearson's correlation of confidence and OKS.",
            *(["Methods: AP won on images that the calibrator has not seen."] if methods else []),
        ),
    )


def _by_source(
    rows: Sequence[EvaluationRow], rows_of: Callable[[EvaluationRow], list[list[Cell]]]
) -> tuple[Section, ...]:
    return tuple(
        Section(source, [cells for row in group for cells in rows_of(row)])
        for source, group in groupby(rows, lambda row: row.source)
    )


def _ranking_cells(row: EvaluationRow) -> list[Cell]:
    stats = [_percent(getattr(row.stats, name)) for name in _STATS]
    winnable = row.winnable if row.stats.AP >= 0 else float("nan")
    difference = None
    if row.ap_difference is not None:
        value, found = row.ap_difference
        difference = Number(value, *_bounds(found), digits=1, factor=100.0, signed=True)
    ap = _percent(row.stats.AP, row.intervals.get("AP"))
    return [row.label, ap, *stats, Number(winnable, digits=1, factor=100.0), difference]


def _calibration_rows(row: EvaluationRow) -> list[list[Cell]]:
    return [
        [row.label, "keypoints", *_calibration_cells(row.keypoint)],
        ["", "instances", *_calibration_cells(row.instance)],
    ]


def _calibration_cells(calibration: Calibration | None) -> list[Cell]:
    if calibration is None:
        return [Number(float("nan"))] * 6
    return [
        f"{calibration.count:,}",
        Number(calibration.pearson),
        (Number(calibration.ece), Number(calibration.ece_mass)),
        (Number(calibration.ause), Number(calibration.ause_raw)),
        (Number(calibration.ause_epe), Number(calibration.ause_epe_raw)),
        Number(calibration.brier),
    ]


def _percent(value: float, found: Interval | None = None) -> Number:
    """One of pycocotools' numbers, which gives -1 where it is undefined."""
    return Number(value if value >= 0 else float("nan"), *_bounds(found), digits=1, factor=100.0)


def _bounds(found: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if found is None else (found.low, found.high)
