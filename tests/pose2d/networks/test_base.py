"""What names a network, where it runs, and what a network without parameters of torch can do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pose2d.datasets.coco import read_coco
from pose2d.errors import InputError
from pose2d.inference import infer
from pose2d.networks.acceleration import prepare_for_inference
from pose2d.networks.base import TorchPoseNetwork, predict
from pose2d.networks.catalogue import NETWORKS, build_network
from pose2d.networks.heatmap import HeatmapNetwork
from pose2d.networks.ipr import IPR
from pose2d.networks.sbl import SBL
from pose2d.skeletons import COCO17
from tests.function_network import FunctionNetwork
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("stick")
    write_stick_figures(root, "test", 5)
    return read_coco(root, "test")


def test_a_network_without_parameters_gives_poses(dataset):
    network = FunctionNetwork(b"one")
    found = infer(network, dataset.image_paths, dataset.boxes_xywh, COCO17)  # a flip test is asked for by default
    plain = infer(network, dataset.image_paths, dataset.boxes_xywh, COCO17, flip=False)
    assert found.rows.tolist() == list(range(5))
    np.testing.assert_array_equal(found.poses.xy_px, plain.poses.xy_px)
    assert len(np.unique(found.poses.raw_score[:, 0])) == 5


def test_a_flip_test_that_a_network_lacks_is_refused_by_itself():
    with pytest.raises(InputError, match="FunctionNetwork has no flip test"):
        FunctionNetwork(b"").average_flipped(None, None, COCO17.flip_pairs)


def test_identity_follows_weights_and_feature_layer():
    network = SBL(18, 17, 8, 16)
    usual = network.identity
    assert usual == network.identity
    network.feature_layer = "layer4"
    assert network.identity != usual
    network.feature_layer = ""
    with torch.no_grad():
        network.conv1.weight[0, 0, 0, 0] += 1.0
    assert network.identity != usual


def test_identity_is_that_of_the_weights_as_loaded():
    network = SBL(18, 17, 8, 16).eval()
    usual = network.identity
    assert prepare_for_inference(network).identity == usual
    assert network.half().identity == usual


def test_device_of_a_network_of_buffers_alone():
    class Buffers(TorchPoseNetwork):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3, device="meta"))

        def decode(self, raw):
            return raw

    assert Buffers().device == torch.device("meta")
    assert SBL(18, 17, 8, 16).device == torch.device("cpu")


@pytest.mark.parametrize("name", ["sbl-small", "ipr-small", "hrnet-w32", "vitpose-s"])
def test_cells_of_heatmaps_are_as_large_as_said(name):
    if name.startswith("vitpose"):
        pytest.importorskip("transformers")
    network = build_network(name).eval()
    width, height = network.input_spec.size_wh
    maps = predict(network, torch.zeros(1, 3, height, width)).heatmaps
    assert (network.cell_px * maps.shape[3], network.cell_px * maps.shape[2]) == (width, height)


def test_networks_say_what_they_have():
    with torch.device("meta"):
        for name, entry in NETWORKS.items():
            network = build_network(name)
            assert isinstance(network, nn.Module)
            assert network.has_flip_test
            assert (network.cell_px is not None) == isinstance(network, HeatmapNetwork | IPR)
            assert (network.target_cells is not None) == (
                entry.family in ("SBL", "HRNet", "ViTPose") and name != "sbl-small"
            )
