"""The data sets that commands read, by the name of their layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pose2d.datasets.coco import KeypointDataset, read_coco
from pose2d.datasets.mpii import read_mpii
from pose2d.datasets.wholebody import read_wholebody
from pose2d.names import DatasetName
from pose2d.skeletons import COCO17, MPII16, WHOLEBODY133, Skeleton


@dataclass(frozen=True)
class DatasetKind:
    """A layout of files.

    Attributes:
        skeleton: the keypoints that it annotates.
        read: the persons of a split of the directory.
    """

    skeleton: Skeleton
    read: Callable[[Path, str], KeypointDataset]


DATASETS: dict[DatasetName, DatasetKind] = {
    "coco": DatasetKind(COCO17, read_coco),
    "mpii": DatasetKind(MPII16, read_mpii),
    "wholebody": DatasetKind(WHOLEBODY133, read_wholebody),
}
"""COCO's layout (`annotations/`, `images/<split>` or `<split>`), MPII's (`annot/`, `images/`), COCO-WholeBody's."""
