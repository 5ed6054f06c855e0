"""Tables of confidences and of the choices around CCNet (section 6.4) on any data set: what `ablate` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from calibration.aggregation import AGGREGATIONS
from calibration.calibrated_poses import CalibratedPoses2D
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.losses import CONFIDENCE_LOSSES
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.splits import closed_form_cells, network_of, split_features, training_persons
from calibration.ccnet.training import BRANCH_TRAININGS, BranchTraining, TrainedBranch, TrainingPersons, train_branch
from calibration.coco.evaluation import Confidence
from calibration.experiments.comparison import compare_confidences, comparison_table, roc_auc
from calibration.experiments.input_ablation import (
    coordinates_and_scores,
    fine_tuned_features,
    low_level_features,
    penultimate,
    with_inputs,
)
from calibration.experiments.methods import all_confidences
from calibration.experiments.options import AblateOptions
from calibration.experiments.targets import Pck, judge_targets, target_confidences, target_table
from pose2d.networks.base import PoseNetwork
from pose2d.tables import Cell, Number, ResultTable, Section, write_tables


@dataclass(frozen=True)
class _Data:
    """Features of the splits, and how the local form is trained on them."""

    network: PoseNetwork
    persons: TrainingPersons
    test: CachedFeatures
    title: str
    options: AblateOptions

    def train(self, persons: TrainingPersons, training: BranchTraining | None = None) -> TrainedBranch:
        """A branch, by default of the local form."""
        return train_branch(persons, training or BRANCH_TRAININGS["local"], self.options.network)

    def compared(self, found: Mapping[str, CalibratedPoses2D], title: str, test: CachedFeatures) -> ResultTable:
        """Branches' confidences of the same persons, and their gains over the first."""
        reference = next(iter(found))
        rows = compare_confidences(
            test,
            {name: Confidence(poses.instance_confidence, poses.confidence) for name, poses in found.items()},
            (reference,),
            {name: poses.visibility for name, poses in found.items()},
            self.options.bootstrap,
        )
        return comparison_table(rows, (reference,), title)


def ablate(options: AblateOptions) -> Iterator[list[ResultTable]]:
    """The tables that the options ask for, each written to files (.txt and .json) too.

    Raises:
        InputError: the data or the checkpoint cannot be used.
    """
    network = network_of(options).network
    persons = training_persons(network, options, options.calibration_split, options.validation_split)
    test, _ = split_features(network, options, options.test_split)
    title = f"{options.network}, {len(test)} persons of {options.test_split}, fitted on {len(persons.plain)}"
    data = _Data(network, persons, test, title, options)
    for what, tables_of in _TABLES.items():
        if options.what in (what, "all"):
            tables = tables_of(data)
            write_tables(options.out / f"{what}.txt", tables)
            yield tables


def _confidences(data: _Data) -> list[ResultTable]:
    """Every confidence beside every other."""
    cells = closed_form_cells(data.network, data.test)
    found = all_confidences(data.persons, data.test, cells, network_name=data.options.network)
    references = ("raw", "isotonic", "MLP on raw scores")
    rows = compare_confidences(data.test, found.by_name, references, found.visibilities, data.options.bootstrap)
    return [comparison_table(rows, references, data.title)]


def _losses(data: _Data) -> list[ResultTable]:
    """Section 6.4: the branch under each loss, one member each."""
    local = BRANCH_TRAININGS["local"]
    found = {
        loss: calibrate_cache(data.train(data.persons, replace(local, loss=loss, members=1)).branch, data.test)
        for loss in CONFIDENCE_LOSSES
    }
    return [data.compared(found, f"Losses: {data.title}", data.test)]


