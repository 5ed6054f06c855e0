"""Evaluation of bodies on image sequences: datasets, protocols and metrics, runs, results, reports, and an open world.

May import everything else of the project; nothing imports it but the command line. The names below are imported when
they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval3dpw.dataset import DATASETS, SequenceDataset, Track, open_dataset
    from eval3dpw.judging.comparison import Comparison
    from eval3dpw.judging.evaluation import evaluate_track
    from eval3dpw.judging.metric_table import METRICS
    from eval3dpw.judging.protocols import PROTOCOLS
    from eval3dpw.report.run_report import write_report
    from eval3dpw.results.fits import TrackFits

__all__ = [
    "DATASETS",
    "METRICS",
    "PROTOCOLS",
    "Comparison",
    "SequenceDataset",
    "Track",
    "TrackFits",
    "evaluate_track",
    "open_dataset",
    "write_report",
]

_HOMES = {
    "Comparison": "eval3dpw.judging.comparison",
    "DATASETS": "eval3dpw.dataset.catalogue",
    "METRICS": "eval3dpw.judging.metric_table",
    "PROTOCOLS": "eval3dpw.judging.protocols",
    "SequenceDataset": "eval3dpw.dataset.sequences",
    "Track": "eval3dpw.dataset.sequences",
    "TrackFits": "eval3dpw.results.fits",
    "evaluate_track": "eval3dpw.judging.evaluation",
    "open_dataset": "eval3dpw.dataset.catalogue",
    "write_report": "eval3dpw.report.run_report",
}


def __getattr__(name: str) -> object:
    """The exported names, imported on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
