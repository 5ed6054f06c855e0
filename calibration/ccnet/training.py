"""Training a confidence branch from a feature cache: seconds, since the pose network is not run again."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.losses import CONFIDENCE_LOSSES, known_cross_entropy
from calibration.ccnet.model import BranchSpec, CCNet, inputs_of_cache
from calibration.ccnet.options import Head
from pose2d.console.progress import track
from pose2d.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_CONDENSE_BATCH = 256
Target = Callable[[CachedFeatures], Float[np.ndarray, "n k"]]
"""Accuracy of every keypoint of a cache, in [0, 1]; it counts where the keypoint is labelled."""


@dataclass(frozen=True)
class BranchTraining:
    """How a branch is trained.

    Attributes:
        head: form of the branch.
        loss: of confidences, by its name in `CONFIDENCE_LOSSES`: "mse" is equation 20, the others are section 6.4's.
        visibility_weight: lambda of equation 22.
        presence_weight: of the presence's cross-entropy, where persons are also seen cut (`altered_views`).
        instance_weight: weight of the squared error of sum(v s) / sum(v) to the instance's OKS; 0 in the paper.
        epochs: at most, of the persons as they are; with views there are fewer, so that as many steps are made.
        batch: persons per step.
        lr: of Adam; a tenth after 60 % and again after 85 % of the epochs.
        weight_decay: decoupled, of matrices.
        patience: epochs without a better held-out loss before training stops; with views fewer likewise.
        members: branches that are trained apart, from different weights and in different order, and then averaged.
        held_out: share of the images that only decide when to stop, where no validation cache is given.
        seed: of weights, order and the held-out images.
    """

    head: Head = "local"
    loss: str = "mse"
    visibility_weight: float = 0.1
    presence_weight: float = 0.1
    instance_weight: float = 0.0
    epochs: int = 60
    batch: int = 128
    lr: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 12
    members: int = 1
    held_out: float = 0.15
    seed: int = 0


BRANCH_TRAININGS: dict[Head, BranchTraining] = {
    "scores": BranchTraining(head="scores", epochs=60, patience=15),
    "linear": BranchTraining(head="linear", epochs=100, patience=25, lr=2e-2),
    "conv": BranchTraining(head="conv", epochs=24, patience=6, batch=64),
    "local": BranchTraining(head="local", epochs=60, patience=12, members=3),
}
"""How each form of the branch is trained; chosen on the validation split."""


@dataclass(frozen=True)
class TrainingPersons:
    """Cached features of the persons that a branch is trained on.

    Attributes:
        plain: the persons as they are, best of images that the pose network was not trained on.
        validation: persons that decide when to stop; None: a share of the images of `plain` is held out.
        views: the persons of `plain` seen cut or patched. Keypoints that are cut away do not count in the confidence's
            loss, and count in the visibility's as what an annotator would have left out; those under a patch do not
            count in the visibility's. With cut views the branch learns presence.
        validation_views: those of `validation`.
    """

    plain: CachedFeatures
    validation: CachedFeatures | None = None
    views: Sequence[CachedFeatures] = ()
    validation_views: Sequence[CachedFeatures] = ()

    def without_views(self) -> TrainingPersons:
        """The persons as they are alone; the paper's forms learn from these."""
        return TrainingPersons(self.plain, self.validation)


@dataclass(frozen=True)
class TrainedBranch:
    """A trained branch and how it came about.

    Attributes:
        branch: with the weights of its best epoch.
        held_out_loss: of every epoch of the last member, on held-out persons; of several members together at the end.
        seconds: that training took, the condensing of features included.
        persons: that it was trained on.
    """

    branch: CCNet
    held_out_loss: tuple[float, ...]
    seconds: float
    persons: int


_TRUTH = ("labelled", "label_known", "present", "presence_known")


