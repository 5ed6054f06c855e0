"""The same network, faster to run: what can be computed once is, and memory lies as convolutions read it."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pose2d.networks.base import TorchPoseNetwork

Network = TypeVar("Network", bound=TorchPoseNetwork)


def prepare_for_inference(network: Network) -> Network:
    """Put a network into evaluation mode, fold its batch norms into the convolutions before them, lay it channels last.

    Outputs change by rounding only, and the identity stays that of the weights as loaded. The network is changed in
    place: load its checkpoint before, do not train or save it afterwards.
    """
    network.fix_identity()
    network.eval()
    with torch.no_grad():
        for parent in list(network.modules()):
            _fold(parent)
    ready: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready


def _fold(parent: nn.Module) -> None:
    """Fold each batch norm registered right behind a convolution: all networks here run them in that order."""
    children = list(parent.named_children())
    for (_, conv), (name, norm) in pairwise(children):
        if not (isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        transposed = isinstance(conv, nn.ConvTranspose2d)
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias, transposed
        )
        conv.weight, conv.bias = weight, bias
        setattr(parent, name, nn.Identity())
