"""A small MLP-mixer over keypoints (Tolstikhin et al., 2021): expected OKS and visibility of each from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.file_calibration.features import KEYPOINT_INPUTS, PERSON_INPUTS

WIDTH, LAYERS, MIXED, HIDDEN = 32, 2, 24, 32
"""Channels of a keypoint, pairs of mixing layers, hidden units over keypoints and over channels."""
_CHUNK = 512
"""Persons calibrated at a time: few enough that their activations stay in the cache."""


class _OverKeypoints(nn.Linear):
    """A linear layer over the rows of a matrix."""

    def forward(self, rows: Float[Tensor, "i c"]) -> Float[Tensor, "o c"]:
        return torch.addmm(self.bias[:, None], self.weight, rows)


class KeypointMixer(nn.Module):
    """Logits of expected OKS and of visibility for each keypoint of a person.

    Activations are laid out (k, n, channels), so that mixing over keypoints and over channels are plain matrix
    products. Layer norms carry no parameters.
    """

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.num_keypoints = num_keypoints
        self.of_keypoint = nn.Linear(KEYPOINT_INPUTS, WIDTH)
        self.of_person = nn.Linear(PERSON_INPUTS, WIDTH, bias=False)
        self.kind = nn.Parameter(0.3 * torch.randn(num_keypoints, 1, WIDTH))
        self.gather = nn.ModuleList(_OverKeypoints(num_keypoints, MIXED) for _ in range(LAYERS))
        self.scatter = nn.ModuleList(_OverKeypoints(MIXED, num_keypoints) for _ in range(LAYERS))
        self.expand = nn.ModuleList(nn.Linear(WIDTH, HIDDEN) for _ in range(LAYERS))
        self.contract = nn.ModuleList(nn.Linear(HIDDEN, WIDTH) for _ in range(LAYERS))
        self.out = nn.Linear(WIDTH, 2)

    def forward(
        self, keypoint: Float[Tensor, "n k 3"], person: Float[Tensor, "n 4"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Logits of expected OKS, logits of visibility."""
        x = self.of_keypoint(keypoint.transpose(0, 1)) + self.of_person(person) + self.kind
        shape = x.shape
        for gather, scatter, expand, contract in zip(self.gather, self.scatter, self.expand, self.contract):
            columns = _norm(x).reshape(self.num_keypoints, -1)
            x = x + scatter(torch.relu(gather(columns))).view(shape)
            x = x + contract(torch.relu(expand(_norm(x))))
        logits = self.out(_norm(x))
        return logits[..., 0].T, logits[..., 1].T


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


@dataclass(frozen=True)
class MixerTraining:
    """How a mixer is trained; chosen by folds inside training halves.

    Attributes:
        epochs: over the persons, within `steps`.
        steps: fewest and most optimiser steps. (Of 330 persons, 300 steps of 256 win 0.4 AP less than 100.)
        batch: most persons a step; of few persons a third.
        learning_rate: the highest of a one-cycle schedule.
        weight_decay: of AdamW.
        visibility_weight, instance_weight: of the losses of visibility and of the person's expected OKS.
    """

    epochs: int = 50
    steps: tuple[int, int] = (100, 2000)
    batch: int = 256
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    visibility_weight: float = 0.5
    instance_weight: float = 0.5


@dataclass(frozen=True)
class Targets:
    """What came true of each person.

    Attributes:
        keypoint_oks: NaN where the keypoint has no truth.
        oks: of the person.
    """

    keypoint_oks: Float[np.ndarray, "n k"]
    oks: Float[np.ndarray, " n"]


