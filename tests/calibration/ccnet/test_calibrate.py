"""From a network and a folder in COCO's layout to a CCNet and the tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from calibration.ccnet.calibrate import calibrate
from calibration.ccnet.feature_cache import CacheOptions, cache_features
from calibration.ccnet.files import load_ccnet
from calibration.ccnet.options import CalibrateOptions
from calibration.ccnet.splits import target_cells
from calibration.ccnet.training import BRANCH_TRAININGS, TrainingPersons
from calibration.coco.evaluation import Confidence
from calibration.coco.matching import average_precision, match
from calibration.commands.ablate import Ablate
from calibration.experiments.ablations import ablate
from calibration.experiments.comparison import compare_confidences, detections_of, roc_auc, truth_of
from calibration.experiments.methods import all_confidences, temperature_scaled
from calibration.experiments.options import AblateOptions
from calibration.experiments.theory_figures import draw_theory
from pose2d.datasets.coco import read_coco
from pose2d.datasets.coco_ap import average_precision_percent as pycocotools_ap
from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from pose2d.networks.packaged import load_network
from pose2d.training.options import TrainPoseOptions
from pose2d.training.trainer import export_half, train_pose
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stick")
    for seed, (split, count) in enumerate((("train", 24), ("calibration", 16), ("validation", 6), ("test", 8))):
        write_stick_figures(root, split, count, seed, first_id=100 * seed + 1)
    return root


@pytest.fixture(scope="module")
def checkpoint(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("net")
    config = TrainPoseOptions(root, out, minutes=0.1, batch=8, evaluate_minutes=9.0, early_share=0.0, lr=3e-3)
    export_half(train_pose(config).checkpoint, out / "half.safetensors", {"note": "test"})
    return out / "half.safetensors"


@pytest.fixture(scope="module")
def caches(root, checkpoint, tmp_path_factory):
    network, _ = load_network("sbl-small", checkpoint)
    directory = tmp_path_factory.mktemp("features")
    return [
        cache_features(network, read_coco(root, split), directory, CacheOptions("coarse"))
        for split in ("calibration", "test")
    ]


def test_half_floats_load_and_keep_metadata(checkpoint):
    network, path = load_network("sbl-small", checkpoint)
    assert path == checkpoint
    assert next(network.parameters()).dtype == torch.float32
    assert target_cells(network) == 1.2
    assert checkpoint.stat().st_size < 7e6


def test_network_without_weights_is_refused():
    with pytest.raises(InputError, match="without weights"):
        load_network("hrnet-w32")


def test_target_width_as_published_or_refused():
    assert target_cells(build_network("sbl-r50")) == 2.0
    assert target_cells(build_network("sbl-r50", input_size=(288, 384))) == 3.0
    with pytest.raises(InputError, match="heatmap_sigma"):
        target_cells(build_network("sbl-small"))


def test_calibrate_writes_a_ccnet_for_this_network(root, checkpoint, tmp_path):
    options = CalibrateOptions(
        root,
        tmp_path / "c.safetensors",
        checkpoint=checkpoint,
        cache=tmp_path / "cache",
        seen_split="train",
        head="scores",
    )
    lines = calibrate(options)
    assert "too sure" in lines[-1]
    branch = load_ccnet(tmp_path / "c.safetensors")
    assert branch.spec.network == "sbl-small"
    with pytest.raises(InputError, match="person_keypoints_other"):
        calibrate(CalibrateOptions(root, tmp_path / "d.safetensors", checkpoint=checkpoint, split="other"))


def test_tables_are_printed_and_written(root, checkpoint, tmp_path, capsys):
    options = AblateOptions(
        root, tmp_path, checkpoint=checkpoint, what="confidences", cache=tmp_path / "cache", bootstrap=20
    )
    Ablate(options).run()
    printed = capsys.readouterr().out
    ((table,),) = list(ablate(options))
    names = [row[0] for row in table.rows]
    assert names[0] == "constant" and names[-1] == "oracle"
    assert {"raw", "isotonic", "CCNet local", "CCNet linear", "CCNet conv", "MLP on raw scores"} <= set(names)
    text = (tmp_path / "confidences.txt").read_text()
    assert text.splitlines() == [line.rstrip() for line in printed.splitlines()]
    assert text.startswith("sbl-small, 8 persons of test, fitted on 16")
    (written,) = json.loads((tmp_path / "confidences.json").read_text())["tables"]
    assert [row["confidence"] for row in written["rows"]] == names
    raw = next(row for row in written["rows"] if row["confidence"] == "raw")
    assert raw["AP"]["low"] <= raw["AP"]["value"] <= 1 and raw["AP - raw"] is None


@pytest.mark.slow
def test_presence_is_judged_on_cut_persons(root, checkpoint, tmp_path):
    options = AblateOptions(
        root, tmp_path, checkpoint=checkpoint, what="presence", cache=tmp_path / "cache", bootstrap=5
    )
    (tables,) = list(ablate(options))
    titles = ["persons as they are", "persons cut", "presence in persons cut", "persons patched"]
    assert [table.title for table in tables[1:]] == titles
    untaught, taught = tables[3].rows
    assert str(untaught[1]) == "0.500"  # it predicts 1 for every keypoint
    assert taught[0] == "CCNet + cut, patched"
    assert (tmp_path / "presence.txt").is_file()


def test_comparison_agrees_with_pycocotools(caches):
    _, test = caches
    truth = truth_of(test)
    stats = average_precision(match(truth, detections_of(test, truth)), test.poses.raw_score.mean(axis=1))
    expected = pycocotools_ap(test.dataset, test.poses.xy_px, test.poses.raw_score.mean(axis=1))
    assert pytest.approx(expected, abs=1e-6) == 100 * stats.AP


def test_order_of_constant_and_oracle_and_equal_recall(caches):
    calibration, test = caches
    found = all_confidences(TrainingPersons(calibration), test, 1.2, heads=("scores",))
    rows = compare_confidences(test, found.by_name, ("raw",), found.visibilities, replicates=50)
    by_name = {row.name: row for row in rows}
    assert len({row.ar for row in rows}) == 1
    assert by_name["oracle"].ap == max(row.ap for row in rows)
    assert by_name["oracle"].instance.pearson == pytest.approx(1.0)
    assert by_name["oracle"].keypoint.ause == pytest.approx(0.0)
    gain, span = by_name["oracle"].gains["raw"]
    assert gain == pytest.approx(by_name["oracle"].ap - by_name["raw"].ap)
    assert span.low <= gain + 1e-9
    assert set(BRANCH_TRAININGS) == {"scores", "linear", "conv", "local"}


def test_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    score, label = np.round(rng.uniform(0, 1, (50, 17)), 1), rng.random((50, 17)) < 0.3
    assert roc_auc(score, label) == pytest.approx(roc_auc_score(label.ravel(), score.ravel()))
    assert np.isnan(roc_auc(score, np.ones_like(label)))


def test_temperature_lowers_the_squared_error(caches):
    calibration, _ = caches
    known, truth = calibration.labelled, calibration.keypoint_oks()
    scaled = temperature_scaled(calibration, calibration.poses.raw_score)

    def error(values):
        return ((values - truth)[known] ** 2).mean()

    assert error(scaled) <= error(np.clip(calibration.poses.raw_score, 1e-3, 1 - 1e-3)) + 1e-9


def test_constant_confidence_without_keypoints_is_judged(caches):
    _, test = caches
    (row,) = compare_confidences(test, {"raw": Confidence(test.poses.raw_score.mean(axis=1))}, replicates=5)
    assert row.keypoint is None and not row.gains


def test_theory_is_drawn(tmp_path):
    files = draw_theory(tmp_path)
    assert len(files) == 3
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
