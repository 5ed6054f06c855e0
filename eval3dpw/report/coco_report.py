"""The page of a COCO evaluation: how each confidence ranks detections, and how well it predicts their OKS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calibration.coco.evaluation import EvaluationRow, KeypointEvaluation
from eval3dpw.drawing.overlay import row_colours
from eval3dpw.report.confidence import chart_scores
from eval3dpw.report.page import hex_colour, write_page

_RANKING = ("AP", "AP50", "AP75", "APM", "APL", "AR")
_REFERENCES = ("constant", "random", "oracle")
_SEED = 0
_MOST_SAMPLES = 200_000


@dataclass(frozen=True)
class CocoPage:
    """What the page shows of an evaluation, ready for JSON; the template reads it by these names."""

    title: str
    num_images: int
    num_persons: int
    num_detections: int
    rows: list[str]
    """Short names of the confidences."""
    shown: str
    """The one that is shown first."""
    colours: dict[str, str]
    ranking: list[dict[str, Any]]
    """AP and its kin of each row, per cent."""
    instances: dict[str, Any] | None
    """Charts of whole instances."""
    confidence: dict[str, Any] | None
    """Charts of keypoints."""
    notes: list[str]
    record: dict[str, Any]
    """How it was made."""
    metrics: dict[str, str] = field(default_factory=lambda: {"AP": "AP"})
    columns: tuple[str, ...] = _RANKING

    def data(self) -> dict[str, Any]:
        """The part that the page's scripts read."""
        names = ("rows", "shown", "colours", "metrics", "confidence")
        return {name: getattr(self, name) for name in names} | {"frames": []}


def write_coco_report(
    evaluation: KeypointEvaluation, out_html: str | Path, record: Mapping[str, Any] | None = None
) -> Path:
    """Write the page of `coco-eval`; returns its path.

    Args:
        evaluation: what to show.
        out_html: the page to write.
        record: configuration and versions to show at the end.

    Raises:
        InputError: the page cannot be written there.
    """
    names = unique_names(evaluation.rows)
    methods = [name for name, row in zip(names, evaluation.rows, strict=True) if row.confidence_name not in _REFERENCES]
    page = CocoPage(
        title="coco-eval: " + ", ".join(dict.fromkeys(row.source for row in evaluation.rows)),
        num_images=evaluation.num_images,
        num_persons=evaluation.num_persons,
        num_detections=evaluation.num_detections,
        rows=names,
        shown=methods[0] if methods else names[0],
        colours={name: hex_colour(colour) for name, colour in row_colours(tuple(names)).items()},
        ranking=[_ranking(name, row) for name, row in zip(names, evaluation.rows, strict=True)],
        instances=_charts(dict(zip(names, evaluation.rows, strict=True)), instances=True),
        confidence=_charts(dict(zip(names, evaluation.rows, strict=True)), instances=False),
        notes=list(evaluation.notes),
        record=dict(record or {}),
    )
    return write_page("report_coco.html.j2", page, page.data(), out_html)


def unique_names(rows: Sequence[EvaluationRow]) -> list[str]:
    """A short name for each row: the confidence's, with the file's in front where several files are judged."""
    several = len({row.source for row in rows}) > 1
    return [row.name if several else row.label for row in rows]


def _ranking(name: str, row: EvaluationRow) -> dict[str, Any]:
    values = {key: None if (value := getattr(row.stats, key)) < 0 else 100 * value for key in _RANKING}
    found = row.intervals.get("AP")
    interval = None if found is None or not np.isfinite(found.low) else [100 * found.low, 100 * found.high]
    return {"name": name, "values": values, "interval": interval, "winnable": 100 * row.winnable}


def _charts(rows: Mapping[str, EvaluationRow], instances: bool) -> dict[str, Any] | None:
    """Reliability, sparsification and scatter of keypoints, or of whole instances."""
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, row in rows.items():
        accuracy = row.accuracy
        if instances:
            judged = accuracy.judged
            scores[name] = row.confidence.instance[judged], accuracy.oks[judged]
        elif row.confidence.keypoint is not None and row.confidence_name not in _REFERENCES:
            known = ~np.isnan(accuracy.keypoint_oks)
            pair = row.confidence.keypoint[known], accuracy.keypoint_oks[known]
            if not any(_same(pair, other) for other in scores.values()):  # rows may differ in whole instances alone
                scores[name] = pair
    scores = {name: _thinned(*pair) for name, pair in scores.items() if len(pair[0])}
    return chart_scores(scores) if scores else None


def _same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _thinned(confidence: np.ndarray, oks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A random part of very many samples: diagrams look the same, and are drawn at once."""
    if len(oks) <= _MOST_SAMPLES:
        return confidence, oks
    kept = np.random.default_rng(_SEED).permutation(len(oks))[:_MOST_SAMPLES]
    return confidence[kept], oks[kept]
