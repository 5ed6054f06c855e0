"""Twelve stick figures and a network that was never trained."""

from __future__ import annotations

import pytest
import torch

from pose2d.datasets.coco import KeypointDataset, read_coco
from pose2d.networks.catalogue import build_network
from pose2d.networks.sbl import SBL
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> KeypointDataset:
    """One person in each of twelve images."""
    root = tmp_path_factory.mktemp("stick")
    write_stick_figures(root, "train", 12)
    return read_coco(root, "train")


@pytest.fixture(scope="module")
def network() -> SBL:
    """Small, with heatmaps that differ between keypoints."""
    torch.manual_seed(3)
    network = build_network("sbl-small").eval()
    assert isinstance(network, SBL)
    torch.nn.init.normal_(network.final_layer.weight, std=0.1)
    return network
