"""The normalising flow of residual log-likelihood estimation (Li et al., ICCV 2021), a RealNVP in two dimensions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_HIDDEN = 64
_LAYERS = 6


def _coupling(bounded: bool) -> nn.Sequential:
    layers = [nn.Linear(2, _HIDDEN), nn.LeakyReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU(), nn.Linear(_HIDDEN, 2)]
    return nn.Sequential(*layers, *([nn.Tanh()] if bounded else []))


class RealNVP(nn.Module):
    """Density of normalised errors, learned beside the network and not needed to predict.

    Args:
        mean: of the normal distribution that errors are mapped to, on both axes (0 in RLE, 0.5 in Poseur).
    """

    mask: Tensor

    def __init__(self, mean: float = 0.0) -> None:
        super().__init__()
        self.mean = mean
        self.register_buffer("mask", torch.tensor([[0.0, 1.0], [1.0, 0.0]] * (_LAYERS // 2)))
        self.t = nn.ModuleList(_coupling(bounded=False) for _ in range(_LAYERS))
        self.s = nn.ModuleList(_coupling(bounded=True) for _ in range(_LAYERS))

    def log_prob(self, errors: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """Log density of errors divided by the predicted spread."""
        z = errors
        log_determinant = errors.new_zeros(len(errors))
        for mask, shift, scale in zip(self.mask.flip(0), reversed(self.t), reversed(self.s), strict=True):
            kept, free = mask * z, 1.0 - mask
            log_scale = scale(kept) * free
            z = free * (z - shift(kept) * free) * torch.exp(-log_scale) + kept
            log_determinant = log_determinant - log_scale.sum(dim=1)
        return log_determinant - 0.5 * (z - self.mean).square().sum(dim=1) - math.log(2.0 * math.pi)
