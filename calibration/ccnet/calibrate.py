"""From a pose network and a data set to cached features and a CCNet file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.ccnet.altered_views import ViewKind, views_of
from calibration.ccnet.feature_cache import cache_features
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.files import save_ccnet
from calibration.ccnet.training import train_branch
from calibration.experiments.methods import BRANCH_TRAININGS
from pose2d.datasets.kinds import DATASETS
from pose2d.errors import InputError
from pose2d.files.storage import sha256
from pose2d.names import DatasetName
from pose2d.networks.base import PoseNetwork
from pose2d.networks.packaged import load_network

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from calibration.commands.ccnet_commands import Ablate, Calibrate, Tables

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


def views_of_splits(
    network: PoseNetwork, options: Ablate | Tables
) -> tuple[list[CachedFeatures], list[CachedFeatures]]:
    """The persons to fit on and those to stop by, in the altered views that the options ask for.

    Raises:
        InputError: a split cannot be read.
    """

    def features(split: str | None) -> list[CachedFeatures]:
        if split is None:
            return []
        return split_views(
            network, options.data, split, options.cache, options.limit, options.views, dataset_name=options.dataset
        )[1:]

    return features(options.calibration_split), features(options.validation_split)


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


def target_cells(network: PoseNetwork) -> float:
    """l~ of the network's training in heatmap cells.

    Raises:
        InputError: neither its checkpoint nor the published configurations say.
    """
    if network.target_cells is None:
        width, height = network.input_spec.size_wh
        raise InputError(
            f"the network's checkpoint does not say how wide its target heatmaps were, and there is no usual width for "
            f"inputs of {width}x{height} pixels: put heatmap_sigma into its metadata"
        )
    return network.target_cells
