"""A family that nothing else knows needs its module and an entry of the catalogue, and everything runs it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pose2d.errors import InputError
from pose2d.inference import infer
from pose2d.networks.base import InputSpec
from pose2d.networks.catalogue import NETWORKS, Entry, build_network
from pose2d.networks.heatmap import HeatmapNetwork, HeatmapPrediction
from pose2d.networks.measure import measure_network
from pose2d.networks.options import NetworkOptions
from pose2d.networks.packaged import load_by_options, load_network
from pose2d.skeletons import COCO17


class Strided(HeatmapNetwork):
    """One convolution of stride 4 and a last layer."""

    def __init__(self, num_keypoints: int, input_spec: InputSpec) -> None:
        super().__init__(num_keypoints, input_spec)
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.final_layer = nn.Conv2d(8, num_keypoints, 1)

    def forward(self, images: torch.Tensor) -> HeatmapPrediction:
        feature = torch.relu(self.stem(images))
        return HeatmapPrediction(self.final_layer(feature), feature)


def test_a_new_family_is_listed_loaded_refused_and_run(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "strided", Entry("Strided", InputSpec(size_wh=(64, 96)), Strided))
    assert measure_network("strided").input == "96x64"
    trained, path = build_network("strided"), tmp_path / "strided.safetensors"
    save_file(trained.state_dict(), path)
    network, _ = load_network("strided", path)
    assert network.identity == trained.identity
    pictures = list(np.random.default_rng(0).integers(0, 255, (2, 100, 80, 3), dtype=np.uint8))
    boxes = np.array([[5.0, 5.0, 60.0, 80.0], [0.0, 10.0, 70.0, 70.0]])
    usual = infer(network, pictures, boxes, COCO17)
    fast = load_by_options(NetworkOptions(network="strided", checkpoint=path), COCO17)
    assert fast.checkpoint.layout == "Strided (this project)"
    np.testing.assert_allclose(infer(fast.network, pictures, boxes, COCO17).poses.xy_px, usual.poses.xy_px, atol=1e-3)
    with pytest.raises(InputError, match="is of 17 keypoints, the Strided network was built for 5"):
        load_network("strided", path, 5)
