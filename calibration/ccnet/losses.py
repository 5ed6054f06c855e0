"""Losses of confidence branches: equations 20 to 22, and the alternatives of section 6.4.

`confidence` is in (0, 1), `target` is the true OKS (or another accuracy in [0, 1]), `labelled` is v_k. Keypoints
without a label do not count. Each loss is a mean over what counts, so that its size does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_EPS = 1e-4


def _mean(values: Tensor, labelled: Tensor) -> Tensor:
    weight = labelled.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def squared_error(
    confidence: Float[Tensor, "b k"], target: Float[Tensor, "b k"], labelled: Bool[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """L_conf = sum_k v_k (s_k - OKS_k)^2 (equation 20)."""
    return _mean((confidence - target).square(), labelled)


def cross_entropy(
    confidence: Float[Tensor, "b k"], target: Float[Tensor, "b k"], labelled: Bool[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy with the soft target OKS; least where the confidence is the expected OKS, as equation 20."""
    p = confidence.clamp(_EPS, 1.0 - _EPS)
    return _mean(-(target * torch.log(p) + (1.0 - target) * torch.log1p(-p)), labelled)


def heteroscedastic(
    confidence: Float[Tensor, "b k"],
    log_variance: Float[Tensor, "b k"],
    target: Float[Tensor, "b k"],
    labelled: Bool[Tensor, "b k"],
) -> Float[Tensor, ""]:
    """Gaussian negative log-likelihood with a learned variance (aleatoric; Kendall and Gal, 2017)."""
    bounded = log_variance.clamp(-7.0, 3.0)
    return _mean(0.5 * (bounded + (confidence - target).square() * torch.exp(-bounded)), labelled)


def evidential(
    confidence: Float[Tensor, "b k"],
    evidence: Float[Tensor, "b k 3"],
    target: Float[Tensor, "b k"],
    labelled: Bool[Tensor, "b k"],
    regularisation: float = 0.05,
) -> Float[Tensor, ""]:
    """Deep evidential regression (Amini et al., 2020): a normal-inverse-gamma's likelihood and its regulariser.

    Args:
        confidence: gamma, the mean.
        evidence: unbounded numbers that become nu > 0, alpha > 1 and beta > 0.
        target: true OKS.
        labelled: v_k.
        regularisation: weight of |error| times evidence.
    """
    nu = functional.softplus(evidence[..., 0]) + _EPS
    alpha = functional.softplus(evidence[..., 1]) + 1.0 + _EPS
    beta = functional.softplus(evidence[..., 2]) + _EPS
    error = target - confidence
    omega = 2.0 * beta * (1.0 + nu)
    likelihood = (
        0.5 * torch.log(torch.pi / nu)
        - alpha * torch.log(omega)
        + (alpha + 0.5) * torch.log(error.square() * nu + omega)
        + torch.lgamma(alpha)
        - torch.lgamma(alpha + 0.5)
    )
    return _mean(likelihood + regularisation * error.abs() * (2.0 * nu + alpha), labelled)


def average_precision_surrogate(
    score: Float[Tensor, " b"], target: Float[Tensor, " b"], temperature: float = 0.05
) -> Float[Tensor, ""]:
    """One minus a smooth average precision of instances over OKS thresholds .5 to .95 (after Qi et al., 2021).

    The rank's indicator is replaced by a sigmoid of score differences, so that it has a gradient; thresholds without a
    positive in the batch do not count.

    Args:
        score: instance confidences.
        target: instance OKS.
        temperature: of the sigmoid.
    """
    above = torch.sigmoid((score[None, :] - score[:, None]) / temperature)
    above = above * (1.0 - torch.eye(len(score), device=score.device)) + torch.eye(len(score), device=score.device)
    losses = []
    for threshold in torch.arange(0.5, 0.951, 0.05).tolist():
        positive = (target >= threshold).to(score.dtype)
        if not float(positive.sum()) > 0:
            continue
        precision = (above @ positive) / above.sum(dim=1)
        losses.append(1.0 - (precision * positive).sum() / positive.sum())
    return torch.stack(losses).mean() if losses else score.sum() * 0.0


def known_cross_entropy(
    logit: Float[Tensor, "b k"], truth: Bool[Tensor, "b k"], known: Bool[Tensor, "b k"]
) -> Float[Tensor, ""]:
    """L_vis = BCE(v^_k, v_k) (equation 21) over the keypoints of which it is known; presence has the same loss."""
    loss = functional.binary_cross_entropy_with_logits(logit, truth.to(logit.dtype), reduction="none")
    return _mean(loss, known)


KeypointLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(confidence, extra outputs (b, k, 3), target, labelled) -> loss."""
InstanceLoss = Callable[[Tensor, Tensor], Tensor]
"""(instance confidence, instance target) -> loss."""


@dataclass(frozen=True)
class ConfidenceLoss:
    """What confidences are trained by.

    Attributes:
        keypoint: loss of the keypoints.
        instance: loss of the instances, added to it; None for none.
        instance_weight: its weight.
    """

    keypoint: KeypointLoss
    instance: InstanceLoss | None = None
    instance_weight: float = 0.0


CONFIDENCE_LOSSES: dict[str, ConfidenceLoss] = {
    "mse": ConfidenceLoss(lambda confidence, _, target, labelled: squared_error(confidence, target, labelled)),
    "bce": ConfidenceLoss(lambda confidence, _, target, labelled: cross_entropy(confidence, target, labelled)),
    "heteroscedastic": ConfidenceLoss(
        lambda confidence, extra, target, labelled: heteroscedastic(confidence, extra[..., 0], target, labelled)
    ),
    "evidential": ConfidenceLoss(evidential),
    "ap": ConfidenceLoss(
        lambda confidence, _, target, labelled: squared_error(confidence, target, labelled),
        average_precision_surrogate,
        instance_weight=0.1,
    ),
}
"""Losses of section 6.4 by name; "mse" is the paper's choice."""
