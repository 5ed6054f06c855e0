"""CCNet: a light branch on a frozen pose network that says how right each keypoint is, and whether it is there.

Four forms of the branch share one interface:

* `linear`: global average pooling and one linear layer, as the paper's supplement says;
* `conv`: the convolutional branch of about 0.08 M parameters that table 2's figures imply;
* `local`: this project's form. Both of the paper's read the feature map as a whole; this one also reads the features
  at each predicted keypoint, the shape of each heatmap's peak, where the keypoints lie in the crop, and the size of
  the box in the image. The OKS depends on all of these, and the crop hides the last. Three small ones speak together;
* `scores`: a small perceptron on the raw scores alone, without any feature: the control that the others have to beat.

Outputs are a confidence (expected OKS) and a visibility (probability of a label) for each keypoint. The pose network is
not touched: keypoints and raw scores are the same with and without a branch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from calibration.aggregation import visibility_weighted
from calibration.features import PEAK_STATISTICS, CachedFeatures, peak_statistics
from calibration.theory import falloff_px, sigma_from_expected_oks
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.poses import Poses2D
from pose2d.skeletons import SKELETONS, Skeleton
from pose2d.storage import atomic_path, read_npz, require_file, write_npz

Head = Literal["linear", "conv", "local", "scores"]
HEADS: tuple[Head, ...] = ("linear", "conv", "local", "scores")
_EXTRA = 3
_CONTEXT_CELLS = 5


@dataclass(frozen=True)
class BranchInputs:
    """What a branch may read of a batch; all from the frozen network's output and the box.

    Attributes:
        feature: penultimate feature, a map or a vector.
        raw_score: of each keypoint.
        xy_fraction: keypoints as fractions of the crop.
        statistics: of each heatmap's peak (`calibration.features.peak_statistics`).
        box: logarithms of the box's width and height in image pixels.
    """

    feature: Float[Tensor, "b c h w"] | Float[Tensor, "b c"]
    raw_score: Float[Tensor, "b k"]
    xy_fraction: Float[Tensor, "b k 2"]
    statistics: Float[Tensor, "b k s"]
    box: Float[Tensor, "b 2"]

    def __len__(self) -> int:
        return len(self.raw_score)


@dataclass(frozen=True)
class BranchOutput:
    """What a branch says of a batch.

    Attributes:
        confidence: expected OKS of each keypoint, in (0, 1).
        visibility_logit: logit of the probability that the keypoint is labelled.
        extra: further outputs for losses that learn a variance or evidence; the paper's loss leaves them alone.
    """

    confidence: Float[Tensor, "b k"]
    visibility_logit: Float[Tensor, "b k"]
    extra: Float[Tensor, "b k 3"]

    @property
    def visibility(self) -> Float[Tensor, "b k"]:
        """Probability that the keypoint is labelled."""
        return torch.sigmoid(self.visibility_logit)


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
        members: branches of this form that were trained apart and speak together, by their mean.
    """

    head: Head
    skeleton: str
    channels: int
    feature_is_map: bool
    network: str
    network_hash: str
    members: int = 1


class CCNet(nn.Module):
    """A confidence branch.

    Args:
        spec: what it is for.
    """

    def __init__(self, spec: BranchSpec) -> None:
        super().__init__()
        self.spec = spec
        keypoints = len(SKELETONS[spec.skeleton])
        if spec.head not in _BRANCHES:
            raise InputError(f"there is no branch {spec.head!r}; known are {', '.join(_BRANCHES)}")
        self.members = nn.ModuleList(
            _BRANCHES[spec.head](spec.channels, spec.feature_is_map, keypoints) for _ in range(spec.members)
        )

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        """What of the inputs the trained layers read; it is small, and the same in every epoch."""
        return self.members[0].condense(inputs)  # type: ignore[operator]

    def decide(self, *condensed: Tensor) -> BranchOutput:
        """Confidences and visibilities from condensed inputs."""
        outputs = torch.stack([member(*condensed) for member in self.members])
        confidence = torch.sigmoid(outputs[..., 0]).mean(dim=0)
        return BranchOutput(confidence, outputs[..., 1].mean(dim=0), outputs[..., 2:].mean(dim=0))

    def forward(self, inputs: BranchInputs) -> BranchOutput:
        """Confidences and visibilities of a batch."""
        return self.decide(*self.condense(inputs))

    @property
    def num_parameters(self) -> int:
        """Trained numbers, without the statistics of standardisation."""
        return sum(parameter.numel() for parameter in self.parameters())

    def standardise(self, *condensed: Tensor) -> None:
        """Take mean and spread of the inputs from training data; called once, before training."""
        for module in self.modules():
            if isinstance(module, _Standard):
                module.armed = True
        with torch.no_grad():
            self.eval().decide(*condensed)


