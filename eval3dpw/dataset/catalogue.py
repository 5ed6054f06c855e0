"""Kinds of datasets by name: `DATASETS` is the whole list."""

from __future__ import annotations

from pathlib import Path

from eval3dpw.dataset.sequences import SequenceDataset
from eval3dpw.dataset.threedpw import ThreeDPW
from pose2d.errors import InputError

DATASETS: dict[str, type[SequenceDataset]] = {
    "3dpw": ThreeDPW,
}
DEFAULT_DATASET = "3dpw"


def open_dataset(root: str | Path, kind: str = DEFAULT_DATASET) -> SequenceDataset:
    """The dataset of a kind in a folder; nothing is read yet.

    Raises:
        InputError: there is no such kind.
    """
    if kind not in DATASETS:
        raise InputError(f"dataset {kind!r} is unknown: take one of {', '.join(DATASETS)}")
    return DATASETS[kind](root)
