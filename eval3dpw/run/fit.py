"""Fitting the sequences of a split under some weightings, on any engine, resumed where it was interrupted."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.dataset.sequences import SequenceRef
from eval3dpw.judging.comparison import RAW, Comparison
from eval3dpw.judging.protocols import find_protocol
from eval3dpw.results.layout import (
    MANIFEST_FILE,
    PARTS_FOLDER,
    START_PRIOR_FILE,
    START_PRIOR_RECORD_FILE,
    TIMINGS_FILE,
)
from eval3dpw.results.manifest import (
    UnitRecord,
    begin,
    discard_partials,
    refuse_inputs_among_results,
    sole_writer,
)
from eval3dpw.results.run_folder import RunLog, write_summary, writing_to
from eval3dpw.run.constants import used_constants
from eval3dpw.run.engines import Done, InProcess, Processes
from eval3dpw.run.loading import load_job, load_job_of_worker
from eval3dpw.run.options import FitOptions
from eval3dpw.run.posteriors import judge_posteriors
from eval3dpw.run.provenance import code_hash, configuration, input_hashes, versions
from eval3dpw.run.sequence_job import Outcome, SequenceJob
from eval3dpw.run.start_priors import ChosenPrior, choose_prior, with_prior
from fitting.methods.catalogue import METHODS
from fitting.start_prior import StartPrior
from pose2d.console.progress import meter, say
from pose2d.errors import InputError
from pose2d.files.storage import read_json, write_json
from pose2d.networks.onnx_network import is_onnx
from pose2d.parallel import usable_cores

_OF_THE_MACHINE = ("fresh", "engine", "workers", "address", "threads")
"""Options that change how a run is done and not its results."""
_PATHS = ("root", "out", "body_dir", "regressor", "initial", "checkpoint", "network_config", "ccnet")
_BY_CONTENT = (*_PATHS, "start_prior", "sequences", "constants")
"""Options that the manifest records in another way: files by their hashes, sequences by name, constants resolved."""


@dataclass(frozen=True)
class FinishedRun:
    """What a run has left."""

    out: Path
    summary: dict[str, Any]
    """What summary.json holds."""
    log: RunLog


def run_fits(options: FitOptions, weightings: Sequence[str], command: str, chosen: Mapping[str, Any]) -> FinishedRun:
    """Fit and compare, and write the results.

    Sequences that an interrupted run of the same configuration has finished in --out are not done again. Those that
    could not be used are in the log.

    Args:
        options: what to fit, by what, and where.
        weightings: rules from confidence to weight.
        command: what the run is called in its record.
        chosen: options of the command beside `options`, for the record.

    Raises:
        InputError: nothing could be done, or --out holds another run.
    """
    _check(options, weightings)
    protocol = find_protocol(options.protocol)
    dataset = open_dataset(options.root, options.dataset)
    sources = {sequence.name: sequence for sequence in dataset.find(options.split, options.sequences)}
    job, inputs = load_job(options, tuple(weightings))
    refuse_inputs_among_results(options.out, inputs)
    kept = configuration(options) | used_constants(job.stages.method, job.stages.fitting)
    kept = {name: value for name, value in kept.items() if name not in _OF_THE_MACHINE}
    hashes = input_hashes(inputs)
    identity = {
        **{name: value for name, value in kept.items() if name not in _BY_CONTENT},
        "weightings": list(weightings),
        "sequences": list(sources),
        "inputs": {Path(path).name: digest for path, digest in hashes.items()},
        "versions": versions(),
        "source code": code_hash(),
        "start prior": "file" if isinstance(options.start_prior, Path) else options.start_prior,
    }
    with writing_to(options.out), sole_writer(options.out):
        done = begin(options.out, identity, dataset, list(sources.values()), options.fresh)
        chosen_prior = _prior_of_run(options, job, list(sources.values()), resumed=bool(done))
        log, records = _do_jobs(options, weightings, with_prior(job, chosen_prior), sources, done)
        _require_results(options.out, records)
        tracks = [track for name in sources if name in records for track in records[name].tracks]
        record = {
            "command": command,
            "configuration": kept | dict(chosen),
            "versions": versions(),
            "inputs": {str(used.path): records[used.name].source_sha256 for used in log.used} | hashes,
        }
        if chosen_prior is not None:
            record["start_prior"] = chosen_prior.record
            record["posterior"] = judge_posteriors(options.out, job, log.used)
        summary = write_summary(options.out, Comparison(protocol, tuple(tracks)), log, record)
    return FinishedRun(options.out, summary, log)


def _require_results(out: Path, records: Mapping[str, UnitRecord]) -> None:
    """Refuse to sum up a folder that was removed or emptied under the run.

    Raises:
        InputError: results of finished sequences are gone.
    """
    wanted = [out / MANIFEST_FILE, *(out / file for record in records.values() for file in record.files)]
    gone = [file for file in wanted if not file.is_file()]
    if gone:
        raise InputError(
            f"{out} was changed while the run was writing to it: {len(gone)} of its files are gone, {gone[0].name} for "
            "one; run the same command again, it goes on with what is left"
        )


def _prior_of_run(
    options: FitOptions, job: SequenceJob, sequences: Sequence[SequenceRef], resumed: bool
) -> ChosenPrior | None:
    """The start's prior, chosen once for a run however often that is interrupted."""
    kept = options.out / START_PRIOR_FILE
    if resumed and job.stages.objective == "probability" and kept.is_file():
        return ChosenPrior(StartPrior.load(kept), read_json(options.out / START_PRIOR_RECORD_FILE))
    chosen = choose_prior(options, job, sequences)
    if chosen is not None:
        say(chosen.told)
        write_json(options.out / START_PRIOR_RECORD_FILE, chosen.record)
        chosen.prior.save(kept)  # after its record, so that one is never without the other
    return chosen


