"""From a pose network and a data set to a CCNet file, and to tables of confidences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.aggregation import AGGREGATIONS
from calibration.branch_training import train_branch
from calibration.ccnet import calibrate_cache
from calibration.ccnet_files import save_ccnet
from calibration.coco_eval import Confidence
from calibration.comparison import compare_confidences, comparison_lines, write_lines
from calibration.experiments import BRANCH_TRAININGS, all_confidences
from calibration.feature_cache import cache_features
from calibration.features import CachedFeatures
from calibration.targets import Pck, judge_targets, target_confidences, target_lines
from calibration.views import ViewKind, views_of
from pose2d.bundled import checkpoint_metadata, load_network
from pose2d.datasets.kinds import DATASETS
from pose2d.datasets.names import DatasetName
from pose2d.errors import InputError
from pose2d.networks.base import PoseNetwork
from pose2d.storage import sha256

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from calibration.ccnet_commands import Ablate, Calibrate, Tables

_PUBLISHED_TARGET_CELLS = {192: 2.0, 256: 2.0, 288: 3.0}
_SEEN_PERSONS = 500


def calibrate(options: Calibrate) -> list[str]:
    """Train a CCNet as the options say and write it; lines that report how it went.

    Raises:
        InputError: the data or the checkpoint cannot be used.
    """
    return options.hardware.fabric().launch(partial(_calibrate, options=options))


def _calibrate(fabric: Fabric, options: Calibrate) -> list[str]:
    network, checkpoint = network_of(options, options.network)

    def features(split: str, limit: int | None = options.limit, kinds: Sequence[ViewKind] = ()) -> list[CachedFeatures]:
        return split_views(network, options.data, split, options.cache, limit, kinds, fabric, options.dataset)

    cache, *views = features(options.split, kinds=options.views)
    validation, *validation_views = [None]
    if options.validation_split is not None:
        validation, *validation_views = features(options.validation_split, kinds=options.views)
    training = replace(BRANCH_TRAININGS[options.head], seed=options.seed)
    trained = train_branch(
        cache,
        training,
        options.network,
        validation,
        views=views,
        validation_views=validation_views,
        fabric=fabric,
    )
    about = {
        "network_checkpoint_sha256": sha256(checkpoint),
        "training": json.dumps(asdict(training)),
        "views": " ".join(["plain", *options.views]),
        "data": f"{options.split}: {trained.persons} persons",
        "seconds": f"{trained.seconds:.0f}",
    }
    if fabric.is_global_zero:
        save_ccnet(trained.branch, options.out, about)
    lines = [
        f"CCNet {options.head}: {trained.branch.num_parameters:,} parameters, {trained.persons} persons"
        f"{''.join(f', {kind}' for kind in options.views)}, "
        f"{len(trained.held_out_loss)} epochs, {trained.seconds:.0f} s, "
        f"held-out loss {min(trained.held_out_loss):.4f}: {options.out}",
        f"the network's mean OKS on {options.split}: {cache.instance_oks().mean():.3f}",
    ]
    if options.seen_split is not None:
        (seen,) = features(options.seen_split, _SEEN_PERSONS)
        gap = float(seen.instance_oks().mean() - cache.instance_oks().mean())
        lines.append(
            f"on {len(seen)} persons of its training split {options.seen_split}: {seen.instance_oks().mean():.3f} "
            f"({gap:+.3f}): a CCNet trained there would be that much too sure"
        )
    return lines


def ablate(options: Ablate) -> Iterator[list[str]]:
    """Tables of confidences, losses, aggregations and targets on a test split; each is written to a file too.

    Raises:
        InputError: the data or the checkpoint cannot be used.
    """
    network, checkpoint = network_of(options, options.network)
    calibration, validation, test = features_of_splits(network, options)
    title = f"{options.network}, {len(test)} persons of {options.test_split}, fitted on {len(calibration)}"
    if options.what in ("confidences", "all"):
        areas = calibration.dataset.areas
        cells = target_cells(network, checkpoint) if calibration.poses.sigma_px is None else 1.0
        found = all_confidences(calibration, test, cells, float(areas.mean()), validation, network_name=options.network)
        references = ("raw", "isotonic", "MLP on raw scores")
        rows = compare_confidences(test, found.by_name, references, found.visibilities, options.bootstrap)
        yield _written(options.out / "confidences.txt", comparison_lines(rows, references, title))
    if options.what in ("losses", "all"):
        yield _written(options.out / "losses.txt", _losses(calibration, validation, test, title, options))
    if options.what in ("aggregations", "all"):
        yield _written(options.out / "aggregations.txt", _aggregations(calibration, validation, test, title, options))
    if options.what in ("targets", "all"):
        yield _written(options.out / "targets.txt", _targets(calibration, validation, test, title, options))


def _losses(
    calibration: CachedFeatures, validation: CachedFeatures | None, test: CachedFeatures, title: str, options: Ablate
) -> list[str]:
    """Section 6.4: the branch under each loss."""
    confidences, visibilities = {}, {}
    for loss in ("mse", "bce", "heteroscedastic", "evidential", "ap"):
        training = replace(BRANCH_TRAININGS["local"], loss=loss)
        calibrated = calibrate_cache(train_branch(calibration, training, options.network, validation).branch, test)
        confidences[loss] = Confidence(calibrated.instance_confidence, calibrated.confidence)
        visibilities[loss] = calibrated.visibility
    rows = compare_confidences(test, confidences, ("mse",), visibilities, options.bootstrap)
    return comparison_lines(rows, ("mse",), f"Losses: {title}")


def _aggregations(
    calibration: CachedFeatures, validation: CachedFeatures | None, test: CachedFeatures, title: str, options: Ablate
) -> list[str]:
    """Figure 4: each aggregation of raw and of calibrated confidences, with CCNet's visibility."""
    branch = train_branch(calibration, BRANCH_TRAININGS["local"], options.network, validation).branch
    calibrated = calibrate_cache(branch, test)
    confidences = {
        f"{source}, {name}": Confidence(aggregate(values, calibrated.visibility), values)
        for source, values in (("raw", test.poses.raw_score), ("calibrated", calibrated.confidence))
        for name, aggregate in AGGREGATIONS.items()
    }
    rows = compare_confidences(test, confidences, ("raw, tau=0.2",), None, options.bootstrap)
    return comparison_lines(rows, ("raw, tau=0.2",), f"Aggregations: {title}")


