"""Image sequences of persons: finding them, reading them, their images, boxes and, where it is known, their truth.

`open_dataset` opens one of `DATASETS` by name; 3DPW's layout is the first, and the open world is written in it. May
import `fitting` and `pose2d`; knows no protocol and no run.
"""

from eval3dpw.dataset.boxes import track_boxes
from eval3dpw.dataset.catalogue import DATASETS, open_dataset
from eval3dpw.dataset.sequences import DetectedKeypoints, SequenceDataset, SequenceRef, Track, TrackTruth
from eval3dpw.dataset.validity import VALIDITY

__all__ = [
    "DATASETS",
    "VALIDITY",
    "DetectedKeypoints",
    "SequenceDataset",
    "SequenceRef",
    "Track",
    "TrackTruth",
    "open_dataset",
    "track_boxes",
]
