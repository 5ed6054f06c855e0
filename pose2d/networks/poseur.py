"""Poseur (Mao et al., ECCV 2022): a regressed pose, refined by keypoint queries that look into four feature maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pose2d.networks.base import InputSpec, NetworkOutput, TorchPoseNetwork
from pose2d.networks.flow import RealNVP
from pose2d.networks.hrnet import HRNetBackbone
from pose2d.networks.regression import RegressionPrediction, average, decode_regression, mirror_back
from pose2d.networks.resnet import ResNet
from pose2d.networks.rle import NormedLinear

POSEUR_INPUT = InputSpec()
_CHANNELS = 256
_HEADS = 8
_LEVELS = 4
_POINTS = 4
_LAYERS = 6
_FEEDFORWARD = 1024
_TEMPERATURE = 10000.0


class ResNetMaps(ResNet):
    """A ResNet that puts out the maps of all four stages."""

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:  # type: ignore[override]
        """Feature maps at 1/4, 1/8, 1/16 and 1/32 of the images' size."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class _ConvNorm(nn.Module):
    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, _CHANNELS, 1, bias=False)
        self.gn = nn.GroupNorm(32, _CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.gn(self.conv(x))
        return out


class _Neck(nn.Module):
    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_ConvNorm(c) for c in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [conv(x) for conv, x in zip(self.convs, maps, strict=True)]


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(_CHANNELS, _HEADS, batch_first=True)

    def forward(self, query: Tensor, position: Tensor) -> Tensor:
        placed = query + position
        out: Tensor = query + self.attn(placed, placed, query, need_weights=False)[0]
        return out


class _DeformableAttention(nn.Module):
    """Each query samples a few learned points of every level (Zhu et al. 2021); values are projected after sampling.

    The official code stores that projection, one matrix a head, as embeddings.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sampling_offsets = nn.Linear(_CHANNELS, _HEADS * _LEVELS * _POINTS * 2)
        self.attention_weights = nn.Linear(_CHANNELS, _HEADS * _LEVELS * _POINTS)
        self.output_proj = nn.Linear(_CHANNELS, _CHANNELS)
        self.value_proj_weight = nn.Embedding(_HEADS * _CHANNELS, _CHANNELS // _HEADS)
        self.value_proj_bias = nn.Embedding(_HEADS, _CHANNELS // _HEADS)

    def forward(self, query: Tensor, position: Tensor, reference: Tensor, levels: list[Tensor]) -> Tensor:
        batch, keypoints = query.shape[:2]
        placed = query + position
        offsets = self.sampling_offsets(placed).view(batch, keypoints, _HEADS, _LEVELS, _POINTS, 2)
        weights = self.attention_weights(placed).view(batch, keypoints, _HEADS, _LEVELS * _POINTS)
        weights = weights.softmax(-1).view(batch, keypoints, _HEADS, _LEVELS, _POINTS)
        sampled = query.new_zeros(batch, _CHANNELS, keypoints, _HEADS)
        for number, level in enumerate(levels):
            size = query.new_tensor([level.shape[3], level.shape[2]])
            at = reference[:, :, None, None] + offsets[:, :, :, number] / size
            values = functional.grid_sample(level, 2.0 * at.flatten(2, 3) - 1.0, align_corners=False)
            values = values.unflatten(3, (_HEADS, _POINTS))
            sampled = sampled + (values * weights[:, None, :, :, number]).sum(-1)
        projection = self.value_proj_weight.weight.view(_HEADS, _CHANNELS, _CHANNELS // _HEADS)
        projected = torch.einsum("bcqh,hco->bqho", sampled, projection) + self.value_proj_bias.weight
        out: Tensor = query + self.output_proj(projected.flatten(2))
        return out


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(_CHANNELS, _FEEDFORWARD), nn.ReLU(inplace=True)),
            nn.Linear(_FEEDFORWARD, _CHANNELS),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class _DecoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_SelfAttention(), _DeformableAttention()])
        self.ffns = nn.ModuleList([_FeedForward()])
        self.norms = nn.ModuleList(nn.LayerNorm(_CHANNELS) for _ in range(3))

    def forward(self, query: Tensor, position: Tensor, reference: Tensor, levels: list[Tensor]) -> Tensor:
        query = self.norms[0](self.attentions[0](query, position))
        query = self.norms[1](self.attentions[1](query, position, reference, levels))
        out: Tensor = self.norms[2](self.ffns[0](query))
        return out


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_DecoderLayer() for _ in range(_LAYERS))


class _Transformer(nn.Module):
    """Parameters of the first regression, the queries and the decoder, under the official names."""

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.level_embeds = nn.Parameter(torch.zeros(_LEVELS, _CHANNELS))
        self.fc_coord = NormedLinear(_CHANNELS, 2 * num_keypoints, normed=True)
        self.fc_sigma = NormedLinear(_CHANNELS, 2 * num_keypoints, normed=False)
        self.pos_trans = nn.Linear(2 * _CHANNELS, _CHANNELS)
        self.pos_trans_norm = nn.LayerNorm(_CHANNELS)
        self.pos_embed = nn.Embedding(num_keypoints, _CHANNELS)
        self.decoder = _Decoder()


def _coordinate_branch() -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(_CHANNELS, _CHANNELS), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(_CHANNELS, 2))


def _sigma_branch() -> nn.Sequential:
    linears = [nn.Linear(_CHANNELS, _CHANNELS) for _ in range(2)]
    return nn.Sequential(*linears, NormedLinear(_CHANNELS, 2, normed=False))


class _Head(nn.Module):
    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.enc_flow = RealNVP(0.5)
        self.dec_flow = RealNVP(0.5)
        self.transformer = _Transformer(num_keypoints)
        self.fc_coord_branches = nn.ModuleList(_coordinate_branch() for _ in range(_LAYERS))
        self.fc_coord_output_branches = nn.ModuleList(_coordinate_branch() for _ in range(_LAYERS))
        self.fc_sigma_branches = nn.ModuleList(_sigma_branch() for _ in range(_LAYERS))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates and spreads as fractions of the crop, and the decoder's last states."""
        transformer = self.transformer
        levels = [
            x + _sine_positions(x) + embedding[:, None, None]
            for x, embedding in zip(maps, transformer.level_embeds, strict=True)
        ]
        reference = transformer.fc_coord(maps[-1].mean((2, 3))).unflatten(1, (-1, 2))
        embedded = torch.cat([_embed_points(reference), _embed_points(reference.clamp(0.0, 1.0))], dim=-1)
        query = transformer.pos_trans_norm(transformer.pos_trans(embedded))
        position = transformer.pos_embed.weight.expand(len(query), -1, -1)
        for layer, branch in zip(transformer.decoder.layers, self.fc_coord_branches, strict=True):
            query = layer(query, position, reference, levels)
            reference = torch.sigmoid(branch(query) + _inverse_sigmoid(reference))
        # The last layer's refined reference is the coordinate, up to the output branch's correction.
        xy = reference + self.fc_coord_output_branches[-1](query)
        return xy, torch.sigmoid(self.fc_sigma_branches[-1](query)), query


def _inverse_sigmoid(x: Tensor, floor: float = 1e-5) -> Tensor:
    x = x.clamp(0.0, 1.0)
    return torch.log(x.clamp_min(floor) / (1.0 - x).clamp_min(floor))


def _frequencies(like: Tensor) -> Tensor:
    """Wavelengths of the sine embedding: 128 numbers an axis, sines and cosines in turn."""
    half = _CHANNELS // 2
    number = torch.arange(half, device=like.device, dtype=like.dtype)
    return _TEMPERATURE ** (2 * torch.div(number, 2, rounding_mode="floor") / half)


def _waves(angle: Tensor, like: Tensor) -> Tensor:
    phases = angle[..., None] / _frequencies(like)
    return torch.stack([phases[..., 0::2].sin(), phases[..., 1::2].cos()], dim=-1).flatten(-2)


def _sine_positions(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 c h w"]:
    """Sine embedding of a map's cells, rows first."""
    angles = [
        (torch.arange(1, cells + 1, device=x.device, dtype=x.dtype) - 0.5) / (cells + 1e-6) * 2.0 * math.pi
        for cells in x.shape[2:]
    ]
    rows, columns = (_waves(angle, x) for angle in angles)
    height, width = x.shape[2:]
    embedded = [rows[:, None].expand(height, width, -1), columns[None].expand(height, width, -1)]
    return torch.cat(embedded, dim=-1).permute(2, 0, 1)[None]


def _embed_points(xy: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k c"]:
    """Sine embedding of points, x first."""
    return _waves(2.0 * math.pi * xy, xy).flatten(2)


class Poseur(TorchPoseNetwork):
    """Regression network under the official state-dict names (``backbone``, ``neck``, ``keypoint_head``).

    Args:
        backbone: gives four maps: :class:`ResNetMaps`, or :class:`HRNetBackbone` with all scales.
        channels: of the four maps.
        num_keypoints: keypoints.
        input_spec: how the input is made.
        score: "likelihood", ``p = 0.7 (1 - exp(-0.2 / s_x)) (1 - exp(-0.2 / s_y))``, which also weights the flip test
            by its fifth power; or "sigma", one minus the mean spread and a plain mean (the official default).
    """

    instance_score = "mean-and-maximum"
    last_entry = "keypoint_head.transformer.fc_coord.linear.bias"

    def __init__(
        self,
        backbone: ResNetMaps | HRNetBackbone,
        channels: Sequence[int],
        num_keypoints: int = 17,
        input_spec: InputSpec = POSEUR_INPUT,
        score: Literal["likelihood", "sigma"] = "likelihood",
    ) -> None:
        super().__init__()
        self.num_keypoints = num_keypoints
        self.input_spec = input_spec
        self.score = score
        self.backbone = backbone
        self.neck = _Neck(channels)
        self.keypoint_head = _Head(num_keypoints)

    @property
    def output_choices(self) -> Mapping[str, str]:
        """Which score is given, which also weights the flip test."""
        return {"score": self.score}

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> RegressionPrediction:
        """Coordinates, spreads and scores; the feature is the decoder's last states of all keypoints in a row."""
        xy, sigma, states = self.keypoint_head(self.neck(self.backbone(images)))
        score = 1.0 - sigma.mean(-1) if self.score == "sigma" else 0.7 * (1.0 - torch.exp(-0.2 / sigma)).prod(-1)
        return RegressionPrediction(xy, sigma, score, states.flatten(1))

    def average_flipped(
        self, raw: RegressionPrediction, flipped: RegressionPrediction, flip_pairs: Sequence[tuple[int, int]]
    ) -> RegressionPrediction:
        """The flip test: means with the mirrored prediction mirrored back (x to 1 - x, without a pixel's shift)."""
        other = mirror_back(flipped, flip_pairs, 0.0)
        mean = average(raw, other)
        if self.score == "sigma":
            return mean
        weight, other_weight = raw.score[..., None] ** 5, other.score[..., None] ** 5
        xy = (raw.xy * weight + other.xy * other_weight) / (weight + other_weight + 1e-10)
        return replace(mean, xy=xy)

    def decode(self, raw: RegressionPrediction) -> NetworkOutput:
        """Coordinates and spreads in crop pixels."""
        return decode_regression(raw, self.input_spec)
