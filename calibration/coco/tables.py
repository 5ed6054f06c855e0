"""The tables that `coco-eval` and `calibrate-file` print."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from calibration.coco.bootstrap import Interval
from calibration.coco.evaluation import EvaluationRow, KeypointEvaluation
from calibration.coco.metrics import Calibration

_UNDEFINED = "–"


def print_evaluation(evaluation: KeypointEvaluation, console: Console | None = None) -> None:
    """Print the rows (how they rank, then how they are calibrated), and what a reader must know beside."""
    console = console or wide_console()
    counts = f"{evaluation.num_images:,} images, {evaluation.num_persons:,} persons"
    console.print(_ranking_table(evaluation.rows, f"Ranking: {counts}, {evaluation.num_detections:,} detections"))
    console.print(_calibration_table(evaluation.rows, "Calibration against OKS"))
    if any(row.intervals for row in evaluation.rows):
        console.print(
            "\\[low, high]: 95 % over resampled images; differences are paired, to the first row.", style="dim"
        )
    console.print("AR - AP: what a better confidence can still win on these very poses.", style="dim")
    console.print("ECE: 10 bins of equal width / of equal mass. AUSE: normalised by the mean / raw.", style="dim")
    console.print("Error: end-point error over the falloff length 2 sigma_k sqrt(area).", style="dim")
    for note in evaluation.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)


def wide_console() -> Console:
    """The terminal, or a page wide enough for the tables where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def _ranking_table(rows: Sequence[EvaluationRow], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("confidence", overflow="fold")
    for name in ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR - AP", "AP - first"):
        table.add_column(name, justify="right", no_wrap=name not in ("AP", "AP - first"))
    source = None
    for row in rows:
        if row.source != source:
            table.add_section()
            table.add_row(f"[bold]{row.source}[/bold]")
            source = row.source
        table.add_row(
            row.label,
            _percent(row.stats.AP) + _span(row.intervals.get("AP")),
            *(_percent(getattr(row.stats, name)) for name in ("AP50", "AP75", "APM", "APL", "AR")),
            f"{100 * row.winnable:.1f}" if row.stats.AP >= 0 else _UNDEFINED,
            ""
            if row.ap_difference is None
            else f"{100 * row.ap_difference[0]:+.1f}" + _span(row.ap_difference[1], "+"),
        )
    return table


def _calibration_table(rows: Sequence[EvaluationRow], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("confidence", overflow="fold")
    table.add_column("of", justify="left")
    for name in ("n", "Pearson", "ECE", "AUSE, 1 - OKS", "AUSE, error", "Brier"):
        table.add_column(name, justify="right", no_wrap=True)
    source = None
    for row in rows:
        if row.source != source:
            table.add_section()
            table.add_row(f"[bold]{row.source}[/bold]")
            source = row.source
        table.add_row(row.label, "keypoints", *_calibration_cells(row.keypoint))
        table.add_row("", "instances", *_calibration_cells(row.instance))
    return table


def _calibration_cells(calibration: Calibration | None) -> list[str]:
    if calibration is None:
        return [_UNDEFINED] * 6
    return [
        f"{calibration.count:,}",
        _number(calibration.pearson),
        f"{_number(calibration.ece)} / {_number(calibration.ece_mass)}",
        f"{_number(calibration.ause)} / {_number(calibration.ause_raw)}",
        f"{_number(calibration.ause_epe)} / {_number(calibration.ause_epe_raw)}",
        _number(calibration.brier),
    ]


def _difference(row: EvaluationRow) -> str:
    if row.ap_difference is None:
        return ""
    difference, found = row.ap_difference
    return f"{100 * difference:+.1f}" + _span(found, "+")


def _percent(value: float) -> str:
    return _UNDEFINED if value < 0 else f"{100 * value:.1f}"


def _number(value: float) -> str:
    return _UNDEFINED if math.isnan(value) else f"{value:.3f}"


def _span(found: Interval | None, sign: str = "") -> str:
    if found is None or math.isnan(found.low):
        return ""
    return f" [{100 * found.low:{sign}.1f}, {100 * found.high:{sign}.1f}]".replace("[", "\\[")
