"""Tables of confidences and of the choices around CCNet (section 6.4) on any data set: what `ablate` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calibration.aggregation import AGGREGATIONS
from calibration.calibrated_poses import CalibratedPoses2D
from calibration.ccnet.calibrate import features_of_splits, network_of, split_views, target_cells, views_of_splits
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.training import TrainedBranch, train_branch
from calibration.coco.evaluation import Confidence
from calibration.experiments.comparison import compare_confidences, comparison_lines, roc_auc, write_lines
from calibration.experiments.input_ablation import (
    coordinates_and_scores,
    fine_tuned_features,
    low_level_features,
    penultimate,
    with_inputs,
)
from calibration.experiments.methods import BRANCH_TRAININGS, all_confidences
from calibration.experiments.targets import Pck, judge_targets, target_confidences, target_lines
from pose2d.networks.base import PoseNetwork

if TYPE_CHECKING:
    from calibration.commands.ccnet_commands import Ablate


@dataclass(frozen=True)
class _Data:
    """Features of the splits, and how the local form is trained on them."""

    network: PoseNetwork
    calibration: CachedFeatures
    validation: CachedFeatures | None
    test: CachedFeatures
    views: tuple[list[CachedFeatures], list[CachedFeatures]]
    cells: float
    title: str
    options: Ablate

    def train(self, seen_otherwise: bool = True, **changes: object) -> TrainedBranch:
        """The local form with some of its training changed."""
        training = replace(BRANCH_TRAININGS["local"], **changes)  # type: ignore[arg-type]
        views, held_out = self.views if seen_otherwise else ([], [])
        return train_branch(
            self.calibration,
            training,
            self.options.network,
            self.validation,
            views=views,
            validation_views=held_out,
        )


def ablate(options: Ablate) -> Iterator[list[str]]:
    """The tables that the options ask for; each is written to a file too.

    Raises:
        InputError: the data or the checkpoint cannot be used.
    """
    network, _ = network_of(options, options.network)
    calibration, validation, test = features_of_splits(network, options)
    title = f"{options.network}, {len(test)} persons of {options.test_split}, fitted on {len(calibration)}"
    cells = target_cells(network) if calibration.poses.sigma_px is None else 1.0
    views = views_of_splits(network, options)
    data = _Data(network, calibration, validation, test, views, cells, title, options)
    for what, table in _TABLES.items():
        if options.what in (what, "all"):
            lines = table(data)
            write_lines(options.out / f"{what}.txt", lines)
            yield lines


def _confidences(data: _Data) -> list[str]:
    """Every confidence beside every other."""
    areas = data.calibration.dataset.areas
    found = all_confidences(
        data.calibration,
        data.test,
        data.cells,
        float(areas.mean()),
        data.validation,
        network_name=data.options.network,
        views=data.views[0],
        validation_views=data.views[1],
    )
    references = ("raw", "isotonic", "MLP on raw scores")
    rows = compare_confidences(data.test, found.by_name, references, found.visibilities, data.options.bootstrap)
    return comparison_lines(rows, references, data.title)


def _losses(data: _Data) -> list[str]:
    """Section 6.4: the branch under each loss, one member each."""
    confidences, visibilities = {}, {}
    for loss in ("mse", "bce", "heteroscedastic", "evidential", "ap"):
        calibrated = calibrate_cache(data.train(loss=loss, members=1).branch, data.test)
        confidences[loss], visibilities[loss] = _said(calibrated), calibrated.visibility
    rows = compare_confidences(data.test, confidences, ("mse",), visibilities, data.options.bootstrap)
    return comparison_lines(rows, ("mse",), f"Losses: {data.title}")


def _inputs(data: _Data) -> list[str]:
    """Section 6.4: the paper's linear form on several inputs, and the local form beside."""
    splits = [split for split in (data.calibration, data.validation, data.test) if split is not None]
    usual = [penultimate(split) for split in splits]
    early = [low_level_features(data.network, split, data.options.cache) for split in splits]
    place = [coordinates_and_scores(split) for split in splits]
    inputs: dict[str, list[tuple[np.ndarray, ...]]] = {
        "penultimate": [(one,) for one in usual],
        "+ low-level": list(zip(usual, early)),
        "+ coordinates, raw": list(zip(usual, place)),
        "+ all of these": list(zip(usual, early, place)),
    }
    if data.options.fine_tune_minutes > 0:
        tuned = fine_tuned_features(data.network, splits[0], splits[1:], data.options.fine_tune_minutes)
        inputs["fine-tuned copy"] = [(one,) for one in tuned]
    confidences, visibilities = {}, {}
    for name, vectors in inputs.items():
        fit, *held_out, test = [with_inputs(split, *given) for split, given in zip(splits, vectors)]
        held = held_out[0] if held_out else None
        branch = train_branch(fit, BRANCH_TRAININGS["linear"], data.options.network, held).branch
        calibrated = calibrate_cache(branch, test)
        confidences[name], visibilities[name] = _said(calibrated), calibrated.visibility
    calibrated = calibrate_cache(data.train(False).branch, data.test)
    confidences["local form"], visibilities["local form"] = _said(calibrated), calibrated.visibility
    rows = compare_confidences(data.test, confidences, ("penultimate",), visibilities, data.options.bootstrap)
    return comparison_lines(rows, ("penultimate",), f"Inputs: {data.title}")


