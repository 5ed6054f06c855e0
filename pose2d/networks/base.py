"""What all pose networks share: the description of their input, their output, and the flip test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pose2d.crops import BOX_PADDING

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
    """What a pose network says about a batch of crops.

    Attributes:
        xy_px: keypoints in crop pixels.
        raw_score: the network's own score of each keypoint (heatmap maximum, one minus sigma, ...); not calibrated.
        sigma_px: the network's own spread in crop pixels, per keypoint, where it has one.
        feature: the penultimate feature, a map or a vector, which confidence heads read.
        heatmaps: the heatmaps, where the family has them.
    """

    xy_px: Float[Tensor, "b k 2"]
    raw_score: Float[Tensor, "b k"]
    sigma_px: Float[Tensor, "b k"] | None
    feature: Float[Tensor, "b c h w"] | Float[Tensor, "b c"]
    heatmaps: Float[Tensor, "b k h w"] | None


@runtime_checkable
class PoseNetwork(Protocol):
    """A network of any family (each is also an ``nn.Module``).

    ``forward`` gives the family's raw prediction, ``average_flipped`` merges it with that of the mirrored images, and
    ``decode`` turns it into coordinates and scores.
    """

    num_keypoints: int
    input_spec: InputSpec

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Any:
        """The raw prediction for normalised images."""

    def average_flipped(self, raw: Any, flipped: Any, flip_pairs: Sequence[tuple[int, int]]) -> Any:
        """The flip test: ``raw`` averaged with ``flipped``, the prediction for the mirrored images."""

    def decode(self, raw: Any) -> NetworkOutput:
        """Coordinates, scores and features of a raw prediction."""


def flip_permutation(num_keypoints: int, flip_pairs: Sequence[tuple[int, int]]) -> list[int]:
    """For each keypoint the index of its mirror image."""
    permutation = list(range(num_keypoints))
    for left, right in flip_pairs:
        permutation[left], permutation[right] = right, left
    return permutation


def predict(
    network: PoseNetwork, images: Float[Tensor, "b 3 h w"], flip_pairs: Sequence[tuple[int, int]] | None = None
) -> NetworkOutput:
    """Coordinates, scores and features of normalised images, without gradients.

    Args:
        network: a network in evaluation mode.
        images: normalised images (:meth:`InputSpec.normalise`).
        flip_pairs: pairs of mirrored keypoints; given, the flip test is made (as most published figures were).
            The feature is that of the unflipped images.
    """
    with torch.inference_mode():
        raw = network(images)
        if flip_pairs is not None:
            raw = network.average_flipped(raw, network(images.flip(-1)), flip_pairs)
        return network.decode(raw)
