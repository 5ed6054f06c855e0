"""CCNet: a light branch on a frozen pose network that predicts how right each keypoint is, and whether it is there.

Four forms of the branch share one interface:

* `linear`: global average pooling and one linear layer, as in the paper's supplement;
* `conv`: the convolutional branch of about 0.08 M parameters that table 2's figures imply;
* `local`: this project's form. Both of the paper's read the feature map as a whole; this one also reads the features
  at each predicted keypoint, the shape of each heatmap's peak, where the keypoints lie in the crop, and the size of
  the box in the image. The OKS depends on all of these, and the crop hides the last. Three small ones are averaged;
* `scores`: a small perceptron on the raw scores alone, without any feature: the control that the others have to beat.

Outputs are for each keypoint a confidence (expected OKS), a visibility (probability of a label) and a presence
(probability that it lies in the picture at all). The pose network is not touched: keypoints and raw scores are the same
with and without a branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from calibration.calibrated_poses import CalibratedPoses2D
from calibration.ccnet.branches import BRANCHES, EXTRA, Branch, BranchInputs, BranchShape, Standard
from calibration.ccnet.feature_parts import FeatureParts
from calibration.ccnet.features import CachedFeatures, peak_statistics
from calibration.ccnet.options import Head
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.poses import Poses2D
from pose2d.skeletons import SKELETONS, Skeleton


@dataclass(frozen=True)
class BranchOutput:
    """A branch's predictions for a batch.

    Attributes:
        confidence: expected OKS of each keypoint, in (0, 1).
        visibility_logit: logit of the probability that the keypoint is labelled.
        presence_logit: logit of the probability that it lies in the picture and the crop; None: never learnt.
        extra: further outputs for losses that learn a variance or evidence; the paper's loss leaves them alone.
    """

    confidence: Float[Tensor, "b k"]
    visibility_logit: Float[Tensor, "b k"]
    extra: Float[Tensor, "b k 3"]
    presence_logit: Float[Tensor, "b k"] | None = None

    @property
    def visibility(self) -> Float[Tensor, "b k"]:
        """Probability that the keypoint is labelled."""
        return torch.sigmoid(self.visibility_logit)

    @property
    def presence(self) -> Float[Tensor, "b k"]:
        """Probability that the keypoint lies in the picture; 1 from a branch that never learnt it."""
        if self.presence_logit is None:
            return torch.ones_like(self.visibility_logit)
        return torch.sigmoid(self.presence_logit)


@dataclass(frozen=True)
class BranchSpec:
    """What a branch was built for; a branch file is refused for anything else.

    Attributes:
        head: form of the branch.
        skeleton: name of the keypoint set.
        channels: of the penultimate feature.
        feature_is_map: whether it is a map rather than a vector.
        network: name of the pose network.
        network_hash: SHA-256 of its parameters.
        members: branches of this form that were trained apart and averaged.
        presence: whether it learnt which keypoints lie outside the picture; older files do not record it.
        size_wh: of the crops that it learnt from, in pixels; None in older files, which do not record it.
    """

    head: Head
    skeleton: str
    channels: int
    feature_is_map: bool
    network: str
    network_hash: str
    members: int = 1
    presence: bool = False
    size_wh: tuple[int, int] | None = None


class CCNet(nn.Module):
    """A confidence branch.

    Args:
        spec: what it is for.
    """

    def __init__(self, spec: BranchSpec) -> None:
        super().__init__()
        self.spec = spec
        keypoints = len(SKELETONS[spec.skeleton])
        if spec.head not in BRANCHES:
            raise InputError(f"there is no branch {spec.head!r}; known are {', '.join(BRANCHES)}")
        shape = BranchShape(spec.channels, spec.feature_is_map, keypoints, outputs=2 + EXTRA + spec.presence)
        self.members = nn.ModuleList(BRANCHES[spec.head](shape) for _ in range(spec.members))

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        """What of the inputs the trained layers read; it is small, and the same in every epoch."""
        return cast(Branch, self.members[0]).condense(inputs)

    def condense_for_training(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        """`condense` with the large ones as half floats."""
        member = cast(Branch, self.members[0])
        return tuple(x.half() if i in member.in_half else x for i, x in enumerate(member.condense(inputs)))

    def decide(self, *condensed: Tensor) -> BranchOutput:
        """Confidences, visibilities and presences from condensed inputs."""
        outputs = torch.stack([member(*condensed) for member in self.members])
        confidence = torch.sigmoid(outputs[..., 0]).mean(dim=0)
        visibility, *extra = outputs[..., 1:].mean(dim=0).split([1, EXTRA, *[1] * self.spec.presence], dim=-1)
        presence = extra[1].squeeze(-1) if self.spec.presence else None
        return BranchOutput(confidence, visibility.squeeze(-1), extra[0], presence)

    def forward(self, inputs: BranchInputs) -> BranchOutput:
        """Confidences, visibilities and presences of a batch."""
        return self.decide(*self.condense(inputs))

    @property
    def num_parameters(self) -> int:
        """Trained numbers, without the statistics of standardisation."""
        return sum(parameter.numel() for parameter in self.parameters())

    def standardise(self, *condensed: Tensor) -> None:
        """Take mean and spread of the inputs from training data; called once, before training."""
        for module in self.modules():
            if isinstance(module, Standard):
                module.armed = True
        with torch.no_grad():
            self.eval().decide(*condensed)


def inputs_of_cache(cache: CachedFeatures, rows: np.ndarray | slice = slice(None)) -> BranchInputs:
    """Branch inputs of some rows of a cache."""
    return BranchInputs(
        FeatureParts(*(None if part is None else _copied(part[rows]) for part in cache.feature_parts)),
        _float(cache.poses.raw_score[rows]),
        _float(cache.xy_fraction[rows]),
        _float(cache.statistics[rows]),
        _float(np.log(np.maximum(cache.poses.boxes_xywh[rows, 2:], 1.0))),
    )


def inputs_of_batch(part: InferredBatch, size_wh: tuple[int, int]) -> BranchInputs:
    """Branch inputs of a batch fresh from the network; the feature passes through half floats as in a cache."""
    size = np.array(size_wh)
    return BranchInputs(
        FeatureParts(part.output.feature.half().float()),
        _float(part.poses.raw_score),
        _float(part.output.xy_px.double().cpu().numpy() / size),
        peak_statistics(part.output, size_wh).float(),
        _float(np.log(np.maximum(part.poses.boxes_xywh[:, 2:], 1.0))),
    )


def _copied(values: np.ndarray) -> Tensor:
    """Single floats of a part of a file that is mapped for reading."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


