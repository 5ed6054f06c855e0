"""Pictures of how well confidences tell accuracy: what `coco-eval --plots` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibration.coco import metrics
from calibration.coco.evaluation import EvaluationRow, KeypointEvaluation
from calibration.coco.matching import RECALL_THRESHOLDS
from calibration.coco.thresholds import precision_curve
from pose2d.files.storage import atomic_path

_DPI = 130
_BASELINES = {"constant": ("0.55", ":"), "random": ("0.55", "--"), "oracle": ("tab:red", "--")}
"""Colour and line of the rows that are no method."""
_BARS = ("constant", "random", "oracle")
_MAX_DIAGRAMS = 8
_FEW = 20
"""Bins of fewer samples are drawn hollow."""


def draw_evaluation(evaluation: KeypointEvaluation, directory: str | Path) -> list[Path]:
    """Write every figure of an evaluation, one set a part of the body.

    Returns:
        The files: precision_recall.png, reliability.png, sparsification.png, keypoint_ece.png (with the part's name in
        front for WholeBody); a figure without anything to show is left out.
    """
    written = []
    for part in dict.fromkeys(row.part for row in evaluation.rows):
        rows = [row for row in evaluation.rows if row.part == part]
        several = len({row.part for row in evaluation.rows}) > 1
        for name, draw in _FIGURES.items():
            figure = draw(rows)
            if figure is None:
                continue
            path = Path(directory) / (f"{part}_{name}.png" if several else f"{name}.png")
            with atomic_path(path) as partial:
                figure.savefig(partial, dpi=_DPI, format="png")
            written.append(path)
    return written


def _figure(columns: int, rows: int = 1, width: float = 5.2, height: float = 4.2) -> tuple[Any, np.ndarray]:
    """A figure without pyplot, so that nothing global is touched and nothing needs closing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _styles(rows: Sequence[EvaluationRow]) -> Iterator[tuple[EvaluationRow, str, dict[str, Any]]]:
    """Each row with its legend text and line style; the file is named where there are several."""
    sources = list(dict.fromkeys(row.source for row in rows))
    several = len(sources) > 1
    number = 0
    for row in rows:
        label = f"{row.source}: {row.confidence_name}" if several else row.confidence_name
        if row.confidence_name in _BASELINES:
            colour, line = _BASELINES[row.confidence_name]
            faded = max(0.3, 1 - 0.4 * sources.index(row.source))
            yield row, label, {"color": colour, "linestyle": line, "linewidth": 1.3, "alpha": faded}
        else:
            yield row, label, {"color": f"C{[0, 2, 1, 4, 5, 6, 8, 9][number % 8]}", "linewidth": 1.6}
            number += 1


def _precision_recall(rows: Sequence[EvaluationRow]) -> Any:
    """The paper's figure 1: precision over recall, mean of the ten OKS thresholds; the area is AP."""
    figure, axes = _figure(1, width=6.4, height=4.8)
    axis = axes[0, 0]
    for row, label, style in _styles(rows):
        if row.stats.AP >= 0:
            text = f"{label}: AP {100 * row.stats.AP:.1f}"
            axis.plot(RECALL_THRESHOLDS, row.precision.mean(axis=0), label=text, **style)
    if len({row.source for row in rows}) == 1:
        _mark_recall(axis, rows[0].stats.AR)
    axis.set(xlabel="recall", ylabel="precision (mean over OKS thresholds .50 to .95)", xlim=(0, 1), ylim=(0, 1.01))
    axis.legend(fontsize=8, loc="best")
    return figure


def _mark_recall(axis: Any, recall: float) -> None:
    axis.axvline(recall, color="0.8", linewidth=1, zorder=0)
    style = {"color": "0.45", "fontsize": 8, "annotation_clip": False}
    axis.annotate(f"AR {100 * recall:.1f} ", (recall, 1.012), ha="right", va="bottom", **style)


