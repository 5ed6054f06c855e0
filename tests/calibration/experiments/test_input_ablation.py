"""Inputs beside the penultimate features are what they say, and are the right persons'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import calibration.experiments.input_ablation as module
from calibration.ccnet.feature_cache import CacheOptions, cache_features
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.training import BranchTraining, TrainingPersons, train_branch
from calibration.experiments.input_ablation import (
    coordinates_and_scores,
    fine_tuned_features,
    low_level_features,
    penultimate,
    with_inputs,
)
from pose2d.crops import box_to_crop, warp_crop
from pose2d.datasets.coco import read_coco
from pose2d.errors import InputError
from pose2d.files.images import read_image
from pose2d.networks.catalogue import build_network
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    network: Any = build_network("sbl-small").eval().requires_grad_(False)
    torch.nn.init.normal_(network.final_layer.weight, std=0.1)
    return network


@pytest.fixture(scope="module")
def cache(network, tmp_path_factory):
    root = tmp_path_factory.mktemp("stick")
    write_stick_figures(root, "train", 8)
    return cache_features(network, read_coco(root, "train"), root / "cache", CacheOptions("whole"))


def test_low_level_features_are_the_first_stage_on_a_grid(network, cache, tmp_path, monkeypatch):
    found = low_level_features(network, cache, tmp_path, batch=3)
    row = 5
    spec = network.input_spec
    affine = box_to_crop(cache.poses.boxes_xywh[row : row + 1], spec.size_wh, spec.padding, spec.udp)[0]
    crop = warp_crop(read_image(cache.dataset.image_paths[row]), affine, spec.size_wh)
    images = network.input_spec.normalise(torch.from_numpy(crop)[None])
    with torch.inference_mode():
        stage = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(images)))))
    expected = functional.avg_pool2d(stage, (stage.shape[2] // 4, stage.shape[3] // 3)).flatten(1)
    np.testing.assert_allclose(found[row], expected[0].numpy(), atol=1e-4)
    monkeypatch.setattr(module, "_early_stage", lambda _: pytest.fail("ran the network again"))
    np.testing.assert_array_equal(low_level_features(network, cache, tmp_path), found)


def test_network_without_an_early_stage_is_refused(network, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_EARLY", ("stem",))
    with pytest.raises(InputError, match="SBL has no early stage"):
        low_level_features(network, cache, tmp_path)


def test_inputs_stand_in_a_row_and_train_a_branch(cache):
    joined = with_inputs(cache, penultimate(cache), coordinates_and_scores(cache))
    assert joined.feature.shape == (8, 64 + 3 * 17)
    np.testing.assert_allclose(
        joined.feature[:, :64], np.asarray(cache.feature, np.float32).mean(axis=(2, 3)), atol=1e-5
    )
    np.testing.assert_allclose(joined.feature[:, 64:98].reshape(8, 17, 2), cache.xy_fraction, rtol=1e-6)
    np.testing.assert_allclose(joined.feature[:, 98:], cache.poses.raw_score, rtol=1e-6)
    branch = train_branch(TrainingPersons(joined), BranchTraining(head="linear", epochs=2)).branch
    assert calibrate_cache(branch, joined).confidence.shape == (8, 17)


def test_fine_tuned_copy_learns_and_leaves_the_network_alone(network, cache):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train, other = fine_tuned_features(network, cache, [cache], minutes=0.0, lr=1e-3, batch=4)
    np.testing.assert_allclose(train, other, atol=1e-5)
    assert train.shape == penultimate(cache).shape
    # Half floats of the cache would explain a thousandth.
    assert np.abs(train - penultimate(cache)).max() > 0.01
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in network.parameters())
