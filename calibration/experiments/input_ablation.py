"""What else a branch could read (section 6.4): low-level features, coordinates and raw scores, a fine-tuned copy.

Each is a cache like the frozen network's own whose feature is one vector per person, so that every form of the branch
takes it. The paper finds that penultimate features are enough.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.losses import known_cross_entropy, squared_error
from calibration.experiments.methods import pooled_features
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path
from pose2d.inference import Skipped, crop_batches
from pose2d.networks.base import PoseNetwork

_EARLY = ("layer1", "patch_embed", "patch_embeddings")
_GRID = (4, 3)
_TUNED_SHARE = 1 / 3


def with_inputs(cache: CachedFeatures, *vectors: Float[np.ndarray, "n _"]) -> CachedFeatures:
    """The cache with vectors in place of its feature, one after the other.

    Args:
        cache: of the frozen network.
        vectors: inputs of each person.
    """
    return replace(cache, feature=np.concatenate(vectors, axis=1).astype(np.float32))


def penultimate(cache: CachedFeatures) -> Float[np.ndarray, "n c"]:
    """The paper's input: penultimate features, averaged over their map."""
    return pooled_features(cache)


def coordinates_and_scores(cache: CachedFeatures) -> Float[np.ndarray, "n d"]:
    """Where the keypoints lie in the crop, and their raw scores."""
    return np.concatenate([cache.xy_fraction.reshape(len(cache), -1), cache.poses.raw_score], axis=1)


def low_level_features(
    network: PoseNetwork, cache: CachedFeatures, directory: str | Path, batch: int = 32
) -> Float[np.ndarray, "n c"]:
    """Means of the network's first stage over a grid of 4 x 3 cells; computed once, then read from `directory`.

    Args:
        network: whose features the cache holds.
        cache: persons as they are, without views.
        directory: where caches lie.
        batch: persons per step.

    Raises:
        InputError: the network has no stage that is known to be an early one.
    """
    persons = hashlib.sha256(cache.dataset.annotation_ids.tobytes() + cache.poses.boxes_xywh.tobytes()).hexdigest()
    path = Path(directory) / f"low-level-{cache.network_hash[:8]}-{persons[:8]}.npy"
    if path.is_file():
        return np.asarray(np.load(path))
    stage = _early_stage(network)
    kept: list[Tensor] = []
    handle = stage.register_forward_hook(lambda _module, _inputs, output: kept.append(_on_grid(output)))
    parts = []
    try:
        for images, _ in _crops(network, cache, batch):
            kept.clear()
            with torch.inference_mode():
                network(images)
            parts.append(kept[0].numpy())
    finally:
        handle.remove()
    values = np.concatenate(parts)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, values)
    return values


def fine_tuned_features(
    network: PoseNetwork,
    train: CachedFeatures,
    others: Sequence[CachedFeatures],
    minutes: float,
    lr: float = 1e-4,
    batch: int = 32,
    seed: int = 0,
) -> list[Float[np.ndarray, "n c"]]:
    """Pooled features of a copy of the network whose last third learnt to predict confidences (Corbière et al., 2019).

    The copy's predictions are not used: the keypoints stay those of the frozen network.

    Args:
        network: frozen.
        train: its persons to train the copy on.
        others: further persons to compute features of.
        minutes: of training, at most; one pass over the persons is finished whatever it takes.
        lr: of the copy's trained parameters.
        batch: persons per step.
        seed: of the head's weights.

    Returns:
        Features of `train` and of each of `others`.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"{type(network).__name__} has no parameters to fine-tune: leave --fine-tune-minutes out")
    torch.manual_seed(seed)
    copied: Any = copy.deepcopy(network).eval()
    parameters = list(copied.parameters())
    trained = parameters[-max(round(_TUNED_SHARE * len(parameters)), 1) :]
    for parameter in trained:
        parameter.requires_grad_(True)
    keypoints = train.labelled.shape[1]
    head = nn.LazyLinear(2 * keypoints)
    target, labelled = torch.from_numpy(train.keypoint_oks()).float(), torch.from_numpy(np.array(train.labelled))
    everywhere = torch.ones_like(labelled)
    optimiser: torch.optim.Optimizer | None = None
    start, over = time.monotonic(), False
    while not over:
        for images, rows in _crops(copied, train, batch):
            output = head(_pooled(copied(images).feature)).unflatten(1, (keypoints, 2))
            if optimiser is None:
                groups = [{"params": trained, "lr": lr}, {"params": head.parameters(), "lr": 20 * lr}]
                optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
            loss = squared_error(torch.sigmoid(output[..., 0]), target[rows], labelled[rows])
            loss = loss + 0.1 * known_cross_entropy(output[..., 1], labelled[rows], everywhere[rows])
            if not torch.isfinite(loss):
                ids = train.dataset.image_ids[rows.numpy()].tolist()
                raise InputError(f"the fine-tuned copy's loss is not finite on images {ids}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        over = time.monotonic() - start >= 60.0 * minutes
    found = []
    with torch.inference_mode():
        for cache in (train, *others):
            found.append(torch.cat([_pooled(copied(images).feature) for images, _ in _crops(copied, cache, batch)]))
    return [values.double().numpy() for values in found]


def _crops(network: PoseNetwork, cache: CachedFeatures, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised crops of a cache's persons and their rows, in order."""
    dataset = cache.dataset
    for crops in crop_batches(network, dataset.image_paths, cache.poses.boxes_xywh, dataset.skeleton, batch):
        if isinstance(crops, Skipped):
            raise InputError(f"{dataset.image_paths[crops.row]} could be read for the cache: {crops.reason} now")
        yield network.input_spec.normalise(torch.from_numpy(crops.pixels)), torch.from_numpy(crops.rows)


def _early_stage(network: PoseNetwork) -> nn.Module:
    for name, module in network.named_modules() if isinstance(network, nn.Module) else ():
        if name.split(".")[-1] in _EARLY:
            assert isinstance(module, nn.Module)
            return module
    raise InputError(f"{type(network).__name__} has no early stage that is known ({', '.join(_EARLY)})")


def _on_grid(feature: Tensor | tuple[Tensor, ...]) -> Tensor:
    feature = feature[0] if isinstance(feature, tuple) else feature
    if feature.ndim == 3:  # tokens
        return feature.mean(dim=1)
    return functional.adaptive_avg_pool2d(feature, _GRID).flatten(1)


def _pooled(feature: Tensor) -> Tensor:
    return feature.mean(dim=(2, 3)) if feature.ndim == 4 else feature
