"""The study as a picture: error after against error before, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval3dpw.judging.comparison import INITIAL
from pose2d.files.storage import atomic_path

_COLOURS = {"paper": "#999999", "auto": "#0072B2", "fitted": "#D55E00"}
_MARKERS = {"ccnet": "o", "raw": "s"}
_METRICS = (("mpjpe_mm", "MPJPE"), ("pa_mpjpe_mm", "PA-MPJPE"))


def draw_study(study: dict[str, Any], path: Path) -> Path:
    """Draw what `run_study` found; below the diagonal a refinement helps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, 2), _METRICS, strict=True):
        labelled: set[str] = set()
        largest = 0.0
        for start in study["starts"]:
            before = next(row for row in start["rows"] if row["row"] == INITIAL)[metric]["value"]
            largest = max(largest, before)
            for row in start["rows"]:
                if row["row"] == INITIAL:
                    continue
                kind, weighting = row["row"].split()
                change = row[f"{metric}_minus_init"]
                axes.errorbar(
                    before,
                    row[metric]["value"],
                    yerr=[[change["value"] - change["low"]], [change["high"] - change["value"]]],
                    fmt=_MARKERS.get(weighting, "^"),
                    color=_COLOURS[kind],
                    markerfacecolor=_COLOURS[kind] if weighting == "ccnet" else "none",
                    capsize=2,
                    label=None if row["row"] in labelled else row["row"],
                )
                labelled.add(row["row"])
        axes.plot([0, 1.05 * largest], [0, 1.05 * largest], color="black", linewidth=0.8)
        axes.set(xlabel=f"{title} of the start, mm", ylabel=f"{title} after refinement, mm", xlim=0, ylim=0)
        axes.legend(fontsize=8)
    figure.suptitle(
        f"{study['num_frames']} frames of {study['num_tracks']} tracks, protocol {study['protocol']}; "
        "bars: paired 95 % intervals of the change"
    )
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
    return path
