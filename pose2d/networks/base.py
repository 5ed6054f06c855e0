"""What all pose networks share: the description of their input, their output, and the flip test."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pose2d.crops import BOX_PADDING
from pose2d.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """How a network's input is made from an image, and how its output relates to crop pixels.

    Attributes:
        size_wh: crop width and height in pixels.
        colour: "rgb" or "bgr", the order of the channels that the network reads.
        mean: subtracted per channel, in [0, 1], in the order of the network's channels.
        std: divided by per channel, likewise.
        udp: whether boxes are cropped, and heatmaps read, with the UDP convention.
        padding: factor by which boxes are enlarged.
        flip_shift: whether the flip test moves the flipped heatmaps right by one column before averaging
            (needed without UDP, because the mirrored pixel grids of input and heatmap do not coincide).
    """

    size_wh: tuple[int, int] = (192, 256)
    colour: str = "rgb"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    udp: bool = False
    padding: float = BOX_PADDING
    flip_shift: bool = True

    def normalise(self, crops: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
        """RGB crops as bytes to the network's normalised input, in ``channels_last`` memory order."""
        images = crops.permute(0, 3, 1, 2)
        if self.colour == "bgr":
            images = images.flip(1)
        mean = torch.tensor(self.mean, device=crops.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=crops.device).view(1, 3, 1, 1)
        normalised = (images.float() / 255.0 - mean) / std
        return normalised.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class NetworkOutput:
    """A pose network's prediction for a batch of crops.

    Attributes:
        xy_px: keypoints in crop pixels.
        raw_score: the network's own score per keypoint (heatmap maximum, one minus sigma, ...); not calibrated.
        sigma_px: the network's own spread in crop pixels, per keypoint, where it has one.
        feature: the penultimate feature, a map or a vector, which confidence heads read.
        heatmaps: the heatmaps, where the family has them.
    """

    xy_px: Float[Tensor, "b k 2"]
    raw_score: Float[Tensor, "b k"]
    sigma_px: Float[Tensor, "b k"] | None
    feature: Float[Tensor, "b c h w"] | Float[Tensor, "b c"]
    heatmaps: Float[Tensor, "b k h w"] | None


