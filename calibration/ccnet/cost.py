"""What CCNet adds to a pose network: parameters and multiply-accumulates, counted without computing anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from calibration.ccnet.branches import BranchInputs
from calibration.ccnet.feature_parts import FeatureParts
from calibration.ccnet.features import PEAK_STATISTICS
from calibration.ccnet.model import BranchSpec, CCNet
from calibration.ccnet.options import Head
from calibration.ccnet.training import BRANCH_TRAININGS
from pose2d.networks.catalogue import Size, build_network
from pose2d.skeletons import COCO17, Skeleton


@dataclass(frozen=True)
class CCNetCost:
    """Of one person.

    Attributes:
        parameters: trained numbers.
        macs: multiply-accumulates of convolutions and matrix products.
    """

    parameters: int
    macs: int


def measure_ccnet(name: str, head: Head, skeleton: Skeleton = COCO17, input_size: Size | None = None) -> CCNetCost:
    """CCNet's cost on a network's features.

    Args:
        name: of the network, as the catalogue has it.
        head: form of the branch, with as many members as `BRANCH_TRAININGS` gives it, and presence.
        skeleton: whose keypoints both have.
        input_size: width and height of the network's crops; None for its default.

    Raises:
        InputError: there is no such network, or its input cannot have that size.
    """
    keypoints = len(skeleton)
    with torch.device("meta"):
        network = build_network(name, keypoints, input_size)
        width, height = network.input_spec.size_wh
        feature = network.eval()(torch.empty(1, 3, height, width)).feature
        members = BRANCH_TRAININGS[head].members
        spec = BranchSpec(head, skeleton.name, feature.shape[1], feature.ndim == 4, name, "", members, presence=True)
        branch = CCNet(spec).eval()
        shapes = ((keypoints,), (keypoints, 2), (keypoints, PEAK_STATISTICS), (2,))
        inputs = BranchInputs(FeatureParts(feature), *(torch.empty(1, *shape) for shape in shapes))
    with FlopCounterMode(display=False) as counter:
        branch(inputs)
    return CCNetCost(branch.num_parameters, counter.get_total_flops() // 2)
