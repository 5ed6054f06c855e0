"""From a pose network and a data set to a CCNet file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from calibration.ccnet.files import save_ccnet
from calibration.ccnet.options import CalibrateOptions
from calibration.ccnet.splits import network_of, split_features, training_persons
from calibration.ccnet.training import BRANCH_TRAININGS, BranchTraining, TrainedBranch, train_branch
from pose2d.networks.checkpoints import LoadedCheckpoint

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SEEN_PERSONS = 500


def calibrate(options: CalibrateOptions) -> list[str]:
    """Train a CCNet as the options say and write it.

    Returns:
        Lines that report how it went.

    Raises:
        InputError: the data or the checkpoint cannot be used.
    """
    lines: list[str] = options.hardware.fabric().launch(partial(_calibrate, options=options))
    return lines


def _calibrate(fabric: Fabric, options: CalibrateOptions) -> list[str]:
    loaded = network_of(options)
    network = loaded.network
    persons = training_persons(network, options, options.split, options.validation_split, fabric)
    training = replace(BRANCH_TRAININGS[options.head], seed=options.seed)
    trained = train_branch(persons, training, options.network, fabric=fabric)
    if fabric.is_global_zero:
        save_ccnet(trained.branch, options.out, _about(options, loaded.checkpoint, training, trained))
    oks = persons.plain.instance_oks().mean()
    lines = [
        f"CCNet {options.head}: {trained.branch.num_parameters:,} parameters, {trained.persons} persons"
        f"{''.join(f', {kind}' for kind in options.views)}, "
        f"{len(trained.held_out_loss)} epochs, {trained.seconds:.0f} s, "
        f"held-out loss {min(trained.held_out_loss):.4f}: {options.out}",
        f"the network's mean OKS on {options.split}: {oks:.3f}",
    ]
    if options.seen_split is not None:
        seen, _ = split_features(network, replace(options, limit=_SEEN_PERSONS), options.seen_split, fabric=fabric)
        seen_oks = seen.instance_oks().mean()
        lines.append(
            f"on {len(seen)} persons of its training split {options.seen_split}: {seen_oks:.3f} "
            f"({float(seen_oks - oks):+.3f}): a CCNet trained there would be that much too sure"
        )
    return lines


def _about(
    options: CalibrateOptions, checkpoint: LoadedCheckpoint, training: BranchTraining, trained: TrainedBranch
) -> dict[str, str]:
    """What a CCNet file records of its making."""
    return {
        "network_checkpoint_sha256": checkpoint.sha256,
        "training": json.dumps(asdict(training)),
        "views": " ".join(["plain", *options.views]),
        "data": f"{options.split}: {trained.persons} persons",
        "seconds": f"{trained.seconds:.0f}",
    }
