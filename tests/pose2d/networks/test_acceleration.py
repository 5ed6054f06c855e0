"""Networks prepared for inference give the same answers."""

from typing import Any

import pytest
import torch
from torch import nn

from pose2d.networks.acceleration import prepare_for_inference
from pose2d.networks.base import predict
from pose2d.networks.hrnet import HRNet
from pose2d.networks.ipr import IPR
from pose2d.networks.resnet import ResNet
from pose2d.networks.rle import RLE
from pose2d.networks.sbl import SBL

NETWORKS = {
    "sbl": lambda: SBL(50, 5, 8, 16),
    "sbl-basic": lambda: SBL(18, 5, 8, 16),
    "hrnet": lambda: HRNet(8, 5),
    "rle": lambda: RLE(ResNet(18, 8), 5),
    "ipr": lambda: IPR(SBL(18, 5, 8, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_stay_and_batch_norms_go(name: str) -> None:
    network: Any = NETWORKS[name]().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
            nn.init.normal_(module.bias, std=0.2)
    if hasattr(network, "final_layer"):
        nn.init.normal_(network.final_layer.weight)
    images = torch.randn(2, 3, 64, 64)
    before = predict(network, images)
    after = predict(prepare_for_inference(network), images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(before.feature, after.feature, rtol=1e-4, atol=1e-4 * float(before.feature.abs().max()))
    reference = before.raw_score if before.heatmaps is None else before.heatmaps
    result = after.raw_score if after.heatmaps is None else after.heatmaps
    assert torch.allclose(reference, result, rtol=1e-4, atol=1e-4 * float(reference.abs().max()))
