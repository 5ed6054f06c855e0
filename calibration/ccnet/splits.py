"""From options to the network, and to the cached features of a data set's splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from calibration.ccnet.altered_views import views_of
from calibration.ccnet.feature_cache import CacheOptions, cache_views
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.options import FeatureOptions, ViewKind
from calibration.ccnet.training import TrainingPersons
from pose2d.console.progress import say
from pose2d.datasets.kinds import DATASETS
from pose2d.errors import InputError
from pose2d.networks.base import PoseNetwork
from pose2d.networks.packaged import LoadedNetwork, load_by_options

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def network_of(options: FeatureOptions) -> LoadedNetwork:
    """The network that the options ask for, with as many keypoints as their data set has.

    Raises:
        InputError: there is no such network or checkpoint, or they do not fit.
    """
    return load_by_options(options, DATASETS[options.dataset].skeleton, trainable=True)


def split_features(
    network: PoseNetwork,
    options: FeatureOptions,
    split: str,
    kinds: Sequence[ViewKind] = (),
    fabric: Fabric | None = None,
) -> tuple[CachedFeatures, list[CachedFeatures]]:
    """A network's cached features of a split's persons as they are, and in altered views.

    Args:
        network: frozen.
        options: the data set, how many of its persons, and where caches lie.
        split: of the data set.
        kinds: of views.
        fabric: device, precision and processes of the passes.

    Raises:
        InputError: the split cannot be read.
    """
    dataset = DATASETS[options.dataset].read(options.data, split)
    if options.limit is not None:
        dataset = dataset.select(np.arange(min(options.limit, len(dataset))))
    spec = network.input_spec
    views = [None, *(views_of(kind, dataset, spec.size_wh, spec.padding) for kind in kinds)]
    plain, *altered = cache_views(network, dataset, options.cache, views, CacheOptions(options.kept), fabric)
    return plain, altered


def training_persons(
    network: PoseNetwork,
    options: FeatureOptions,
    split: str,
    validation_split: str | None,
    fabric: Fabric | None = None,
) -> TrainingPersons:
    """Persons to train on and those to stop by, in the altered views that the options ask for too.

    Args:
        network: frozen.
        options: see `split_features`.
        split: to train on.
        validation_split: to stop by; None to hold out a share of `split`.
        fabric: device, precision and processes of the passes.

    Raises:
        InputError: a split cannot be read.
    """
    plain, views = split_features(network, options, split, options.views, fabric)
    if validation_split is None:
        return TrainingPersons(plain, views=views)
    held_out, held_out_views = split_features(network, options, validation_split, options.views, fabric)
    return TrainingPersons(plain, held_out, views, held_out_views)


def closed_form_cells(network: PoseNetwork, cache: CachedFeatures) -> float | None:
    """l~ for the closed forms; 1 where the network gives spreads itself, None where it has no closed form.

    A network has none that gives neither spreads nor heatmaps, or heatmaps of unknown targets; that is said.
    """
    if cache.poses.sigma_px is not None:
        return 1.0
    if network.cell_px is None:
        say("closed forms are left out: the network gives neither spreads nor heatmaps")
        return None
    try:
        return target_cells(network)
    except InputError as error:
        say(f"closed forms are left out: {error}")
        return None


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