@dataclass(frozen=True)
class _Samples:
    """Condensed inputs of persons, what is true of their keypoints ("target" and `_TRUTH`), and their images."""

    condensed: tuple[Tensor, ...]
    truth: dict[str, Tensor]
    image_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    def rows(self, rows: Tensor) -> _Samples:
        return _Samples(
            tuple(tensor[rows] for tensor in self.condensed),
            {name: values[rows] for name, values in self.truth.items()},
            self.image_ids[rows.numpy()],
        )

    def to(self, device: torch.device) -> _Samples:
        return replace(
            self,
            condensed=tuple(tensor.to(device) for tensor in self.condensed),
            truth={name: values.to(device) for name, values in self.truth.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[_Samples]) -> _Samples:
        return cls(
            tuple(torch.cat(tensors) for tensors in zip(*(part.condensed for part in parts), strict=True)),
            {name: torch.cat([part.truth[name] for part in parts]) for name in parts[0].truth},
            np.concatenate([part.image_ids for part in parts]),
        )


def train_branch(
    persons: TrainingPersons,
    config: BranchTraining,
    network_name: str = "",
    target: Target = CachedFeatures.keypoint_oks,
    fabric: Fabric | None = None,
) -> TrainedBranch:
    """Train a branch on cached features of a frozen network.

    Args:
        persons: to train on and to stop by.
        config: how.
        network_name: for the record.
        target: accuracy to predict; the OKS, or PCK (`calibration.experiments.targets`).
        fabric: device, precision and processes, each of which takes its share of every batch; None for this process
            and the CPU. The branch comes back on the CPU.

    Raises:
        InputError: there is no such loss, nothing to train on, or a loss is not finite.
    """
    if config.loss not in CONFIDENCE_LOSSES:
        raise InputError(f"there is no loss {config.loss!r}; known are {', '.join(CONFIDENCE_LOSSES)}")
    start = time.monotonic()
    plain, views = persons.plain, persons.views
    spec = BranchSpec(
        config.head,
        plain.poses.skeleton.name,
        plain.channels,
        plain.feature_is_map,
        network_name,
        plain.network_hash,
        presence=any(view.views is not None and view.views.kind == "cut" for view in views),
        size_wh=plain.size_wh,
    )
    branch = CCNet(spec)
    samples = _Samples.joined([_samples(branch, part, target) for part in (plain, *views)])
    if persons.validation is not None:
        train = samples
        stop_by = (persons.validation, *persons.validation_views)
        held_out = _Samples.joined([_samples(branch, part, target) for part in stop_by])
    else:
        train, held_out = _split(samples, config)
    passes = 1 + len(views)
    config = replace(config, epochs=math.ceil(config.epochs / passes), patience=math.ceil(config.patience / passes))
    members, history = [], []
    for number in range(config.members):
        torch.manual_seed(config.seed + number)
        member = CCNet(spec)
        member.standardise(*train.condensed)
        history = _fit(member, train, held_out, replace(config, seed=config.seed + number), fabric)
        members.append(member)
    if len(members) > 1:
        branch = CCNet(replace(spec, members=len(members)))
        branch.members = nn.ModuleList(member.members[0] for member in members)
        history = [*history, _held_out_loss(branch, held_out, config)]
    else:
        branch = members[0]
    return TrainedBranch(branch.eval(), tuple(history), time.monotonic() - start, round(len(train) / passes))


def _samples(branch: CCNet, cache: CachedFeatures, target: Target) -> _Samples:
    if len(cache) == 0 or not cache.labelled.any():
        raise InputError(f"{cache.dataset.annotation_file} has no labelled keypoint to train a confidence branch on")
    parts = [
        branch.condense_for_training(inputs_of_cache(cache, slice(begin, begin + _CONDENSE_BATCH)))
        for begin in range(0, len(cache), _CONDENSE_BATCH)
    ]
    condensed = tuple(map(torch.cat, zip(*parts, strict=True)))
    return _Samples(
        condensed,
        {
            "target": torch.from_numpy(target(cache).astype(np.float32)),
            **{name: torch.from_numpy(np.array(getattr(cache, name))) for name in _TRUTH},
        },
        cache.dataset.image_ids,
    )


def _split(samples: _Samples, config: BranchTraining) -> tuple[_Samples, _Samples]:
    images = np.unique(samples.image_ids)
    if len(images) < 2:
        raise InputError(
            "a confidence branch needs persons of two images or more: one is held out to decide when to stop"
        )
    count = min(max(round(config.held_out * len(images)), 1), len(images) - 1)
    chosen = np.random.default_rng(config.seed).permutation(images)[:count]
    mark = np.isin(samples.image_ids, chosen)
    train, held_out = (samples.rows(torch.from_numpy(np.flatnonzero(rows))) for rows in (~mark, mark))
    return train, held_out


class _Objective(nn.Module):
    """Equation 22 with the presence's term, and the instance's where it is asked for: a module, for Fabric to wrap."""

    def __init__(self, branch: CCNet, config: BranchTraining) -> None:
        super().__init__()
        self.branch, self._config = branch, config

    def forward(self, condensed: tuple[Tensor, ...], truth: dict[str, Tensor]) -> Tensor:
        output, config = self.branch.decide(*condensed), self._config
        target, labelled = truth["target"], truth["labelled"]
        of_confidence = CONFIDENCE_LOSSES[config.loss]
        loss = of_confidence.keypoint(output.confidence, output.extra, target, labelled)
        visibility = known_cross_entropy(output.visibility_logit, labelled, truth["label_known"])
        loss = loss + config.visibility_weight * visibility
        if output.presence_logit is not None:
            presence = known_cross_entropy(output.presence_logit, truth["present"], truth["presence_known"])
            loss = loss + config.presence_weight * presence
        if config.instance_weight or of_confidence.instance is not None:
            weight = output.visibility
            instance = (weight * output.confidence).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)
            count = labelled.sum(dim=1).clamp_min(1)
            accuracy = (target * labelled).sum(dim=1) / count
            if config.instance_weight:
                loss = loss + config.instance_weight * (instance - accuracy).square().mean()
            if of_confidence.instance is not None:
                loss = loss + of_confidence.instance_weight * of_confidence.instance(instance, accuracy)
        return loss