class PoseNetwork(ABC):
    """A pose network of any origin: a module of torch, a session of another runtime, a Python function.

    Calling it returns the raw prediction for normalised images, `average_flipped` merges that with the prediction for
    the mirrored images, and `decode` turns it into coordinates and scores. Nothing here asks for parameters; networks
    of torch modules derive from `TorchPoseNetwork`.

    Attributes:
        num_keypoints: of the skeleton that the network was trained for.
        input_spec: how its input is made from an image.
        has_flip_test: whether `average_flipped` can be called, and is. Without it, keypoints are those of the images as
            they are, whether or not a flip test is asked for; `--no-flip` takes it from a network.
        reads_boxes: whether calling it takes the width and height of each person's box in image pixels, (b, 2), beside
            the images, as a network does that brings its own CCNet.
        cell_px: side of a cell of its heatmaps in crop pixels; None where it has no heatmaps.
        target_cells: standard deviation l~ of the heatmaps that it was trained on, in cells (equation 2); None where
            that is unknown or it has no heatmaps.
        instance_score: name of the rule (`pose2d.detection.oks_nms.INSTANCE_SCORES`) by which the family's own code
            scores a person from its keypoints.
    """

    num_keypoints: int
    input_spec: InputSpec
    has_flip_test: bool = False
    reads_boxes: bool = False
    cell_px: float | None = None
    target_cells: float | None = None
    instance_score: str = "mean-above-0.2"

    @property
    @abstractmethod
    def identity(self) -> str:
        """Names what computes the features and keypoints; goes into CCNet files and keys of caches.

        Two networks that compute different features, or read them from different layers, never share it; it is the
        same on every machine and device.
        """

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where its input has to lie."""

    @property
    def output_choices(self) -> Mapping[str, str]:
        """What was chosen of its output beyond its identity (decoding, kind of score), for keys of caches."""
        return {}

    def move_to(self, device: torch.device) -> None:  # noqa: B027 # staying is what a session of a runtime does
        """Move to a device; a network that cannot move stays, and `device` says where."""

    @abstractmethod
    def __call__(self, images: Float[Tensor, "b 3 h w"], *boxes: Any) -> Any:
        """The raw prediction for normalised images."""

    def average_flipped(self, raw: Any, flipped: Any, flip_pairs: Sequence[tuple[int, int]]) -> Any:
        """The flip test: `raw` averaged with `flipped`, the prediction for the mirrored images.

        Raises:
            InputError: the network has no flip test.
        """
        del raw, flipped, flip_pairs  # for the networks that have one
        raise InputError(f"{type(self).__name__} has no flip test: leave it out")

    @abstractmethod
    def decode(self, raw: Any) -> NetworkOutput:
        """Coordinates, scores and features of a raw prediction."""


class TorchPoseNetwork(nn.Module, PoseNetwork):
    """A pose network that is a module of torch; a family implements `forward`, `average_flipped` and `decode`.

    Attributes:
        feature_layer: which layer its feature is read from; "" for the family's own choice, the penultimate one.
        last_entry: name of the last layer's bias in the state dict, whose length tells the number of keypoints.
    """

    has_flip_test = True
    feature_layer: str = ""
    last_entry: str = "final_layer.bias"

    def adopt_layout(self, layout: str) -> None:
        """Follow the conventions of input and output that the layout of a checkpoint implies; most imply none.

        Args:
            layout: whose names the checkpoint has (`pose2d.networks.checkpoint_layouts.identify`).
        """

    @property
    def identity(self) -> str:
        """SHA-256 of parameters and statistics by name, and of family and feature layer where that is not the usual.

        Computed at every call; `pose2d.networks.acceleration.prepare_for_inference` fixes it before it changes weights.
        """
        if self._fixed_identity is not None:
            return self._fixed_identity
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            if name.endswith("num_batches_tracked"):
                continue
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.detach().float().cpu().numpy()).tobytes())
        if self.feature_layer:
            digest.update(f"{type(self).__name__} {self.feature_layer}".encode())
        return digest.hexdigest()

    _fixed_identity: str | None = None

    def fix_identity(self) -> None:
        """Keep today's identity whatever is done to the weights from now on (folded, cast to half floats)."""
        self._fixed_identity = self.identity

    @property
    def device(self) -> torch.device:
        """That of the first parameter or buffer."""
        first = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def move_to(self, device: torch.device) -> None:
        """Move parameters and buffers."""
        self.to(device)


def flip_permutation(num_keypoints: int, flip_pairs: Sequence[tuple[int, int]]) -> list[int]:
    """For each keypoint the index of its mirror image."""
    permutation = list(range(num_keypoints))
    for left, right in flip_pairs:
        permutation[left], permutation[right] = right, left
    return permutation


def predict(
    network: PoseNetwork,
    images: Float[Tensor, "b 3 h w"],
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    box_wh_px: Float[Tensor, "b 2"] | None = None,
) -> NetworkOutput:
    """Coordinates, scores and features of normalised images, without gradients.

    Args:
        network: a network in evaluation mode.
        images: normalised images (:meth:`InputSpec.normalise`).
        flip_pairs: pairs of mirrored keypoints; given, the flip test is made (as most published figures were) where
            the network has one. The feature is that of the unflipped images.
        box_wh_px: width and height of the persons' boxes in image pixels, for networks that read them.
    """
    boxes = (box_wh_px,) if network.reads_boxes else ()
    with torch.inference_mode():
        raw = network(images, *boxes)
        if flip_pairs is not None and network.has_flip_test:
            raw = network.average_flipped(raw, network(images.flip(-1), *boxes), flip_pairs)
        return network.decode(raw)