def _do_jobs(
    options: FitOptions,
    weightings: Sequence[str],
    job: SequenceJob,
    sources: dict[str, SequenceRef],
    done: dict[str, UnitRecord],
) -> tuple[RunLog, dict[str, UnitRecord]]:
    """Do what is not done yet, and return how it went and the records of all finished sequences.

    Raises:
        InputError: no sequence could be used.
    """
    if done:
        say(f"{len(done)} of {len(sources)} sequences are finished in {options.out}: going on with the others")
    left = [sequence for name, sequence in sources.items() if name not in done]
    records, failed, start = dict(done), dict[str, str](), time.perf_counter()
    seconds: dict[str, float] = defaultdict(float)
    persons = 0
    try:
        with (
            meter("sequences", len(sources), len(done)) as shown,
            contextlib.closing(_start(options, weightings, job, left)) as outcomes,
        ):
            for outcome in outcomes:
                name = outcome.item.name
                result = outcome.result
                if result is not None and result.record is not None:
                    records[name] = result.record
                else:
                    failed[name] = outcome.failure if result is None else result.failure
                if result is not None:
                    persons += result.num_persons
                    for stage, spent in result.seconds.items():
                        seconds[stage] += spent
                shown.advance()
                say(
                    f"{len(records) + len(failed)}/{len(sources)} {name}: "
                    + (f"failed: {failed[name]}" if name in failed else "done")
                )
    except BaseException:
        discard_partials(options.out)
        say(f"{len(records)} of {len(sources)} sequences are finished and kept in {options.out}")
        raise
    with contextlib.suppress(OSError):
        (options.out / PARTS_FOLDER).rmdir()  # only if it is empty
    _note_timings(options, persons, time.perf_counter() - start, seconds)
    used = [sequence for name, sequence in sources.items() if name in records]
    log = RunLog(used, {name: failed[name] for name in sources if name in failed})
    log.raise_if_nothing_was_done()
    return log, records


def _note_timings(options: FitOptions, persons: int, wall: float, seconds: Mapping[str, float]) -> None:
    """Write and tell how fast the run was, in wall time and by stage."""
    timings = {
        "engine": options.engine,
        "workers": options.workers,
        "persons": persons,
        "wall_seconds": round(wall, 2),
        "persons_per_second": round(persons / wall, 2),
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
    }
    write_json(options.out / TIMINGS_FILE, timings)
    if persons:
        shares = ", ".join(
            f"{stage} {spent / seconds['all']:.0%}" for stage, spent in seconds.items() if not stage.startswith("all")
        )
        say(f"{persons} persons in frames, {persons / wall:.1f} a second: {shares}")


def _start(
    options: FitOptions, weightings: Sequence[str], job: SequenceJob, sequences: Sequence[SequenceRef]
) -> Generator[Done[SequenceRef, Outcome]]:
    """The sequences' outcomes from the engine that was asked for, as they come."""
    here = replace(options, **{name: _absolute(getattr(options, name)) for name in _PATHS}, start_prior=None)
    if is_onnx(options.network):
        here = replace(here, network=str(Path(options.network).absolute()))
    prior = job.stages.fitting.refinement.start_prior
    load = partial(load_job_of_worker, here, tuple(weightings), code_hash(), prior)
    items = [replace(sequence, path=_absolute(sequence.path)) for sequence in sequences]
    if options.engine == "ray":
        from eval3dpw.run.ray_engine import Ray

        return Ray(options.address).run(load, items)
    if options.workers == 1 or (not options.workers and usable_cores() == 1) or len(items) < 2:
        return InProcess().run(lambda: job, items)
    return Processes(options.workers).run(load, items)


def _absolute(path: Any) -> Any:
    return None if path is None else Path(path).absolute()  # workers may stand in another folder


def _check(options: FitOptions, weightings: Sequence[str]) -> None:
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}: it must be at least 1")
    if options.method not in METHODS:
        raise InputError(f"--method {options.method}: there is no such method; known are {', '.join(METHODS)}")
    method = METHODS[options.method]
    if method.moves_regressor and options.initial is not None:
        raise InputError(
            f"--method {options.method} moves the regressor's weights, so it cannot start from --initial: drop one"
        )
    if options.temporal and not method.temporal:
        knowing = " or ".join(name for name, other in METHODS.items() if other.temporal)
        raise InputError(f"--temporal belongs to --method {knowing}: {options.method} fits frames one by one")
    if options.objective == "probability" and not method.probability:
        raise InputError(f"--objective probability belongs to --method params: {options.method} has its own")
    if options.start_prior is not None and options.objective != "probability":
        raise InputError("--start-prior belongs to --objective probability: add it, or drop --start-prior")
    if options.workers < 0:
        raise InputError(f"--workers is {options.workers}: 1 or more, or 0 for as many as there are cores")
    if options.address is not None and options.engine != "ray":
        raise InputError("--address is that of a Ray cluster: add --engine ray")
    if not weightings:
        raise InputError(f"--weightings is empty: name at least one, for example {RAW}")
    if len(set(weightings)) < len(weightings):
        raise InputError(f"--weightings names one twice: {', '.join(weightings)}")