def _fit(
    branch: CCNet, train: _Samples, held_out: _Samples, config: BranchTraining, fabric: Fabric | None
) -> list[float]:
    matrices = [p for p in branch.parameters() if p.ndim > 1]
    vectors = [p for p in branch.parameters() if p.ndim <= 1]
    optimiser: torch.optim.Optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.lr,
    )
    objective: nn.Module = _Objective(branch, config)
    rank, processes, device = 0, 1, torch.device("cpu")
    if fabric is not None:
        rank, processes, device = fabric.global_rank, fabric.world_size, fabric.device
        objective, optimiser = fabric.setup(objective, optimiser)
    generator = torch.Generator().manual_seed(config.seed)
    best, best_state = math.inf, copy.deepcopy(branch.state_dict())
    history: list[float] = []
    epochs = range(config.epochs)
    for epoch in track(epochs, "branch, epochs at most") if rank == 0 else epochs:
        share = epoch / config.epochs
        for group in optimiser.param_groups:
            group["lr"] = config.lr * (1.0 if share < 0.6 else 0.1 if share < 0.85 else 0.01)
        branch.train()
        for rows in torch.randperm(len(train), generator=generator).split(config.batch):
            if len(rows) < processes:
                continue
            part = train.rows(rows[rank::processes]).to(device)
            loss = objective(part.condensed, part.truth)
            if not _finite_everywhere(loss, fabric):
                raise InputError(
                    f"the branch's loss is {float(loss.detach())} in epoch {epoch}, "
                    f"on images {train.image_ids[rows.numpy()].tolist()}: "
                    "look at their areas and keypoints, or lower the learning rate"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward() if fabric is None else fabric.backward(loss)
            optimiser.step()
        history.append(_held_out_loss(branch, held_out, config, device))
        if history[-1] < best:
            best, best_state = history[-1], copy.deepcopy(branch.state_dict())
        elif epoch - int(np.argmin(history)) >= config.patience:
            break
    branch.load_state_dict(best_state)
    branch.cpu()
    return history


def _finite_everywhere(loss: Tensor, fabric: Fabric | None) -> bool:
    """Whether no process has lost its way; all of them stop together, or the others would wait for ever."""
    finite = torch.isfinite(loss.detach())
    if fabric is not None and fabric.world_size > 1:
        share = fabric.all_reduce(finite.float(), reduce_op="mean")
        assert isinstance(share, Tensor)
        return bool(share == 1.0)
    return bool(finite)


@torch.no_grad()
def _held_out_loss(
    branch: CCNet, held_out: _Samples, config: BranchTraining, device: torch.device | str = "cpu"
) -> float:
    objective = _Objective(branch.eval(), config)
    total = 0.0
    for rows in torch.arange(len(held_out)).split(1024):
        part = held_out.rows(rows).to(torch.device(device))
        total += float(objective(part.condensed, part.truth)) * len(rows)
    return total / len(held_out)
