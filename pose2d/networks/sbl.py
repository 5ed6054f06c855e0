"""SBL, Simple Baselines (Xiao et al., ECCV 2018): a ResNet, transposed convolutions, a heatmap per keypoint."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from pose2d.networks.base import InputSpec
from pose2d.networks.heatmap import HeatmapNetwork, HeatmapPrediction
from pose2d.networks.resnet import ResNet, Stride

SBL_INPUT = InputSpec(colour="bgr")
"""The official code reads images with OpenCV and never swaps the channels; the statistics are those of RGB."""


class SBL(HeatmapNetwork):
    """Heatmap network under the official state-dict names (`conv1`, `layer*`, `deconv_layers`, `final_layer`).

    Args:
        depth: of the ResNet: 50, 101 or 152 as published, 18 for a small one.
        num_keypoints: heatmaps.
        width: of the ResNet's first stage; 64 as published.
        deconv_channels: of each of the three transposed convolutions; 256 as published.
        stride_on: "caffe" for the checkpoints of that name. They have the same entries as the others and load
            silently wrong here without it; an image of a person shows which of the two a file is: the right one's
            heatmaps reach far higher maxima.
        input_spec: how the input is made; mmpose's checkpoints of this network read RGB.
    """

    def __init__(
        self,
        depth: int = 50,
        num_keypoints: int = 17,
        width: int = 64,
        deconv_channels: int = 256,
        stride_on: Stride = "pytorch",
        input_spec: InputSpec = SBL_INPUT,
    ) -> None:
        super().__init__(num_keypoints, input_spec)
        self.stride_on = stride_on
        backbone = ResNet(depth, width, stride_on)
        # The official state dict has the backbone's layers at its top.
        self.conv1, self.bn1, self.relu, self.maxpool = backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            backbone.layer1,
            backbone.layer2,
            backbone.layer3,
            backbone.layer4,
        )
        layers: list[nn.Module] = []
        channels = backbone.out_channels
        for _ in range(3):
            layers += [
                nn.ConvTranspose2d(channels, deconv_channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(deconv_channels),
                nn.ReLU(inplace=True),
            ]
            channels = deconv_channels
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, num_keypoints, 1)
        # As officially initialised: maps begin near zero, where their targets mostly are.
        nn.init.normal_(self.final_layer.weight, std=0.001)
        if self.final_layer.bias is not None:
            nn.init.zeros_(self.final_layer.bias)

    def adopt_layout(self, layout: str) -> None:
        """Those of mmpose read RGB."""
        if layout == "SBL (mmpose)":
            self.input_spec = replace(self.input_spec, colour="rgb")

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h4 w4"]:
        """Penultimate feature map at a quarter of the images' size, which CCNet reads."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        out: Tensor = self.deconv_layers(x)
        return out

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> HeatmapPrediction:
        """Heatmaps and the feature map before them, both at a quarter of the images' size."""
        feature = self.features(images)
        return HeatmapPrediction(self.final_layer(feature), feature)