def _samples(row: EvaluationRow, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Confidence, OKS and error of the judged keypoints or instances."""
    accuracy = row.accuracy
    if kind == "instances":
        judged = accuracy.judged
        return row.confidence.instance[judged], accuracy.oks[judged], accuracy.instance_error[judged]
    if row.confidence.keypoint is None:
        return None
    known = ~np.isnan(accuracy.keypoint_oks)
    return row.confidence.keypoint[known], accuracy.keypoint_oks[known], accuracy.keypoint_error[known]


def _reliability(rows: Sequence[EvaluationRow]) -> Any:
    """Mean OKS over confidence in ten bins, above the counts, for each method's keypoints and instances."""
    shown = []
    for kind in ("keypoints", "instances"):
        for row in rows:
            samples = _samples(row, kind)
            repeats = kind == "keypoints" and row.confidence_name.startswith("mean of")
            if row.confidence_name in _BASELINES or repeats or samples is None or len(samples[0]) == 0:
                continue
            if metrics.is_probability(samples[0]):
                shown.append((row, kind, samples))
    if not shown:
        return None
    shown = shown[:_MAX_DIAGRAMS]
    columns = min(4, len(shown))
    figure, axes = _figure(columns, -(-len(shown) // columns), width=3.6, height=3.9)
    several = len({row.source for row in rows}) > 1
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, (row, kind, (confidence, oks, _)) in zip(axes.flat, shown):
        bins = metrics.reliability_bins(confidence, oks)
        place = np.searchsorted(bins.edges[1:-1], bins.confidence)
        middle = (bins.edges[:-1] + bins.edges[1:])[place] / 2
        counts = axis.twinx()
        counts.bar(middle, bins.count, width=0.1, color="0.85", edgecolor="white", zorder=1)
        counts.set_ylim(0, 4 * bins.count.max())
        counts.set_yticks([0, bins.count.max()], ["0", f"{bins.count.max():,}"], fontsize=7, color="0.5")
        axis.set_zorder(counts.get_zorder() + 1)
        axis.patch.set_visible(False)
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        axis.plot(bins.confidence, bins.accuracy, color="tab:blue", linewidth=1)
        few = bins.count < _FEW
        for chosen, fill in ((~few, "tab:blue"), (few, "white")):
            where = bins.confidence[chosen], bins.accuracy[chosen]
            axis.plot(*where, "o", markersize=4.5, color="tab:blue", markerfacecolor=fill)
        ece = metrics.expected_calibration_error(confidence, oks)
        name = f"{row.source}\n{row.confidence_name}" if several else row.confidence_name
        axis.set_title(f"{name}\n{kind}, n = {len(oks):,}, ECE {ece:.3f}", fontsize=9)
        axis.set(xlabel="confidence", ylabel=f"mean OKS (grey: counts; hollow: < {_FEW})", xlim=(0, 1), ylim=(0, 1))
    return figure


def _sparsification(rows: Sequence[EvaluationRow]) -> Any:
    """Error of what remains as the least confident are removed, with the oracle's curve."""
    figure, axes = _figure(2, 2, width=5.6, height=3.9)
    for column, kind in enumerate(("keypoints", "instances")):
        for line, measure in enumerate(("1 - OKS", "error / falloff length")):
            axis = axes[line, column]
            start = 0.0
            ideals: set[str] = set()
            for row, label, style in _styles(rows):
                samples = _samples(row, kind)
                repeats = kind == "keypoints" and row.confidence_name.startswith("mean of")
                if samples is None or repeats or row.confidence_name == "oracle" or len(samples[0]) == 0:
                    continue
                error = 1 - samples[1] if line == 0 else samples[2]
                curve = metrics.sparsification_curve(samples[0], error)
                ause = metrics.area_under_sparsification_error(samples[0], error)
                axis.plot(*_thinned(curve), label=f"{label}: AUSE {ause:.3f}", **style)
                if row.source not in ideals:
                    ideal = metrics.sparsification_curve(-error, error)
                    colour, dashes = _BASELINES["oracle"]
                    name = None if ideals else "oracle (largest error first)"
                    axis.plot(*_thinned(ideal), color=colour, linestyle=dashes, linewidth=1.2, label=name)
                ideals.add(row.source)
                start = max(start, float(curve[0]))
            axis.set_title(kind, fontsize=10)
            axis.set(xlabel="fraction removed", ylabel=f"mean {measure} of the rest", xlim=(0, 1))
            if ideals:  # a poor order's last few samples may be many times worse: they leave the picture
                axis.set_ylim(0, 1.9 * start if start > 0 else 1)
                axis.legend(fontsize=7, loc="upper center", ncols=2)
    return figure


def _thinned(curve: np.ndarray, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.unique(np.linspace(0, len(curve) - 1, min(points, len(curve))).astype(int))
    return chosen / len(curve), curve[chosen]


def _keypoint_ece(rows: Sequence[EvaluationRow]) -> Any:
    """Calibration error of each keypoint: where the confidence is wrong, and (its sign) in which way."""
    shown = []
    for row, label, style in _styles(rows):
        values = row.confidence.keypoint
        repeats = row.confidence_name in _BARS or row.confidence_name.startswith("mean of")
        if repeats or values is None:
            continue
        per_keypoint = []
        for confidence, oks in zip(values.T, row.accuracy.keypoint_oks.T):
            known = ~np.isnan(oks)
            probable = known.any() and metrics.is_probability(confidence[known])
            ece = metrics.expected_calibration_error(confidence[known], oks[known]) if probable else np.nan
            bias = float(np.mean(confidence[known] - oks[known])) if known.any() else np.nan
            per_keypoint.append((ece, bias))
        shown.append((label, style["color"], np.array(per_keypoint)))
    if not shown or all(np.isnan(values).all() for *_, values in shown):
        return None
    names = rows[0].keypoint_names
    figure, axes = _figure(1, 2, width=max(7.0, 0.16 * len(names) * len(shown) + 4), height=2.8)
    width = 0.8 / len(shown)
    for line, title in enumerate(("ECE", "mean confidence - mean OKS")):
        axis = axes[line, 0]
        for number, (label, colour, values) in enumerate(shown):
            place = np.arange(len(names)) + (number - (len(shown) - 1) / 2) * width
            axis.bar(place, np.nan_to_num(values[:, line]), width, label=label, color=colour)
            for x in place[np.isnan(values[:, line])]:
                axis.text(x, 0, "n/a", ha="center", va="bottom", fontsize=6, color="0.5", rotation=90)
        axis.axhline(0, color="0.3", linewidth=0.8)
        labels = [name.replace("_", " ") for name in names] if line else []
        axis.set_xticks(np.arange(len(names)), labels or [""] * len(names), rotation=60, ha="right", fontsize=7)
        axis.set_ylabel(title, fontsize=8)
        axis.margins(x=0.01)
    axes[0, 0].legend(fontsize=8)
    if any(np.isnan(values[:, 0]).any() for *_, values in shown):
        axes[0, 0].set_title("n/a: no truth, or confidences outside [0, 1]", fontsize=8, color="0.4", loc="left")
    return figure


def _thresholds(rows: Sequence[EvaluationRow]) -> Any:
    """Share of right keypoints and persons at or above each score, with the bound that is guaranteed."""
    shown = [row for row in rows if row.confidence_name == "as given"]
    figure, axes = _figure(2, width=5.6, height=3.9)
    drawn = False
    for axis, kind in zip(axes[0], ("keypoints", "persons")):
        for number, row in enumerate(shown):
            known = ~np.isnan(row.accuracy.keypoint_oks)
            image = np.broadcast_to(row.image[:, None], known.shape)[known]
            samples = _samples(row, "instances" if kind == "persons" else kind)
            if samples is None:
                continue
            image = row.image[row.accuracy.judged] if kind == "persons" else image
            curve = np.array(precision_curve(samples[0], samples[1] >= 0.5, image))
            if len(curve) == 0:
                continue
            drawn = True
            label = row.source if len(shown) > 1 else "precision"
            axis.plot(curve[:, 0], curve[:, 2], color=f"C{number}", label=label)
            axis.plot(curve[:, 0], curve[:, 3], color=f"C{number}", linestyle=":", label=f"{label}, guaranteed")
        axis.set_title(f"{kind}: right is OKS >= 0.5", fontsize=10)
        axis.set(xlabel="score >=", ylabel="share of right ones", ylim=(0, 1.01))
        if axis.lines:
            axis.legend(fontsize=7)
    return figure if drawn else None


_FIGURES: dict[str, Callable[[Sequence[EvaluationRow]], Any]] = {
    "precision_recall": _precision_recall,
    "reliability": _reliability,
    "sparsification": _sparsification,
    "keypoint_ece": _keypoint_ece,
    "thresholds": _thresholds,
}
