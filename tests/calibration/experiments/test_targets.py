"""OKS against PCK, as targets of training and as measures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.training import BRANCH_TRAININGS, TrainingPersons
from calibration.coco.evaluation import Confidence
from calibration.experiments.targets import (
    Pck,
    judge_targets,
    judged_by_pck,
    target_confidences,
    target_table,
    with_known_sizes,
)
from pose2d.datasets.coco import KeypointDataset
from pose2d.errors import InputError
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, MPII16


def made_up(skeleton, count=40, seed=0, heads=None, noise=0.1):
    """A cache of persons whose predictions are off by known lengths; the feature tells how far."""
    rng = np.random.default_rng(seed)
    k = len(skeleton)
    truth = rng.uniform(0, 200, (count, k, 2))
    distance = rng.gamma(1.0, 8.0, (count, k))
    angle = rng.uniform(0, 2 * np.pi, (count, k))
    xy = truth + distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    dataset = KeypointDataset(
        skeleton=skeleton,
        annotation_file=Path(__file__),
        image_paths=(Path(__file__),) * count,
        image_ids=np.arange(count) // 2,
        annotation_ids=np.arange(count) + 1,
        boxes_xywh=np.tile([0.0, 0.0, 200.0, 200.0], (count, 1)),
        areas=rng.uniform(2e3, 4e4, count),
        xy_px=truth,
        visible=np.where(rng.random((count, k)) < 0.2, 0, 2),
        head_sizes_px=heads,
    )
    score = np.clip(np.exp(-distance / 20) + rng.normal(0, noise, distance.shape), 0.01, 1.0)
    return CachedFeatures(
        dataset=dataset,
        poses=Poses2D(skeleton, xy, score, dataset.boxes_xywh),
        xy_fraction=xy / 200,
        statistics=np.zeros((count, k, 3)),
        scale=np.ones(count),
        feature=np.concatenate([distance, distance**2], axis=1).astype(np.float16),
        network_hash="x",
        cell_px=4.0,
    )


def official_pckh(predicted, truth, missing, headboxes, threshold):
    """PCKh by the steps of `evaluate` in HRNet's lib/dataset/mpii.py; positions are (16, 2, n) and count from 1."""
    jnt_visible = 1 - missing
    uv_err = np.linalg.norm(predicted - truth, axis=1)
    headsizes = np.linalg.norm(headboxes[1, :, :] - headboxes[0, :, :], axis=0) * 0.6
    scaled = uv_err / (headsizes * np.ones((len(uv_err), 1))) * jnt_visible
    jnt_count = np.sum(jnt_visible, axis=1)
    pckh = 100.0 * np.sum((scaled <= threshold) * jnt_visible, axis=1) / jnt_count
    pckh, jnt_count = np.ma.array(pckh, mask=False), np.ma.array(jnt_count, mask=False)
    pckh.mask[6:8] = True
    jnt_count.mask[6:8] = True
    return float(np.sum(pckh * (jnt_count / np.sum(jnt_count).astype(np.float64))))


@pytest.mark.parametrize("threshold", [0.5, 0.1])
def test_pckh_is_the_official_one(threshold):
    boxes = np.random.default_rng(1).uniform(0, 100, (2, 2, 40))
    cache = made_up(MPII16, heads=0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0))
    measure = Pck(threshold)
    ours = 100 * measure(cache)[judged_by_pck(cache)].mean()
    predicted, truth = (xy.transpose(1, 2, 0) + 1.0 for xy in (cache.poses.xy_px, cache.dataset.xy_px))
    missing = (~cache.labelled).T.astype(int)
    assert ours == pytest.approx(official_pckh(predicted, truth, missing, boxes, threshold), abs=1e-10)
    assert measure.name(cache) == {0.5: "PCKh@.5", 0.1: "PCKh@.1"}[threshold]
    confidence = Confidence(cache.poses.raw_score.mean(axis=1), cache.poses.raw_score)
    table = judge_targets(cache, {"raw": confidence}, [measure])
    assert 100 * table.pck[measure.name(cache)] == pytest.approx(ours)


def test_pck_without_heads_is_relative_to_the_persons_area():
    cache = made_up(COCO17)
    distance = np.linalg.norm(cache.poses.xy_px - cache.dataset.xy_px, axis=-1)
    expected = (distance <= 0.1 * np.sqrt(cache.dataset.areas)[:, None]) & cache.labelled
    np.testing.assert_array_equal(Pck(0.1)(cache), expected)
    np.testing.assert_array_equal(judged_by_pck(cache), cache.labelled)
    assert Pck(0.1).name(cache) == "PCK@.1"


def test_persons_without_head_size_are_left_out_or_all_refused():
    heads = np.where(np.arange(40) < 10, np.nan, 20.0)
    cache = made_up(MPII16, heads=heads)
    assert len(with_known_sizes(cache)) == 30
    assert not judged_by_pck(cache)[:10].any()
    assert not judged_by_pck(cache)[:, MPII16.indices(("pelvis", "thorax"))].any()
    nobody = dataclasses.replace(cache, dataset=dataclasses.replace(cache.dataset, head_sizes_px=np.full(40, np.nan)))
    with pytest.raises(InputError, match="nobody's head size is known"):
        with_known_sizes(nobody)


def test_each_target_is_told_best_by_the_branch_that_was_made_for_it(monkeypatch):
    """Raw scores say little here; a forecast of PCK's step is none of OKS's bell."""
    monkeypatch.setitem(BRANCH_TRAININGS, "local", dataclasses.replace(BRANCH_TRAININGS["local"], members=1))
    calibration, test = made_up(COCO17, 300, 1, noise=0.5), made_up(COCO17, 200, 2, noise=0.5)
    measures = [Pck(0.05)]
    found = target_confidences(TrainingPersons(calibration), test, measures, "made up")
    assert list(found) == ["raw", "CCNet for OKS", "CCNet for PCK@.05"]
    table = judge_targets(test, found, measures, replicates=50)
    rows = {row.name: row for row in table.rows}
    assert rows["CCNet for PCK@.05"].ause["PCK@.05"] < rows["raw"].ause["PCK@.05"]
    assert rows["CCNet for OKS"].ause["OKS"] < rows["CCNet for PCK@.05"].ause["OKS"]
    for row in rows.values():
        for name, value in row.ause.items():
            assert row.ause_intervals[name].low <= value <= row.ause_intervals[name].high
    said = found["CCNet for PCK@.05"].keypoint[test.labelled]
    assert abs(said.mean() - measures[0](test)[test.labelled].mean()) < 0.08
    shown = target_table(table, "title")
    assert shown.columns[-2:] == ("AUSE OKS", "AUSE PCK@.05") and len(shown.rows) == 3