def _targets(
    calibration: CachedFeatures, validation: CachedFeatures | None, test: CachedFeatures, title: str, options: Ablate
) -> list[str]:
    """OKS against PCK, each judged by both (section 6.2's choice on MPII, on any data set)."""
    usual = (0.1,) if test.dataset.head_sizes_px is None else (0.5, 0.1)
    measures = [Pck(threshold) for threshold in options.pck or usual]
    confidences = target_confidences(calibration, validation, test, measures, options.network)
    return target_lines(judge_targets(test, confidences, measures, options.bootstrap), f"Targets: {title}")


def network_of(options: Calibrate | Ablate | Tables, name: str) -> tuple[PoseNetwork, Path]:
    """The network that the options name, with as many keypoints as their data set has, and its checkpoint.

    Raises:
        InputError: there is no such network or checkpoint, or they do not fit.
    """
    keypoints = len(DATASETS[options.dataset].skeleton)
    return load_network(name, options.checkpoint, keypoints, options.input_size)


def features_of_splits(
    network: PoseNetwork, options: Ablate | Tables
) -> tuple[CachedFeatures, CachedFeatures | None, CachedFeatures]:
    """Cached features of the splits to fit on, to stop by (or None) and to judge on.

    Raises:
        InputError: a split cannot be read.
    """

    def features(split: str) -> CachedFeatures:
        return split_features(network, options.data, split, options.cache, options.limit, options.dataset)

    held_out = None if options.validation_split is None else features(options.validation_split)
    return features(options.calibration_split), held_out, features(options.test_split)


def split_features(
    network: PoseNetwork,
    data: Path,
    split: str,
    directory: Path,
    limit: int | None = None,
    dataset_name: DatasetName = "coco",
) -> CachedFeatures:
    """A network's cached features of a split's persons.

    Args:
        network: frozen.
        data: directory in the data set's layout.
        split: of it.
        directory: where caches lie.
        limit: the first persons only.
        dataset_name: of the layout.

    Raises:
        InputError: the split cannot be read.
    """
    return split_views(network, data, split, directory, limit, dataset_name=dataset_name)[0]


def split_views(
    network: PoseNetwork,
    data: Path,
    split: str,
    directory: Path,
    limit: int | None = None,
    kinds: Sequence[ViewKind] = (),
    fabric: Fabric | None = None,
    dataset_name: DatasetName = "coco",
) -> list[CachedFeatures]:
    """As `split_features`, and after it the same persons seen otherwise.

    Args:
        network, data, split, directory, limit, dataset_name: see `split_features`.
        kinds: of views.
        fabric: device, precision and processes of the passes.

    Raises:
        InputError: the split cannot be read.
    """
    dataset = DATASETS[dataset_name].read(data, split)
    if limit is not None:
        dataset = dataset.select(np.arange(min(limit, len(dataset))))
    spec = network.input_spec
    views = [None, *(views_of(kind, dataset, spec.size_wh, spec.padding) for kind in kinds)]
    return [cache_features(network, dataset, directory, views=one, fabric=fabric) for one in views]


def target_cells(network: PoseNetwork, checkpoint: Path) -> float:
    """l~ of the network's training in heatmap cells: from the checkpoint's metadata, else as published for its input.

    Raises:
        InputError: neither says.
    """
    text = checkpoint_metadata(checkpoint).get("config", "{}")
    try:
        return float(json.loads(text)["heatmap_sigma"])
    except (KeyError, TypeError, ValueError):
        pass
    width = network.input_spec.size_wh[0]
    if width not in _PUBLISHED_TARGET_CELLS:
        raise InputError(
            f"{checkpoint} does not say how wide its target heatmaps were, and there is no usual width for inputs of "
            f"{width} pixels: put heatmap_sigma into its metadata"
        )
    return _PUBLISHED_TARGET_CELLS[width]


def _written(path: Path, lines: list[str]) -> list[str]:
    write_lines(path, lines)
    return lines
