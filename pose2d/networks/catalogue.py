"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from pose2d.errors import InputError
from pose2d.networks.base import InputSpec, TorchPoseNetwork
from pose2d.networks.hrnet import HRNET_INPUT, HRNet, HRNetBackbone
from pose2d.networks.ipr import IPR, IPR_INPUT
from pose2d.networks.poseur import POSEUR_INPUT, Poseur, ResNetMaps
from pose2d.networks.resnet import ResNet
from pose2d.networks.rle import RLE, RLE_INPUT, HRNetClassifierBackbone
from pose2d.networks.sbl import SBL, SBL_INPUT
from pose2d.networks.vitpose import VITPOSE_INPUT, ViTPose

Size = tuple[int, int]

SMALL_INPUT = InputSpec(size_wh=(96, 128), udp=True, flip_shift=False)
"""Input of the small networks, which `pose2d.training` trains on the open world with UDP's continuous coordinates."""


def _small_sbl(num_keypoints: int, spec: InputSpec) -> SBL:
    network = SBL(18, num_keypoints, 32, 64, input_spec=spec)
    network.set_decoding("dark-udp")
    return network


_RESNET_MAPS = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class Entry:
    """A network of the catalogue.

    Attributes:
        family: SBL, HRNet, ViTPose, RLE, IPR or Poseur.
        input_spec: the default input.
        build: the network for a number of keypoints and an input.
    """

    family: str
    input_spec: InputSpec
    build: Callable[[int, InputSpec], TorchPoseNetwork]


def _large(spec: InputSpec) -> InputSpec:
    return replace(spec, size_wh=(288, 384))


def _hrnet_maps(width: int) -> tuple[HRNetBackbone, tuple[int, ...]]:
    backbone = HRNetBackbone(width, all_scales=True)
    return backbone, backbone.channels


NETWORKS: dict[str, Entry] = {
    "sbl-r50": Entry("SBL", SBL_INPUT, lambda k, spec: SBL(50, k, input_spec=spec)),
    "sbl-r101": Entry("SBL", SBL_INPUT, lambda k, spec: SBL(101, k, input_spec=spec)),
    "sbl-r152": Entry("SBL", SBL_INPUT, lambda k, spec: SBL(152, k, input_spec=spec)),
    "sbl-r50-caffe": Entry("SBL", SBL_INPUT, lambda k, spec: SBL(50, k, stride_on="caffe", input_spec=spec)),
    "sbl-r101-caffe": Entry("SBL", SBL_INPUT, lambda k, spec: SBL(101, k, stride_on="caffe", input_spec=spec)),
    "sbl-r152-caffe": Entry("SBL", SBL_INPUT, lambda k, spec: SBL(152, k, stride_on="caffe", input_spec=spec)),
    "sbl-small": Entry("SBL", SMALL_INPUT, _small_sbl),
    "hrnet-w32": Entry("HRNet", HRNET_INPUT, lambda k, spec: HRNet(32, k, spec)),
    "hrnet-w48": Entry("HRNet", HRNET_INPUT, lambda k, spec: HRNet(48, k, spec)),
    "vitpose-s": Entry("ViTPose", VITPOSE_INPUT, lambda k, spec: ViTPose("s", k, input_spec=spec)),
    "vitpose-b": Entry("ViTPose", VITPOSE_INPUT, lambda k, spec: ViTPose("b", k, input_spec=spec)),
    "vitpose-b-simple": Entry("ViTPose", VITPOSE_INPUT, lambda k, spec: ViTPose("b", k, "simple", spec)),
    "vitpose-l": Entry("ViTPose", VITPOSE_INPUT, lambda k, spec: ViTPose("l", k, input_spec=spec)),
    "vitpose-h": Entry("ViTPose", VITPOSE_INPUT, lambda k, spec: ViTPose("h", k, input_spec=spec)),
    "rle-r50": Entry("RLE", RLE_INPUT, lambda k, spec: RLE(ResNet(50), k, spec)),
    "rle-r152": Entry("RLE", _large(RLE_INPUT), lambda k, spec: RLE(ResNet(152), k, spec)),
    "rle-hrnet-w32": Entry("RLE", RLE_INPUT, lambda k, spec: RLE(HRNetClassifierBackbone(32), k, spec)),
    "rle-hrnet-w48": Entry("RLE", _large(RLE_INPUT), lambda k, spec: RLE(HRNetClassifierBackbone(48), k, spec)),
    "rle-small": Entry("RLE", SMALL_INPUT, lambda k, spec: RLE(ResNet(18, 32), k, spec)),
    "ipr-r50": Entry("IPR", IPR_INPUT, lambda k, spec: IPR(SBL(50, k, input_spec=spec))),
    "ipr-r50-debiased": Entry("IPR", IPR_INPUT, lambda k, spec: IPR(SBL(50, k, input_spec=spec), debias=True)),
    "ipr-small": Entry("IPR", SMALL_INPUT, lambda k, spec: IPR(SBL(18, k, 32, 64, input_spec=spec))),
    "poseur-r50": Entry("Poseur", POSEUR_INPUT, lambda k, spec: Poseur(ResNetMaps(50), _RESNET_MAPS, k, spec)),
    "poseur-hrnet-w32": Entry("Poseur", POSEUR_INPUT, lambda k, spec: Poseur(*_hrnet_maps(32), k, spec)),
    "poseur-hrnet-w48": Entry("Poseur", _large(POSEUR_INPUT), lambda k, spec: Poseur(*_hrnet_maps(48), k, spec)),
}
"""Every network by name. The small ones are this project's own; "caffe" is explained in :mod:`pose2d.networks.sbl`."""


_LARGEST_SIDE = 2048


def require_known(name: str) -> None:
    """Refuse a name that is not in the catalogue.

    Raises:
        InputError: there is no such network.
    """
    if name not in NETWORKS:
        raise InputError(
            f"there is no network {name!r}; known are {', '.join(NETWORKS)}; one of your own is package.module:factory "
            "or model.onnx"
        )


def build_network(name: str, num_keypoints: int = 17, input_size: Size | None = None) -> TorchPoseNetwork:
    """A network with untrained weights, in training mode.

    Args:
        name: one of ``NETWORKS``.
        num_keypoints: 17 for COCO, 16 for MPII, 133 for COCO-WholeBody, or any other.
        input_size: width and height of the crops; None for the network's default.

    Raises:
        InputError: there is no such network, or its input cannot have that size.
    """
    require_known(name)
    if input_size is not None and any(side % 32 or not 0 < side <= _LARGEST_SIDE for side in input_size):
        raise InputError(
            f"input size {input_size[0]}x{input_size[1]} will not do: both sides must be multiples of 32 up to "
            f"{_LARGEST_SIDE}"
        )
    entry = NETWORKS[name]
    spec = entry.input_spec if input_size is None else replace(entry.input_spec, size_wh=input_size)
    return entry.build(num_keypoints, spec)


def allocate_network(name: str, num_keypoints: int = 17, input_size: Size | None = None) -> TorchPoseNetwork:
    """A network in evaluation mode whose weights are whatever lay in memory: for a checkpoint to fill.

    Saves the time that drawing initial weights takes, most of the time of loading a large network.

    The arguments are those of `build_network`.

    Raises:
        InputError: see :func:`build_network`.
    """
    with torch.device("meta"):
        network = build_network(name, num_keypoints, input_size)
    return network.to_empty(device="cpu").eval()