def train_mixer(
    inputs: tuple[Float[np.ndarray, "n k 3"], Float[np.ndarray, "n 4"]],
    targets: Targets,
    flip: Int[np.ndarray, " k"],
    seed: int = 0,
    training: MixerTraining | None = None,
) -> KeypointMixer:
    """Train on persons and, at random, their mirror images, by cross-entropy against OKS.

    Args:
        inputs: standardised features.
        targets: what came true.
        flip: number of each keypoint's mirror image; the keypoints' own numbers where no mirror image is known, and
            then none is learnt from.
        seed: of weights, batches and mirroring.
        training: how.
    """
    training = training or MixerTraining()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = KeypointMixer(inputs[0].shape[1])
    keypoint, person = (torch.from_numpy(np.ascontiguousarray(values)) for values in inputs)
    oks = torch.from_numpy(targets.keypoint_oks).float()
    instance = torch.from_numpy(targets.oks).float()
    mirror = torch.from_numpy(np.asarray(flip))
    mirrors = _has_mirror_image(mirror)
    batch = min(training.batch, -(-len(oks) // 3))
    steps = int(np.clip(training.epochs * -(-len(oks) // batch), *training.steps))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.learning_rate, total_steps=steps, pct_start=0.15)
    for chosen in _batches(len(oks), batch, steps, generator):
        x, truth = keypoint[chosen], oks[chosen]
        if mirrors:
            turned = torch.rand(len(chosen), generator=generator) < 0.5
            x = torch.where(turned[:, None, None], _mirrored(x, mirror), x)
            truth = torch.where(turned[:, None], truth[:, mirror], truth)
        loss = _loss(network(x, person[chosen]), truth, instance[chosen], training)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _batches(count: int, batch: int, steps: int, generator: torch.Generator) -> Sequence[Tensor]:
    drawn: list[Tensor] = []
    while len(drawn) < steps:
        drawn += torch.randperm(count, generator=generator).split(batch)[: max(1, count // batch)]
    return drawn[:steps]


def _has_mirror_image(mirror: Tensor) -> bool:
    return bool((mirror != torch.arange(len(mirror))).any())


def _mirrored(keypoint: Tensor, mirror: Tensor) -> Tensor:
    return keypoint[:, mirror] * keypoint.new_tensor([-1.0, 1.0, 1.0])


def _loss(logits: tuple[Tensor, Tensor], oks: Tensor, instance: Tensor, training: MixerTraining) -> Tensor:
    labelled = ~oks.isnan()
    of_keypoint = F.binary_cross_entropy_with_logits(
        logits[0], oks.nan_to_num(), weight=labelled.float(), reduction="sum"
    )
    of_visibility = F.binary_cross_entropy_with_logits(logits[1], labelled.float())
    confidence, visibility = logits[0].sigmoid(), logits[1].sigmoid()
    predicted = (confidence * visibility).sum(dim=1) / visibility.sum(dim=1).clamp_min(1e-3)
    of_instance = F.binary_cross_entropy(predicted.clamp(1e-4, 1 - 1e-4), instance)
    return (
        of_keypoint / labelled.sum().clamp_min(1)
        + training.visibility_weight * of_visibility
        + training.instance_weight * of_instance
    )


def predict(
    network: KeypointMixer,
    inputs: tuple[Float[np.ndarray, "n k 3"], Float[np.ndarray, "n 4"]],
    flip: Int[np.ndarray, " k"],
    mirrored: bool = False,
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Expected OKS and visibility of each keypoint.

    Args:
        network: of as many keypoints.
        inputs: standardised features.
        flip: as in `train_mixer`.
        mirrored: show the network the mirror image, where one is known.
    """
    mirror = torch.from_numpy(np.asarray(flip))
    mirrored = mirrored and _has_mirror_image(mirror)
    keypoint, person = (torch.from_numpy(np.ascontiguousarray(values)) for values in inputs)
    result = torch.empty(2, *keypoint.shape[:2])
    with torch.inference_mode():
        for start in range(0, len(person), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            seen = _mirrored(keypoint[chunk], mirror) if mirrored else keypoint[chunk]
            found = torch.stack(network(seen, person[chunk])).sigmoid()
            result[:, chunk] = found[:, :, mirror] if mirrored else found
    confidence, visibility = result.double().numpy()
    return confidence, visibility