class _Standard(nn.Module):
    """Subtracts a mean and divides by a spread that it took from its first input after being armed."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.armed = False

    def forward(self, x: Tensor) -> Tensor:
        if self.armed:
            flat = x.flatten(0, -2)
            self.mean.copy_(flat.mean(dim=0))
            self.std.copy_(flat.std(dim=0, correction=0).clamp_min(1e-3))
            self.armed = False
        return ((x - self.mean) / self.std).clamp(-6.0, 6.0)


def _pooled(feature: Tensor) -> Tensor:
    return feature.mean(dim=(2, 3)) if feature.ndim == 4 else feature


class _Linear(nn.Module):
    """Global average pooling, one linear layer (the paper's supplement, B)."""

    def __init__(self, channels: int, feature_is_map: bool, keypoints: int) -> None:
        super().__init__()
        self.standard = _Standard(channels)
        self.linear = nn.Linear(channels, (2 + _EXTRA) * keypoints)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self._keypoints = keypoints

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        return (_pooled(inputs.feature),)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.linear(self.standard(pooled)).unflatten(1, (self._keypoints, 2 + _EXTRA))


class _Convolutional(nn.Module):
    """Average pooling, 1x1 to 16 and 64 channels, two 3x3 of 64, global average pooling, one linear layer.

    0.077 to 0.081 M parameters for the published features of 32 to 256 channels. Of a vector it makes a 1x1 map.
    """

    def __init__(self, channels: int, feature_is_map: bool, keypoints: int) -> None:
        super().__init__()
        self.standard = _Standard(channels)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 64, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
        )
        self.linear = nn.Linear(64, (2 + _EXTRA) * keypoints)
        self._keypoints = keypoints

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        feature = inputs.feature if inputs.feature.ndim == 4 else inputs.feature[..., None, None]
        return (functional.avg_pool2d(feature, 2) if min(feature.shape[2:]) > 1 else feature,)

    def forward(self, feature: Tensor) -> Tensor:
        feature = self.standard(feature.float().movedim(1, -1)).movedim(-1, 1)
        outputs = self.linear(self.layers(feature).mean(dim=(2, 3)))
        return outputs.unflatten(1, (self._keypoints, 2 + _EXTRA))


class _Scores(nn.Module):
    """The control: a perceptron on the raw scores."""

    def __init__(self, channels: int, feature_is_map: bool, keypoints: int) -> None:
        super().__init__()
        self.standard = _Standard(keypoints)
        self.layers = nn.Sequential(
            nn.Linear(keypoints, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, (2 + _EXTRA) * keypoints)
        )
        self._keypoints = keypoints

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        return (inputs.raw_score,)

    def forward(self, raw_score: Tensor) -> Tensor:
        return self.layers(self.standard(raw_score)).unflatten(1, (self._keypoints, 2 + _EXTRA))


class _Local(nn.Module):
    """Features at each keypoint, its peak, its place and the box's size; one code for the whole person beside."""

    local_channels = 8
    code = 16
    hidden = 32
    dropout = 0.4

    def __init__(self, channels: int, feature_is_map: bool, keypoints: int) -> None:
        super().__init__()
        own = 1 + PEAK_STATISTICS + 2 + 1
        # Wide features get one number a keypoint, so that three members stay at 0.08 M parameters.
        local_channels = self.local_channels if channels <= 64 else 1
        self._is_map = feature_is_map
        whole = channels + keypoints * (1 + PEAK_STATISTICS + 2) + 2
        self.whole_standard = _Standard(whole)
        self.own_standard = _Standard(own)
        self.whole = nn.Sequential(
            nn.Linear(whole, self.hidden),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, self.code),
            nn.GELU(),
        )
        self.names = nn.Parameter(0.1 * torch.randn(keypoints, 8))
        width = own + self.code + 8
        if feature_is_map:
            self.local_standard = _Standard(2 * channels)
            self.local = nn.Parameter(torch.randn(keypoints, 2 * channels, local_channels) / (2 * channels) ** 0.5)
            width += local_channels
        self.head = nn.Sequential(
            nn.Linear(width, self.hidden), nn.GELU(), nn.Dropout(self.dropout), nn.Linear(self.hidden, 2 + _EXTRA)
        )
        self.bias = nn.Parameter(torch.zeros(keypoints, 2 + _EXTRA))

    def condense(self, inputs: BranchInputs) -> tuple[Tensor, ...]:
        score, xy, peak = inputs.raw_score[..., None], inputs.xy_fraction, inputs.statistics
        person = torch.cat([_pooled(inputs.feature), score.flatten(1), peak.flatten(1), xy.flatten(1), inputs.box], 1)
        border = torch.minimum(xy, 1.0 - xy).amin(dim=-1, keepdim=True)
        own = torch.cat([score, peak, xy, border], dim=-1)
        return (person, own, features_at(inputs.feature, xy)) if self._is_map else (person, own)

    def forward(self, person: Tensor, own: Tensor, local: Tensor | None = None) -> Tensor:
        code = self.whole(self.whole_standard(person))
        parts = [
            self.own_standard(own),
            code[:, None].expand(-1, own.shape[1], -1),
            self.names.expand(len(own), -1, -1),
        ]
        if local is not None:
            local = self.local_standard(local)
            parts.append(functional.gelu(torch.einsum("bkc,kcd->bkd", local, self.local)))
        return self.head(torch.cat(parts, dim=-1)) + self.bias


