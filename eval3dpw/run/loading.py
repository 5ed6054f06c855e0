"""What a run loads once, in its own process or in a worker: bodies, networks, initial bodies, constants."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.judging.protocols import Protocol, find_protocol
from eval3dpw.results.fits import GivenPredictions
from eval3dpw.run.constants import method_config
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import Stages
from eval3dpw.run.provenance import code_hash
from eval3dpw.run.sequence_job import SequenceJob
from eval3dpw.run.stage_networks import load_2d_stage
from fitting.bodies.body import REGRESSOR_FILE, load_body
from fitting.regressor.model import PACKAGED_REGRESSOR, Regressor, load_regressor
from fitting.start_prior import StartPrior
from pose2d.errors import InputError


def load_job(options: FitOptions, weightings: tuple[str, ...]) -> tuple[SequenceJob, list[Path]]:
    """What fits a sequence, with everything loaded, and the files that it came from.

    Raises:
        InputError: one of the files is missing or does not fit.
    """
    protocol = find_protocol(options.protocol)
    stages, inputs = load_stages(options, weightings, protocol)
    return SequenceJob(
        open_dataset(options.root, options.dataset), options.out, protocol, weightings, stages, options.limit
    ), inputs


def load_job_of_worker(
    options: FitOptions, weightings: tuple[str, ...], code: str, prior: StartPrior | None
) -> SequenceJob:
    """`load_job` in a worker, which may be on another machine.

    Args:
        options: of the run.
        weightings: that are fitted.
        code: hash of the sources that started the run.
        prior: of the start, as it was chosen for the whole run.

    Raises:
        InputError: as `load_job`, or the machine has another version of this project.
    """
    if code_hash() != code:
        raise InputError(
            f"{platform.node()} has other sources of this project than the machine that started the run: install the "
            "same version on all machines"
        )
    job = load_job(options, weightings)[0]
    # One thread: the other cores have workers of their own.
    alone = replace(job.stages.fitting.refinement, threads=1, start_prior=prior)
    return replace(job, stages=replace(job.stages, fitting=replace(job.stages.fitting, refinement=alone)))


def load_stages(options: FitOptions, weightings: Sequence[str], protocol: Protocol) -> tuple[Stages, list[Path]]:
    """Everything that is loaded once, and the files that it came from.

    Raises:
        InputError: one of the files is missing or does not fit.
    """
    bodies = check_bodies(options.body_dir, protocol)
    network, calibrators, network_files = load_2d_stage(options, options.ccnet, weightings)
    initial, initial_files = _initial_bodies(options)
    stages = Stages(
        find_body=partial(load_body, options.body_dir),
        pose_network=network,
        initial=initial,
        calibrators=calibrators,
        method=options.method,
        fitting=method_config(options.constants, options.temporal, options.objective),
        weighting=options.rule,
        objective=options.objective,
        flip=options.flip,
    )
    prior_files = [options.start_prior] if isinstance(options.start_prior, Path) else []
    return stages, [*bodies, *network_files, *initial_files, *prior_files]


def _initial_bodies(options: FitOptions) -> tuple[Regressor | GivenPredictions, list[Path]]:
    """Where the initial bodies come from, and its files."""
    if options.initial is not None:
        given = GivenPredictions(options.initial)
        return given, given.files()
    return load_regressor(options.regressor), [options.regressor or PACKAGED_REGRESSOR]


def check_bodies(body_dir: Path | None, protocol: Protocol) -> list[Path]:
    """Load the three bodies before any work is done, and return their files.

    Raises:
        InputError: one is missing or unusable, they differ in topology, or the evaluation regressor is missing.
    """
    bodies = {gender: load_body(body_dir, gender) for gender in ("neutral", "male", "female")}
    sizes = {len(body.v_template) for body in bodies.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{body.path.name} has {len(body.v_template)}" for body in bodies.values())
        raise InputError(f"the bodies differ in their number of vertices: {told}; take all three from one release")
    files = [body.path for body in bodies.values()]
    regressor = files[0].parent / REGRESSOR_FILE
    if regressor.is_file():
        files.append(regressor)
    elif protocol.joints.name == "lsp14":
        raise InputError(
            f"no {REGRESSOR_FILE} in {regressor.parent}, which protocol {protocol.name} needs: put the file there, "
            "or take --protocol official"
        )
    return files