@torch.inference_mode()
def calibrate_batch(branch: CCNet, part: InferredBatch, size_wh: tuple[int, int]) -> CalibratedPoses2D:
    """Confidences of a batch fresh from the pose network that the branch was trained for."""
    return _calibrated(part.poses, [branch.eval()(inputs_of_batch(part, size_wh))])


@torch.inference_mode()
def calibrate_cache(branch: CCNet, cache: CachedFeatures, batch: int = 256) -> CalibratedPoses2D:
    """Confidences of all persons of a cache.

    Raises:
        InputError: the cache is of another network or keypoint set than the branch.
    """
    check_fits(branch, cache.network_hash, cache.poses.skeleton, cache.size_wh)
    branch.eval()
    parts = [branch(inputs_of_cache(cache, slice(start, start + batch))) for start in range(0, len(cache), batch)]
    return _calibrated(cache.poses, parts)


def _calibrated(poses: Poses2D, parts: list[BranchOutput]) -> CalibratedPoses2D:
    def whole(values: list[Tensor]) -> np.ndarray:
        return torch.cat(values).double().cpu().numpy()

    return CalibratedPoses2D(
        poses,
        whole([part.confidence for part in parts]),
        whole([part.visibility for part in parts]),
        whole([part.presence for part in parts]),
    )


def check_fits(branch: CCNet, network_hash: str, skeleton: Skeleton, size_wh: tuple[int, int] | None = None) -> None:
    """Refuse a branch on features that it was not trained for.

    Args:
        branch: to use.
        network_hash: identity of the pose network.
        skeleton: of its keypoints.
        size_wh: of its crops in pixels; None where that is not known.

    Raises:
        InputError: network, keypoint set or input size differ.
    """
    spec = branch.spec
    if spec.skeleton != skeleton.name:
        raise InputError(f"this CCNet is for keypoint set {spec.skeleton}, the poses are of {skeleton.name}")
    if spec.network_hash != network_hash:
        raise InputError(
            f"this CCNet was trained on {spec.network} with parameters {spec.network_hash[:12]}, the features are of a "
            f"network with parameters {network_hash[:12]}: calibrate a CCNet for this checkpoint"
        )
    if spec.size_wh is not None and size_wh is not None and spec.size_wh != size_wh:
        known, given = ("x".join(map(str, size)) for size in (spec.size_wh, size_wh))
        raise InputError(f"this CCNet learnt from crops of {known} pixels, these are of {given}: see --input-size")
