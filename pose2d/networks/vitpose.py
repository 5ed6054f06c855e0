"""ViTPose (Xu et al., NeurIPS 2022): a plain vision transformer with a small head.

The network is that of the package ``transformers``; here stand only its sizes, its input and its decoding.
"""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from pose2d.errors import InputError
from pose2d.networks.base import InputSpec
from pose2d.networks.heatmap import HeatmapNetwork, HeatmapPrediction

VITPOSE_INPUT = InputSpec(udp=True, flip_shift=False)
_PATCH = 16

Head = Literal["classic", "simple"]

_SIZES = {"s": (384, 12, 12), "b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)}
"""Channels, layers and attention heads."""


class ViTPose(HeatmapNetwork):
    """Heatmap network whose state dict is that of ``VitPoseForPoseEstimation`` (``backbone``, ``head``).

    Args:
        size: "s", "b", "l" or "h".
        num_keypoints: heatmaps.
        head: "classic" (two transposed convolutions) or "simple" (a 3x3 convolution on the map enlarged four times).
        input_spec: how the input is made.

    Raises:
        InputError: the package ``transformers`` is missing.
    """

    last_entry = "head.conv.bias"

    def __init__(
        self,
        size: Literal["s", "b", "l", "h"] = "b",
        num_keypoints: int = 17,
        head: Head = "classic",
        input_spec: InputSpec = VITPOSE_INPUT,
    ) -> None:
        super().__init__(num_keypoints, input_spec, decoding="dark-udp")
        model = _build(size, num_keypoints, head, input_spec)
        self.head_kind = head
        self.backbone: Any = model.backbone
        self.head: Any = model.head

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> HeatmapPrediction:
        """Heatmaps at a quarter of the images' size, and the map that the last convolution reads."""
        tokens = self.backbone(images).feature_maps[-1]
        width, height = self.input_spec.size_wh
        x = tokens.transpose(1, 2).unflatten(2, (height // _PATCH, width // _PATCH))
        head = self.head
        if self.head_kind == "simple":
            feature = head.upsampling(head.activation(x))
        else:
            feature = head.relu1(head.batchnorm1(head.deconv1(x)))
            feature = head.relu2(head.batchnorm2(head.deconv2(feature)))
        return HeatmapPrediction(head.conv(feature), feature)


def _build(size: str, num_keypoints: int, head: Head, input_spec: InputSpec) -> nn.Module:
    try:
        from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    except ImportError:
        raise InputError("ViTPose needs the package transformers: pip install transformers") from None
    channels, layers, attention_heads = _SIZES[size]
    backbone = VitPoseBackboneConfig(
        image_size=(input_spec.size_wh[1], input_spec.size_wh[0]),
        hidden_size=channels,
        num_hidden_layers=layers,
        num_attention_heads=attention_heads,
        layer_norm_eps=1e-6,  # the official value; the package's default is 1e-12
        out_indices=[layers],  # type: ignore[call-arg]
    )
    names = {number: str(number) for number in range(num_keypoints)}
    config = VitPoseConfig(backbone_config=backbone, use_simple_decoder=head == "simple", id2label=names)
    return VitPoseForPoseEstimation(config)
