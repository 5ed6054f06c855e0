"""What the heatmap families share: the raw prediction, its flip test and its decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pose2d.decoding import HEATMAP_DECODERS, decode_expected_oks, heatmap_to_crop, unflip_heatmaps
from pose2d.errors import InputError
from pose2d.networks.base import InputSpec, NetworkOutput, TorchPoseNetwork, flip_permutation
from pose2d.skeletons import BODY_SHARE_OF_BOX

PUBLISHED_TARGET_CELLS = {(192, 256): 2.0, (256, 256): 2.0, (288, 384): 3.0}
"""l~ in heatmap cells by the input's width and height, as the official configurations of SBL and HRNet train with."""


@dataclass(frozen=True)
class HeatmapPrediction:
    """A heatmap network's raw prediction.

    Attributes:
        heatmaps: one map per keypoint.
        feature: the map that the last convolution reads.
    """

    heatmaps: Float[Tensor, "b k h w"]
    feature: Float[Tensor, "b c h w"]


class HeatmapNetwork(TorchPoseNetwork):
    """Base of the heatmap families; a subclass implements ``forward``.

    Args:
        num_keypoints: maps that the network gives.
        input_spec: how its input is made.
        decoding: a name of ``HEATMAP_DECODERS``, or "expected-oks" (:meth:`set_expected_oks`).
    """

    cell_px = 4.0

    def __init__(self, num_keypoints: int, input_spec: InputSpec, decoding: str = "quarter-offset") -> None:
        super().__init__()
        self.num_keypoints = num_keypoints
        self.input_spec = input_spec
        self.target_cells = PUBLISHED_TARGET_CELLS.get(input_spec.size_wh)
        self.kappas: tuple[float, ...] | None = None
        self.set_decoding(decoding)

    @property
    def output_choices(self) -> Mapping[str, str]:
        """How heatmaps become coordinates."""
        return {"decoding": self.decoding}

    def set_decoding(self, decoding: str) -> None:
        """Choose a decoder of ``HEATMAP_DECODERS`` by name.

        Raises:
            InputError: there is no such decoder.
        """
        if decoding not in HEATMAP_DECODERS:
            raise InputError(f"there is no heatmap decoding {decoding!r}; known are {', '.join(HEATMAP_DECODERS)}")
        self.decoding = decoding

    def set_expected_oks(self, kappas: Sequence[float]) -> None:
        """Decode to the point of largest expected OKS.

        The instance's area is unknown here; it is taken as ``BODY_SHARE_OF_BOX`` of the box that the crop was padded
        from, so the falloff is the same for all instances in crop pixels.

        Args:
            kappas: per keypoint twice COCO's sigma.
        """
        if len(kappas) != self.num_keypoints:
            raise InputError(f"{len(kappas)} OKS falloffs were given for a network of {self.num_keypoints} keypoints")
        self.kappas = tuple(kappas)
        self.decoding = "expected-oks"

    def average_flipped(
        self, raw: HeatmapPrediction, flipped: HeatmapPrediction, flip_pairs: Sequence[tuple[int, int]]
    ) -> HeatmapPrediction:
        """The flip test: maps averaged, those of the mirrored images mirrored back."""
        permutation = flip_permutation(self.num_keypoints, flip_pairs)
        other = unflip_heatmaps(flipped.heatmaps, permutation, self.input_spec.flip_shift)
        return replace(raw, heatmaps=0.5 * (raw.heatmaps + other))

    def decode(self, raw: HeatmapPrediction) -> NetworkOutput:
        """Coordinates in crop pixels, and the maps' maxima as scores."""
        heatmaps = raw.heatmaps.float() if raw.heatmaps.dtype == torch.bfloat16 else raw.heatmaps
        heatmap_wh = (int(heatmaps.shape[3]), int(heatmaps.shape[2]))
        if self.decoding == "expected-oks":
            xy, score = decode_expected_oks(heatmaps, self._falloffs(heatmaps))
        else:
            xy, score = HEATMAP_DECODERS[self.decoding](heatmaps)
        xy_px = heatmap_to_crop(xy, heatmap_wh, self.input_spec.size_wh, self.input_spec.udp)
        return NetworkOutput(xy_px, score, None, raw.feature, heatmaps)

    def _falloffs(self, heatmaps: Tensor) -> Tensor:
        assert self.kappas is not None
        box_cells = heatmaps.shape[2] * heatmaps.shape[3] / self.input_spec.padding**2
        kappas = torch.tensor(self.kappas, dtype=heatmaps.dtype, device=heatmaps.device)
        out: Tensor = (kappas * (BODY_SHARE_OF_BOX * box_cells) ** 0.5).expand(heatmaps.shape[0], -1)
        return out
