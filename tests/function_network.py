"""A pose network that is no module of torch, for tests of what such networks can do."""

from __future__ import annotations

import hashlib

import torch

from pose2d.networks.base import InputSpec, NetworkOutput, PoseNetwork


class FunctionNetwork(PoseNetwork):
    """A Python function as a network: keypoints follow the crop's mean brightness; no flip test, no heatmaps.

    Args:
        file: bytes of the file that it might have been loaded from; its identity is their hash.
    """

    def __init__(self, file: bytes) -> None:
        self.num_keypoints = 17
        self.input_spec = InputSpec((64, 96))
        self._file = file

    @property
    def identity(self) -> str:
        return hashlib.sha256(self._file).hexdigest()

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))

    def decode(self, raw: torch.Tensor) -> NetworkOutput:
        score = torch.sigmoid(raw)[:, None].expand(-1, 17)
        return NetworkOutput(40.0 * score[..., None].expand(-1, -1, 2), score, None, raw[:, None], None)