def _aggregations(data: _Data) -> list[str]:
    """Figure 4: each aggregation of raw and of calibrated confidences, with CCNet's visibility."""
    calibrated = calibrate_cache(data.train().branch, data.test)
    confidences = {
        f"{source}, {name}": Confidence(aggregate(values, calibrated.visibility), values)
        for source, values in (("raw", data.test.poses.raw_score), ("calibrated", calibrated.confidence))
        for name, aggregate in AGGREGATIONS.items()
    }
    rows = compare_confidences(data.test, confidences, ("raw, tau=0.2",), None, data.options.bootstrap)
    return comparison_lines(rows, ("raw, tau=0.2",), f"Aggregations: {data.title}")


def _targets(data: _Data) -> list[str]:
    """OKS against PCK, each judged by both (section 6.2's choice on MPII, on any data set)."""
    usual = (0.1,) if data.test.dataset.head_sizes_px is None else (0.5, 0.1)
    measures = [Pck(threshold) for threshold in data.options.pck or usual]
    confidences = target_confidences(data.calibration, data.validation, data.test, measures, data.options.network)
    judged = judge_targets(data.test, confidences, measures, data.options.bootstrap)
    return target_lines(judged, f"Targets: {data.title}")


def _presence(data: _Data) -> list[str]:
    """What learning from altered views does: for persons as they are, cut away in part, and patched."""
    options = data.options
    _, cut, patched = split_views(
        data.network,
        options.data,
        options.test_split,
        options.cache,
        options.limit,
        ("cut", "patched"),
        dataset_name=options.dataset,
    )
    branches = {"CCNet": data.train(False).branch}
    if data.views[0]:
        branches[f"CCNet + {', '.join(options.views)}"] = data.train().branch
    lines = [f"Presence: {data.title}"]
    for name, cache in (("as they are", data.test), ("cut", cut), ("patched", patched)):
        cache = cache.select(np.flatnonzero(cache.labelled.any(axis=1)))
        said = {branch: calibrate_cache(trained, cache) for branch, trained in branches.items()}
        rows = compare_confidences(
            cache,
            {branch: _said(calibrated) for branch, calibrated in said.items()},
            ("CCNet",),
            {branch: calibrated.visibility for branch, calibrated in said.items()},
            options.bootstrap,
        )
        lines += comparison_lines(rows, ("CCNet",), f"persons {name}")[:-1]
        if name == "cut":
            lines += [_presence_line(branch, calibrated, cache) for branch, calibrated in said.items()]
    return lines


def _presence_line(name: str, calibrated: CalibratedPoses2D, cache: CachedFeatures) -> str:
    known = cache.presence_known
    assert calibrated.presence is not None
    present, presence = cache.present[known], calibrated.presence[known]
    brier, chance = float(np.mean((presence - present) ** 2)), float(present.mean() * (1.0 - present.mean()))
    auc, instead = (roc_auc(values[None], present) for values in (presence, calibrated.visibility[known]))
    return (
        f"{name}: presence AUC {auc:.3f} (visibility in its place {instead:.3f}), "
        f"Brier {brier:.3f} (its share for all {chance:.3f})"
    )


def _said(calibrated: CalibratedPoses2D) -> Confidence:
    return Confidence(calibrated.instance_confidence, calibrated.confidence)


_TABLES: dict[str, Callable[[_Data], list[str]]] = {
    "confidences": _confidences,
    "losses": _losses,
    "inputs": _inputs,
    "aggregations": _aggregations,
    "targets": _targets,
    "presence": _presence,
}
