"""Fabric changes nothing on one CPU process, and two processes agree with one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from calibration.ccnet.altered_views import cut_views
from calibration.ccnet.calibrate import calibrate
from calibration.ccnet.feature_cache import CacheOptions, cache_features
from calibration.ccnet.files import load_ccnet
from calibration.ccnet.hardware import Hardware
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.options import CalibrateOptions
from calibration.ccnet.training import BranchTraining, TrainingPersons, train_branch
from pose2d.datasets.coco import read_coco
from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stick")
    write_stick_figures(root, "calibration", 16)
    torch.manual_seed(0)
    network: Any = build_network("sbl-small")
    torch.nn.init.normal_(network.final_layer.weight, std=0.1)
    save_file(network.state_dict(), root / "pose.safetensors")
    return root


def test_one_process_of_fabric_is_as_none(root, tmp_path):
    network, dataset = build_network("sbl-small").eval(), read_coco(root, "calibration")
    fabric = Hardware().fabric()
    views = cut_views(dataset, (96, 128), 1.25)
    caches = [
        [
            cache_features(network, dataset, tmp_path / name, CacheOptions("whole"), views=view, fabric=one)
            for view in (None, views)
        ]
        for name, one in (("a", None), ("b", fabric))
    ]
    np.testing.assert_array_equal(caches[0][1].feature, caches[1][1].feature)
    config = BranchTraining(epochs=3, batch=8)
    plain, wrapped = (
        train_branch(TrainingPersons(cache, views=[cut]), config, fabric=one)
        for (cache, cut), one in zip(caches, (None, fabric), strict=True)
    )
    np.testing.assert_allclose(plain.held_out_loss, wrapped.held_out_loss, rtol=1e-6)
    expected = calibrate_cache(plain.branch, caches[0][0])
    found = calibrate_cache(wrapped.branch, caches[1][0])
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)
    np.testing.assert_allclose(found.presence, expected.presence, atol=1e-6)


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(InputError, match="--devices 99 --device cuda"):
        Hardware(device="cuda", devices=99).fabric()
    with pytest.raises(InputError, match="--devices 0"):
        Hardware(devices=0).fabric()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_agree_with_one(root, tmp_path):
    found = []
    for processes in (1, 2):
        options = CalibrateOptions(
            root,
            tmp_path / f"{processes}.safetensors",
            checkpoint=root / "pose.safetensors",
            head="linear",
            views=("cut",),
            cache=tmp_path / f"cache{processes}",
            hardware=Hardware(devices=processes),
        )
        lines = calibrate(options)
        assert "16 persons" in lines[1] or "persons, cut" in lines[0]
        found.append(load_ccnet(options.out))
    caches = [np.load(next((tmp_path / f"cache{n}").glob("*/xy_px.npy")).parent / "xy_px.npy") for n in (1, 2)]
    assert {len(c) for c in caches} == {16}
    one, two = (branch.state_dict() for branch in found)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=0.02, rtol=0.2)
