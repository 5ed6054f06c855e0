"""Every confidence beside every other: the network's own, closed forms, calibrated scores, branches, the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from calibration.aggregation import above_threshold
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.options import Head
from calibration.ccnet.training import BRANCH_TRAININGS, TrainedBranch, TrainingPersons, train_branch
from calibration.coco.accuracy import accuracy_of
from calibration.coco.evaluation import Confidence
from calibration.coco.matching import match
from calibration.experiments.comparison import detections_of, truth_of
from calibration.file_calibration.baselines import fit_isotonic
from calibration.rescoring import AreaRegressor, rescore, sigma_px_from_maximum
from pose2d.errors import InputError


@dataclass
class Confidences:
    """Confidences of the same persons by the method's name, in the order that tables show them.

    Attributes:
        by_name: of each method.
        visibilities: predicted visibilities of the methods that have them.
        branches: the branches behind some of them.
    """

    by_name: dict[str, Confidence] = field(default_factory=dict)
    visibilities: dict[str, Float[np.ndarray, "n k"]] = field(default_factory=dict)
    branches: dict[Head, TrainedBranch] = field(default_factory=dict)


def all_confidences(
    persons: TrainingPersons,
    test: CachedFeatures,
    target_cells: float | None,
    heads: Sequence[Head] = ("scores", "linear", "conv", "local"),
    network_name: str = "",
) -> Confidences:
    """Fit everything on `persons`, apply it to `test`.

    Args:
        persons: that the pose network was not trained on. From their altered views the local form learns alone; the
            paper's forms learn as the paper says.
        test: persons to judge.
        target_cells: l~ of the network's training in heatmap cells, for the closed forms; None leaves them out.
        heads: branches to train.
        network_name: for the record.
    """
    result, calibration = Confidences(), persons.plain
    # Heatmaps overshoot 1 now and then, which no calibration error is defined for.
    raw = np.clip(test.poses.raw_score, 0.0, 1.0)
    result.by_name["constant"] = Confidence(np.ones(len(test)), np.ones_like(raw))
    result.by_name["raw"] = usual_confidence(raw)
    result.by_name["temperature"] = usual_confidence(temperature_scaled(calibration, raw))
    closed_forms = {} if target_cells is None else _closed_forms(calibration, test, target_cells)
    for name, confidence in closed_forms.items():
        result.by_name[f"closed form, {name} area"] = usual_confidence(confidence)
    result.by_name["isotonic"] = _isotonic(calibration, test)
    for head in heads:
        seen = persons if head == "local" else persons.without_views()
        trained = train_branch(seen, BRANCH_TRAININGS[head], network_name)
        calibrated = calibrate_cache(trained.branch, test)
        name = "MLP on raw scores" if head == "scores" else f"CCNet {head}"
        result.by_name[name] = Confidence(calibrated.instance_confidence, calibrated.confidence)
        result.visibilities[name] = calibrated.visibility
        result.branches[head] = trained
    result.by_name["oracle"] = Confidence(test.instance_oks(), test.keypoint_oks())
    return result


def usual_confidence(keypoint: Float[np.ndarray, "n k"]) -> Confidence:
    """Keypoint confidences with the conventional instance's: the mean of those above 0.2 (equation 5)."""
    return Confidence(above_threshold(keypoint), keypoint)


def _closed_forms(calibration: CachedFeatures, test: CachedFeatures, target_cells: float) -> dict[str, np.ndarray]:
    """Expected OKS by equation 12, under each way to know the area."""
    spread, sigmas = _spread_px(test, target_cells), test.dataset.skeleton.sigmas
    return {name: rescore(spread, area, sigmas) for name, area in _areas(calibration, test).items()}


def _areas(calibration: CachedFeatures, test: CachedFeatures) -> dict[str, np.ndarray]:
    """Areas in image px^2: the mean fitted on, a share of the box, predicted from pooled features, the truth."""
    size = test.dataset.boxes_xywh[:, 2:].prod(axis=1)
    seen = calibration.dataset
    share = float((seen.areas / seen.boxes_xywh[:, 2:].prod(axis=1)).mean())
    regressor = AreaRegressor.fit(pooled_features(calibration), seen.areas, 1.0 / calibration.scale**2)
    return {
        "mean": np.full(len(test), float(seen.areas.mean())),
        "box": share * size,
        "predicted": regressor.predict(pooled_features(test), 1.0 / test.scale**2),
        "true": test.dataset.areas,
    }


def pooled_features(cache: CachedFeatures) -> Float[np.ndarray, "n c"]:
    """Features averaged over their map."""
    if cache.mean is not None:
        return np.asarray(cache.mean, dtype=np.float64)
    assert cache.feature is not None  # a cache has one of the two
    if cache.feature.ndim == 2:
        return np.asarray(cache.feature, dtype=np.float64)
    parts = [
        np.asarray(cache.feature[start : start + 256], dtype=np.float32).mean(axis=(2, 3))
        for start in range(0, len(cache), 256)
    ]
    return np.concatenate(parts).astype(np.float64)


def _spread_px(cache: CachedFeatures, target_cells: float) -> np.ndarray:
    """sigma_k in image pixels from the network's output: its own spread, or its heatmaps' maxima."""
    if cache.poses.sigma_px is not None:
        return cache.poses.sigma_px
    if cache.cell_px is None:
        raise InputError("the network gives neither spreads nor heatmaps: it has no closed form")
    return sigma_px_from_maximum(cache.poses.raw_score, target_cells, cache.cell_px / cache.scale)


def _isotonic(calibration: CachedFeatures, test: CachedFeatures) -> Confidence:
    truth = truth_of(calibration)
    detections = detections_of(calibration, truth)
    curves = fit_isotonic(detections, accuracy_of(match(truth, detections)), np.arange(len(calibration)))
    return usual_confidence(curves.predict(detections_of(test, truth_of(test))))


def temperature_scaled(calibration: CachedFeatures, raw_score: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """sigmoid(a logit(score) + b), one temperature and one shift for all keypoints (Guo et al., 2017), least squares.

    Args:
        calibration: persons to fit on.
        raw_score: scores to scale.
    """
    known = calibration.labelled
    target = torch.from_numpy(calibration.keypoint_oks()[known])
    logit = torch.logit(torch.from_numpy(np.clip(calibration.poses.raw_score[known], 1e-3, 1 - 1e-3)))
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (torch.sigmoid(parameters[0] * logit + parameters[1]) - target).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    scale, shift = parameters.detach().tolist()
    clipped = np.clip(raw_score, 1e-3, 1 - 1e-3)
    return np.asarray(1.0 / (1.0 + np.exp(-(scale * np.log(clipped / (1.0 - clipped)) + shift))))
