"""Evaluating fits that lie on disk, of this project's runs or of other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef, Track
from eval3dpw.judging.comparison import Comparison, TrackMeans
from eval3dpw.judging.protocols import Protocol, find_protocol
from eval3dpw.results.fits import TrackFits, fitted_weightings
from eval3dpw.results.frame_errors import track_errors
from eval3dpw.results.layout import SUMMARY_FILE
from eval3dpw.results.run_folder import RunLog, write_summary, writing_to
from eval3dpw.run.loading import check_bodies
from eval3dpw.run.options import EvaluateOptions
from eval3dpw.run.provenance import configuration, input_hashes, versions
from fitting.bodies.body import Body, load_body
from pose2d.console.progress import track as progress
from pose2d.errors import InputError


def run_evaluation(options: EvaluateOptions, chosen: Mapping[str, Any]) -> tuple[Comparison, RunLog]:
    """Evaluate fits, and write summary.json where asked.

    Args:
        options: what to evaluate against what.
        chosen: options of the command beside `options`, for the record.

    Returns:
        The comparison, and a log that names the sequences that could not be used.

    Raises:
        InputError: nothing could be evaluated.
    """
    protocol = find_protocol(options.protocol)
    bodies = check_bodies(options.body_dir, protocol)
    log = RunLog()
    dataset = open_dataset(options.root, options.dataset)
    sequences = dataset.find(options.split, options.sequences)
    comparison = evaluate_files(dataset, sequences, options.fits, protocol, partial(load_body, options.body_dir), log)
    if options.out is not None:
        fit_files = [file for folder in fitted_weightings(options.fits).values() for file in folder.glob("*.npz")]
        record = {
            "command": "evaluate",
            "configuration": configuration(options) | dict(chosen),
            "versions": versions(),
            "inputs": input_hashes([*(used.path for used in log.used), *fit_files, *bodies]),
        }
        with writing_to(options.out):
            (options.out / SUMMARY_FILE).unlink(missing_ok=True)  # it stands only beside the results it belongs to
            write_summary(options.out, comparison, log, record)
    return comparison, log


def evaluate_files(
    dataset: SequenceDataset,
    sequences: Sequence[SequenceRef],
    results: Path,
    protocol: Protocol,
    find_body: Callable[[str], Body],
    log: RunLog,
) -> Comparison:
    """Compare the fits that a run (or another program) has left in `results`.

    A frame counts if the protocol's rule says so and every weighting has a body for it. Tracks without any file are
    left out, also of the list of failures: a run with --sequences leaves no files for the others.

    Raises:
        InputError: no fits, or nothing in common.
    """
    folders = fitted_weightings(results)
    tracks: list[TrackMeans] = []
    for sequence in progress(sequences, "evaluating"):
        read = partial(dataset.read, sequence, with_images=False)
        tracks += log.attempt(sequence, partial(_evaluate_sequence, read, folders, protocol, find_body))
    log.raise_if_nothing_was_done()
    if not tracks:
        raise InputError(
            f"{results} holds no fits for these sequences of {dataset.root}: is it the result of another split or root?"
        )
    return Comparison(protocol, tuple(tracks))


def _evaluate_sequence(
    read: Callable[[], Sequence[Track]],
    folders: dict[str, Path],
    protocol: Protocol,
    find_body: Callable[[str], Body],
) -> list[TrackMeans]:
    results = []
    for track in read():
        files = {name: folder / f"{track.name}.npz" for name, folder in folders.items()}
        present = [name for name, file in files.items() if file.is_file()]
        if not present:
            continue
        if len(present) < len(files):
            absent = next(file for file in files.values() if not file.is_file())
            raise InputError(f"{absent} is missing though {files[present[0]]} is there: fit that weighting again")
        fits = {name: TrackFits.load(file) for name, file in files.items()}
        frames = track.frame_ids[protocol.valid_frames(track)]
        for fit in fits.values():
            frames = np.intersect1d(frames, fit.frame_ids)
        if len(frames) == 0:
            continue
        kept = [TrackFits(track.name, name, frames, fit.at(frames)) for name, fit in fits.items()]
        results.append(track_errors(track.select(frames), kept, protocol, find_body).means())
    return results