def _inputs(data: _Data) -> list[ResultTable]:
    """Section 6.4: the paper's linear form on several inputs, and the local form beside."""
    persons = data.persons
    splits = [split for split in (persons.plain, persons.validation, data.test) if split is not None]
    usual = [penultimate(split) for split in splits]
    early = [low_level_features(data.network, split, data.options.cache) for split in splits]
    place = [coordinates_and_scores(split) for split in splits]
    inputs: dict[str, list[tuple[np.ndarray, ...]]] = {
        "penultimate": [(one,) for one in usual],
        "+ low-level": list(zip(usual, early, strict=True)),
        "+ coordinates, raw": list(zip(usual, place, strict=True)),
        "+ all of these": list(zip(usual, early, place, strict=True)),
    }
    if data.options.fine_tune_minutes > 0:
        tuned = fine_tuned_features(data.network, splits[0], splits[1:], data.options.fine_tune_minutes)
        inputs["fine-tuned copy"] = [(one,) for one in tuned]
    found = {}
    for name, vectors in inputs.items():
        fit, *held_out, test = [with_inputs(split, *given) for split, given in zip(splits, vectors, strict=True)]
        learnt_from = TrainingPersons(fit, held_out[0] if held_out else None)
        found[name] = calibrate_cache(data.train(learnt_from, BRANCH_TRAININGS["linear"]).branch, test)
    found["local form"] = calibrate_cache(data.train(persons.without_views()).branch, data.test)
    return [data.compared(found, f"Inputs: {data.title}", data.test)]


def _aggregations(data: _Data) -> list[ResultTable]:
    """Figure 4: each aggregation of raw and of calibrated confidences, with CCNet's visibility."""
    calibrated = calibrate_cache(data.train(data.persons).branch, data.test)
    confidences = {
        f"{source}, {name}": Confidence(aggregate(values, calibrated.visibility), values)
        for source, values in (("raw", data.test.poses.raw_score), ("calibrated", calibrated.confidence))
        for name, aggregate in AGGREGATIONS.items()
    }
    rows = compare_confidences(data.test, confidences, ("raw, tau=0.2",), None, data.options.bootstrap)
    return [comparison_table(rows, ("raw, tau=0.2",), f"Aggregations: {data.title}")]


def _targets(data: _Data) -> list[ResultTable]:
    """OKS against PCK, each judged by both (section 6.2's choice on MPII, on any data set)."""
    usual = (0.1,) if data.test.dataset.head_sizes_px is None else (0.5, 0.1)
    measures = [Pck(threshold) for threshold in data.options.pck or usual]
    confidences = target_confidences(data.persons, data.test, measures, data.options.network)
    judged = judge_targets(data.test, confidences, measures, data.options.bootstrap)
    return [target_table(judged, f"Targets: {data.title}")]


def _presence(data: _Data) -> list[ResultTable]:
    """What learning from altered views does: for persons as they are, cut away in part, and patched."""
    options = data.options
    _, (cut, patched) = split_features(data.network, options, options.test_split, ("cut", "patched"))
    branches = {"CCNet": data.train(data.persons.without_views()).branch}
    if data.persons.views:
        branches[f"CCNet + {', '.join(options.views)}"] = data.train(data.persons).branch
    tables = [ResultTable(f"Presence: {data.title}", (), ())]
    for name, cache in (("as they are", data.test), ("cut", cut), ("patched", patched)):
        labelled = cache.select(np.flatnonzero(cache.labelled.any(axis=1)))
        found = {branch: calibrate_cache(trained, labelled) for branch, trained in branches.items()}
        tables.append(replace(data.compared(found, f"persons {name}", labelled), notes=()))
        if name == "cut":
            tables.append(_presence_table(found, labelled))
    return tables


def _presence_table(found: Mapping[str, CalibratedPoses2D], cache: CachedFeatures) -> ResultTable:
    """How well presence is predicted where it is known, beside visibility in its place and one share for all."""
    known = cache.presence_known
    present = cache.present[known]
    share = float(present.mean())
    rows: list[list[Cell]] = []
    for name, poses in found.items():
        presence = np.ones(present.shape) if poses.presence is None else poses.presence[known]
        brier = float(np.mean((presence - present) ** 2))
        auc, instead = (roc_auc(values[None], present) for values in (presence, poses.visibility[known]))
        rows.append([name, *map(Number, (auc, instead, brier, share * (1.0 - share)))])
    columns = ("confidence", "presence AUC", "visibility in its place", "Brier", "its share for all")
    return ResultTable("presence in persons cut", columns, (Section(None, rows),))


_TABLES: dict[str, Callable[[_Data], list[ResultTable]]] = {
    "confidences": _confidences,
    "losses": _losses,
    "inputs": _inputs,
    "aggregations": _aggregations,
    "targets": _targets,
    "presence": _presence,
}
