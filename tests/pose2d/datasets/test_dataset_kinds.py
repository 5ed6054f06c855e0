"""The data sets by the name of their layout, and a network trained on other keypoints than COCO's."""

import json

import numpy as np
import pytest

from pose2d.datasets.kinds import DATASETS
from pose2d.datasets.wholebody import read_wholebody
from pose2d.errors import InputError
from pose2d.networks.packaged import load_network
from pose2d.skeletons import WHOLEBODY133, WHOLEBODY_FIELDS
from pose2d.training.options import TrainPoseOptions
from pose2d.training.trainer import train_pose
from tests.dataset_figures import write_mpii_figures, write_wholebody_figures


def test_wholebody_fields_in_order_and_every_fraction_of_a_label(tmp_path):
    write_wholebody_figures(tmp_path, "val2017", 5, seed=2)
    path = tmp_path / "annotations" / "coco_wholebody_val2017_v1.0.json"
    dataset = read_wholebody(tmp_path, "val2017")
    truth = json.loads(path.read_text())["annotations"]
    triples = np.array([[v for field in WHOLEBODY_FIELDS.values() for v in one[field]] for one in truth])
    triples = triples.reshape(5, 133, 3)
    assert len(dataset) == 5 and dataset.head_sizes_px is None
    np.testing.assert_array_equal(dataset.labelled, triples[..., 2] > 0)
    assert (triples[..., 2] == 0.4).any()
    np.testing.assert_allclose(dataset.xy_px[dataset.labelled], triples[..., :2][dataset.labelled])
    # As released, the file says val and its images val2017.
    path.rename(path.with_name("coco_wholebody_val_v1.0.json"))
    assert len(read_wholebody(tmp_path, "val2017")) == 5
    with pytest.raises(InputError, match=r"none of coco_wholebody_train2017\.json, .*_train_v1\.0\.json; there are"):
        read_wholebody(tmp_path, "train2017")


def test_every_layout_has_its_keypoints(tmp_path):
    assert {name: len(kind.skeleton) for name, kind in DATASETS.items()} == {"coco": 17, "mpii": 16, "wholebody": 133}
    write_mpii_figures(tmp_path, "valid", 4, head_boxes=False)
    persons = DATASETS["mpii"].read(tmp_path, "valid")
    chosen = persons.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.head_sizes_px, persons.head_sizes_px[[2, 0]])
    assert sum(len(field) > 0 for field in WHOLEBODY_FIELDS) == len(WHOLEBODY133.parts) - 1


def test_a_network_of_mpiis_keypoints_is_trained_and_loaded(tmp_path):
    for split, count in (("train", 8), ("valid", 3)):
        write_mpii_figures(tmp_path / "mpii", split, count)
    config = TrainPoseOptions(
        tmp_path / "mpii",
        tmp_path / "run",
        dataset="mpii",
        validation_split="valid",
        minutes=0.02,
        batch=4,
        early_share=0.0,
    )
    network, _ = load_network("sbl-small", train_pose(config).checkpoint, 16)
    assert network.num_keypoints == 16
    with pytest.raises(InputError, match="COCO's 17 keypoints and 16 are needed"):
        load_network("sbl-small", None, 16)