_BRANCHES: dict[str, type[nn.Module]] = {
    "linear": _Linear,
    "conv": _Convolutional,
    "local": _Local,
    "scores": _Scores,
}


def features_at(feature: Float[Tensor, "b c h w"], xy_fraction: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k c2"]:
    """Features at each keypoint, bilinear: those of the map and those of its 5 x 5 means (cells beyond it left out).

    Both are weighted sums whose weights are products of one of the row and one of the column, so two small matrix
    products do, and no mean of a whole map is ever made.
    """
    across = _axis_weights(xy_fraction[..., 0], feature.shape[3])
    down = _axis_weights(xy_fraction[..., 1], feature.shape[2])
    keypoints = xy_fraction.shape[1]
    columns = torch.matmul(feature.flatten(1, 2), across.flatten(1, 2).transpose(1, 2))
    columns = columns.unflatten(1, feature.shape[1:3]).unflatten(3, (keypoints, 2))
    return torch.einsum("bchkm,bkmh->bkmc", columns, down).flatten(2)


def _axis_weights(fraction: Tensor, cells: int) -> Tensor:
    """Weights (b, k, 2, cells) of cells on one axis: of linear interpolation, and of that of windowed means."""
    at = (fraction * (cells - 1)).clamp(0, cells - 1)[..., None]
    index = torch.arange(cells, device=fraction.device, dtype=fraction.dtype)
    point = (1.0 - (at - index).abs()).clamp_min(0.0)
    window = ((index[:, None] - index).abs() <= _CONTEXT_CELLS // 2).to(fraction.dtype)
    window = window / window.sum(dim=1, keepdim=True)
    return torch.stack([point, point @ window], dim=2)


def inputs_of_cache(cache: CachedFeatures, rows: np.ndarray | slice = slice(None)) -> BranchInputs:
    """Branch inputs of some rows of a cache."""
    return BranchInputs(
        torch.from_numpy(np.asarray(cache.feature[rows], dtype=np.float32)),
        _float(cache.poses.raw_score[rows]),
        _float(cache.xy_fraction[rows]),
        _float(cache.statistics[rows]),
        _float(np.log(np.maximum(cache.poses.boxes_xywh[rows, 2:], 1.0))),
    )


def inputs_of_batch(part: InferredBatch, size_wh: tuple[int, int]) -> BranchInputs:
    """Branch inputs of a batch fresh from the network; the feature passes through half floats as in a cache."""
    size = np.array(size_wh)
    return BranchInputs(
        part.output.feature.half().float(),
        _float(part.poses.raw_score),
        _float(part.output.xy_px.double().cpu().numpy() / size),
        peak_statistics(part.output, size_wh).float(),
        _float(np.log(np.maximum(part.poses.boxes_xywh[:, 2:], 1.0))),
    )


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


@dataclass(frozen=True)
class CalibratedPoses2D:
    """2D poses with what a calibrator says of them.

    Attributes:
        poses: keypoints and raw scores as the network gave them.
        confidence: expected OKS of each keypoint, in [0, 1].
        visibility: probability that the keypoint is labelled, in [0, 1].
    """

    poses: Poses2D
    confidence: Float[np.ndarray, "n k"]
    visibility: Float[np.ndarray, "n k"]

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def skeleton(self) -> Skeleton:
        """Names of the keypoints."""
        return self.poses.skeleton

    @property
    def instance_confidence(self) -> Float[np.ndarray, " n"]:
        """sum_k v_k s_k / sum_k v_k."""
        return visibility_weighted(self.confidence, self.visibility)

    def sigma_px(self, areas_px2: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
        """Spread of each keypoint per axis in image pixels that its confidence implies (equation 12 inverted).

        Args:
            areas_px2: body areas in image px^2.

        Raises:
            ValueError: no OKS falloff is published for this skeleton.
        """
        return sigma_from_expected_oks(self.confidence, falloff_px(areas_px2[:, None], self.skeleton.sigmas))

    def save(self, path: str | Path) -> None:
        """Write as .npz: the poses' fields, confidence and visibility."""
        sigma = {} if self.poses.sigma_px is None else {"sigma_px": self.poses.sigma_px}
        write_npz(
            path,
            skeleton=np.array(self.poses.skeleton.name),
            xy_px=self.poses.xy_px,
            raw_score=self.poses.raw_score,
            boxes_xywh=self.poses.boxes_xywh,
            confidence=self.confidence,
            visibility=self.visibility,
            **sigma,
        )

    @classmethod
    def load(cls, path: str | Path) -> CalibratedPoses2D:
        """Read what `save` wrote.

        Raises:
            InputError: the file is not such an .npz.
        """
        poses, arrays = Poses2D.load(path), read_npz(path)
        if not {"confidence", "visibility"} <= arrays.keys():
            raise InputError(f"{path} holds 2D poses without calibrated confidences: calibrate them first")
        return cls(poses, arrays["confidence"], arrays["visibility"])


@torch.inference_mode()
def calibrate_batch(branch: CCNet, part: InferredBatch, size_wh: tuple[int, int]) -> CalibratedPoses2D:
    """Confidences of a batch fresh from the pose network that the branch was trained for."""
    output = branch.eval()(inputs_of_batch(part, size_wh))
    return CalibratedPoses2D(part.poses, output.confidence.double().numpy(), output.visibility.double().numpy())


@torch.inference_mode()
def calibrate_cache(branch: CCNet, cache: CachedFeatures, batch: int = 256) -> CalibratedPoses2D:
    """Confidences of all persons of a cache.

    Raises:
        InputError: the cache is of another network or keypoint set than the branch.
    """
    check_fits(branch, cache.network_hash, cache.poses.skeleton)
    branch.eval()
    parts = [branch(inputs_of_cache(cache, slice(start, start + batch))) for start in range(0, len(cache), batch)]
    return CalibratedPoses2D(
        cache.poses,
        torch.cat([part.confidence for part in parts]).double().numpy(),
        torch.cat([part.visibility for part in parts]).double().numpy(),
    )


def check_fits(branch: CCNet, network_hash: str, skeleton: Skeleton) -> None:
    """Refuse a branch on features that it was not trained for.

    Raises:
        InputError: network or keypoint set differ.
    """
    spec = branch.spec
    if spec.skeleton != skeleton.name:
        raise InputError(f"this CCNet is for keypoint set {spec.skeleton}, the poses are of {skeleton.name}")
    if spec.network_hash != network_hash:
        raise InputError(
            f"this CCNet was trained on {spec.network} with parameters {spec.network_hash[:12]}, the features are of a "
            f"network with parameters {network_hash[:12]}: calibrate a CCNet for this checkpoint"
        )


def save_ccnet(branch: CCNet, path: str | Path, about: dict[str, str] | None = None) -> None:
    """Write a branch as safetensors with what it is for and whatever `about` says of its making."""
    from safetensors.torch import save_file

    metadata = {"ccnet": json.dumps(asdict(branch.spec)), **(about or {})}
    tensors = {name: value.detach().contiguous().clone() for name, value in branch.state_dict().items()}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata)


def load_ccnet(path: str | Path) -> CCNet:
    """Read a branch; `check_fits` tells whether it is for a given network.

    Raises:
        InputError: the file is missing, damaged or no CCNet.
    """
    from safetensors import SafetensorError, safe_open

    path = require_file(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error})") from None
    try:
        spec = BranchSpec(**json.loads(metadata["ccnet"]))
        branch = CCNet(spec)
        branch.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no CCNet that this version reads: {str(error).splitlines()[0]}") from None
    return branch.eval()
