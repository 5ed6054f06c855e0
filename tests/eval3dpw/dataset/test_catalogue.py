"""A dataset of another kind needs a subclass and a name: footage without truth, with boxes from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from eval3dpw.dataset.boxes import joint_boxes_of_persons, track_boxes
from eval3dpw.dataset.catalogue import DATASETS, open_dataset
from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef, Track
from eval3dpw.dataset.threedpw import ThreeDPW
from fitting.bodies.body import load_body
from pose2d.errors import InputError


class Footage(SequenceDataset):
    """Boxes of one person in `<sequence>.npy`."""

    splits: ClassVar[tuple[str, ...]] = ("all",)

    def find(self, split: str, names: Sequence[str] = ()) -> tuple[SequenceRef, ...]:
        self.check_split(split)
        found = {path.stem: SequenceRef(path.stem, path) for path in sorted(self.root.glob("*.npy"))}
        return self.chosen(found, names, self.root)

    def read(self, sequence: SequenceRef, with_images: bool = True) -> tuple[Track, ...]:
        boxes = joint_boxes_of_persons(np.load(sequence.path))
        frames = np.arange(len(boxes))
        return (Track(sequence.path, sequence.name, 0, frames, (), None, np.eye(3), boxes, "boxes"),)

    def image_path(self, sequence: str, frame_id: int) -> Path | None:
        return None


def test_a_dataset_by_name(tmp_path):
    assert type(open_dataset(tmp_path)) is ThreeDPW
    with pytest.raises(InputError, match="dataset 'vhs' is unknown: take one of 3dpw"):
        open_dataset(tmp_path, "vhs")


def test_footage_has_boxes_and_no_truth(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "footage", Footage)
    boxes_xywh = np.array([[1.0, 2, 30, 40], [5, 6, 30, 40]])
    np.save(tmp_path / "b.npy", boxes_xywh)
    np.save(tmp_path / "a.npy", boxes_xywh)
    dataset = open_dataset(tmp_path, "footage")
    assert [track.name for track in dataset.tracks("all")] == ["a_0", "b_0"]
    (track,) = dataset.tracks("all", ["b"])
    np.testing.assert_allclose(track_boxes(track), boxes_xywh)
    assert track.select(np.array([1])).frame_ids.tolist() == [1]
    with pytest.raises(InputError, match="b_0 has no ground truth"):
        camera_truth(track, load_body())
    with pytest.raises(InputError, match="split 'test' is unknown: take one of all"):
        dataset.find("test")
