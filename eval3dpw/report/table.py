"""The comparison as tables on the terminal, in the form of the paper's table 6 with intervals beside the numbers."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eval3dpw.judging.comparison import INITIAL, RAW
from eval3dpw.judging.metric_table import ERRORS, METRICS, metrics_of
from eval3dpw.judging.protocols import find_protocol


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print what `summary.json` holds: errors with intervals, then paired differences to init and raw."""
    console = console or report_console()
    console.print()
    console.print(_errors(summary))
    console.print(_others(summary))
    for reference in (INITIAL, RAW):
        others = [row for row in summary["rows"] if row["weighting"] != reference]
        if others and others[0][f"mpjpe_mm_minus_{reference}"] is not None:
            console.print(_differences(summary, reference))
    for line in notes(summary):
        console.print(line, style="dim", highlight=False)


def report_console() -> Console:
    """The terminal; where the output goes into a file, a width at which no number is cut off."""
    console = Console()
    return console if console.is_terminal else Console(width=100)


def notes(summary: dict[str, Any]) -> list[str]:
    """What a reader of the numbers must know, a sentence each."""
    level = round(100 * summary["bootstrap"]["level"])
    lines = [
        f"Brackets: {level} % intervals, {summary['bootstrap']['replicates']} replicates, resampling tracks. "
        "Differences are paired; a star marks one whose interval excludes 0."
    ]
    if summary["num_tracks"] == 1:
        lines.append("With one track an interval is a point and says nothing.")
    protocol = find_protocol(summary["protocol"])
    if not protocol.publishes_mve:
        lines.append(f"{protocol.source} has no vertex error; MVE here is taken after alignment to the same pelvis.")
    return lines


def _errors(summary: dict[str, Any]) -> Table:
    table = Table(title=_title(summary), box=box.SIMPLE_HEAD)
    table.add_column("weighting", no_wrap=True)
    for metric in ERRORS:
        table.add_column(METRICS[metric].heading, justify="right", no_wrap=True)
    for row in summary["rows"]:
        cells = []
        for metric in ERRORS:
            low, high = row[f"{metric}_interval"]
            cells.append(f"{row[metric]:.1f} [dim]\\[{low:.1f}, {high:.1f}][/dim]")
        table.add_row(row["weighting"], *cells)
    return table


def _others(summary: dict[str, Any]) -> Table:
    """Jitter (how unevenly the bodies of consecutive frames move), and what the protocol reports beside the errors."""
    table = Table(title="Jitter, and what else the protocol reports", box=box.SIMPLE_HEAD)
    table.add_column("weighting", no_wrap=True)
    shown = [METRICS[name] for name in metrics_of("detail", "jitter") if name in summary["rows"][0]]
    for metric in shown:
        table.add_column(metric.heading, justify="right")
    for row in summary["rows"]:
        values = [row[metric.name] for metric in shown]
        cells = ["-" if v is None else f"{m.factor * v:.1f}" for m, v in zip(shown, values, strict=True)]
        table.add_row(row["weighting"], *cells)
    return table


def _title(summary: dict[str, Any]) -> str:
    return f"Protocol {summary['protocol']}: {summary['num_frames']} frames of {summary['num_tracks']} tracks"


def _differences(summary: dict[str, Any], reference: str) -> Table:
    table = Table(title=f"Paired difference to {reference}", box=box.SIMPLE_HEAD)
    table.add_column("weighting", no_wrap=True)
    for metric in ERRORS:
        table.add_column(METRICS[metric].heading, justify="right", no_wrap=True)
    for row in summary["rows"]:
        if row["weighting"] == reference:
            continue
        cells = []
        for metric in ERRORS:
            difference = row[f"{metric}_minus_{reference}"]
            low, high = difference["low"], difference["high"]
            star = "*" if low > 0 or high < 0 else " "
            cells.append(f"{difference['value']:+.2f}{star} [dim]\\[{low:+.2f}, {high:+.2f}][/dim]")
        table.add_row(row["weighting"], *cells)
    return table
