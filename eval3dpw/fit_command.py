"""What the subcommands `fit`, `compare` and `evaluate` do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from eval3dpw.commands import Evaluate, FitOptions
from eval3dpw.comparison import RAW, Comparison
from eval3dpw.constants import method_config, used_constants
from eval3dpw.fit_files import FITS_FOLDER, GivenPredictions, fitted_weightings
from eval3dpw.pipeline import Stages
from eval3dpw.protocols import Protocol, find_protocol
from eval3dpw.provenance import configuration, input_hashes, versions
from eval3dpw.report import write_report
from eval3dpw.report_table import print_summary, report_console
from eval3dpw.runs import (
    SUMMARY_FILE,
    RunLog,
    clear_results,
    evaluate_files,
    fit_and_evaluate,
    write_summary,
    writing_to,
)
from eval3dpw.sequences import find_sequences
from eval3dpw.stage_networks import load_2d_stage
from fitting.body import REGRESSOR_FILE, load_body
from fitting.regressor import PACKAGED_REGRESSOR, load_regressor
from pose2d.errors import InputError


def run_fits(options: FitOptions, weightings: Sequence[str]) -> dict[str, Any]:
    """Fit and compare, print the tables, write the results; gives back what summary.json holds.

    Raises:
        InputError: nothing could be done, or some sequences could not be used (after the others are finished).
    """
    console = report_console()
    protocol = find_protocol(options.protocol)
    _check(options, weightings)
    paths = find_sequences(options.root, options.split, options.sequences)
    stages, inputs = load_stages(options, weightings, protocol)
    if options.body_dir is not None and options.regressor is None and options.initial is None:
        console.print("Note: the packaged regressor predicts shapes of the packaged body, not of --body-dir's.")
    log = RunLog()
    clear_results(options.out, inputs)
    with writing_to(options.out):
        comparison = fit_and_evaluate(
            options.root,
            paths,
            protocol,
            weightings,
            stages,
            options.out,
            options.limit,
            log,
            lambda line: console.print(line, highlight=False, markup=False),
        )
        record = {
            "command": type(options).__name__.lower(),
            "configuration": configuration(options) | used_constants(stages.method, stages.fitting),
            "versions": versions(),
            "inputs": input_hashes([*log.used, *inputs]),
            "seconds": {stage: round(seconds, 2) for stage, seconds in stages.seconds.items()},
            "num_threads": torch.get_num_threads(),
        }
        summary = write_summary(options.out, comparison, log, record)
    print_summary(summary, console)
    console.print(f"Results: {options.out / SUMMARY_FILE}, {options.out / FITS_FOLDER}", highlight=False)
    if options.report:
        console.print(f"Report: {write_report(options.out)}", highlight=False)
    log.raise_if_some_failed(options.out)
    return summary


def run_evaluation(options: Evaluate) -> Comparison:
    """Evaluate fits that lie on disk, print the tables and write summary.json where asked.

    Raises:
        InputError: nothing could be evaluated, or some sequences could not (after the others are finished).
    """
    if options.report and options.out is None:
        raise InputError("--report needs --out, the folder to write the page to")
    protocol = find_protocol(options.protocol)
    bodies = check_bodies(options.body_dir, protocol)
    log = RunLog()
    find_body = partial(load_body, options.body_dir)
    comparison = evaluate_files(options.root, options.split, options.sequences, options.fits, protocol, find_body, log)
    summary = comparison.summary()
    if options.out is not None:
        fit_files = [file for folder in fitted_weightings(options.fits).values() for file in folder.glob("*.npz")]
        record = {
            "command": "evaluate",
            "configuration": configuration(options),
            "versions": versions(),
            "inputs": input_hashes([*log.used, *fit_files, *bodies]),
        }
        with writing_to(options.out):
            write_summary(options.out, comparison, log, record)
    print_summary(summary, report_console())
    if options.report and options.out is not None:
        print(f"Report: {write_report(options.out)}")
    log.raise_if_some_failed(options.out or options.fits)
    return comparison


def load_stages(options: FitOptions, weightings: Sequence[str], protocol: Protocol) -> tuple[Stages, list[Path]]:
    """Everything that is loaded once, and the files that it came from."""
    bodies = check_bodies(options.body_dir, protocol)
    network, calibrators, network_files = load_2d_stage(options.network, options.checkpoint, options.ccnet, weightings)
    initial: Any
    if options.initial is not None:
        initial = GivenPredictions(options.initial)
        initial_files = initial.files()
    else:
        initial = load_regressor(options.regressor)
        initial_files = [options.regressor or PACKAGED_REGRESSOR]
    stages = Stages(
        find_body=partial(load_body, options.body_dir),
        pose_network=network,
        initial=initial,
        calibrators=calibrators,
        method=options.method,
        fitting=method_config(options.constants, options.temporal),
        weighting=options.rule,
        flip=options.flip,
    )
    return stages, [*bodies, *network_files, *initial_files]


def check_bodies(body_dir: Path | None, protocol: Protocol) -> list[Path]:
    """Load the three bodies before any work is done; gives back their files.

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


def _check(options: FitOptions, weightings: Sequence[str]) -> None:
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}: it must be at least 1")
    if options.method == "network" and options.initial is not None:
        raise InputError("--method network moves the regressor's weights, so it cannot start from --initial: drop one")
    if options.temporal and options.method != "params":
        raise InputError(f"--temporal belongs to --method params: {options.method} fits frames one by one")
    if not weightings:
        raise InputError(f"--weightings is empty: name at least one, for example {RAW}")
    if len(set(weightings)) < len(weightings):
        raise InputError(f"--weightings names one twice: {', '.join(weightings)}")
