"""What runs over the sequences of a split share: their log, errors of tracks, evaluation of files, the summary."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef, Track
from eval3dpw.judging.comparison import INITIAL, METRICS, Comparison, TrackErrors, TrackMeans
from eval3dpw.judging.protocols import FrameErrors, Protocol, evaluate_track, join_errors, pose_truth
from eval3dpw.results.fits import TrackFits, fitted_weightings
from eval3dpw.results.frame_errors import FrameTable
from fitting.bodies.body import Body
from pose2d.console.progress import track as progress
from pose2d.errors import InputError
from pose2d.files.storage import write_json

SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
KEYPOINTS_FOLDER = "keypoints"
EVALUATION_BATCH = 128
"""Frames posed at a time: 128 x 6890 vertices in double precision are 21 MB."""
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@dataclass
class RunLog:
    """What a run did with each sequence."""

    used: list[SequenceRef] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why a sequence could not be used, by name."""

    def attempt(self, sequence: SequenceRef, work: Callable[[], list[TrackMeans]]) -> list[TrackMeans]:
        """Run the work of one sequence; a user's mistake in it does not end the run."""
        try:
            result = work()
        except InputError as error:
            self.failed[sequence.name] = str(error)
            return []
        self.used.append(sequence)
        return result

    def raise_if_nothing_was_done(self) -> None:
        """Raise the first failure when no sequence could be used."""
        if not self.used and self.failed:
            first = next(iter(self.failed.values()))
            more = f" (and {len(self.failed) - 1} more sequences failed)" if len(self.failed) > 1 else ""
            raise InputError(first + more)

    def raise_if_some_failed(self, out: Path) -> None:
        """Raise one sentence that names every sequence that could not be used.

        A run that leaves something out ends with status 2, after the others are finished: a script must not take a
        part for the whole.
        """
        if self.failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failed.items())
            total = len(self.used) + len(self.failed)
            raise InputError(
                f"{len(self.failed)} of {total} sequences could not be used, the others are finished in {out} "
                f"({reasons})"
            )


@contextlib.contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Write to `out`: the folder exists, and a full disk is told in one sentence."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}; choose another --out") from None
    try:
        yield
    except OSError as error:
        if error.errno in _CANNOT_WRITE:
            raise InputError(
                f"cannot write {error.filename or out}: {error.strerror}; make room or choose another --out "
                "(what was finished before is whole)"
            ) from None
        raise


def track_errors(
    track: Track, fits: Sequence[TrackFits], protocol: Protocol, find_body: Callable[[str], Body]
) -> TrackErrors:
    """Errors of several fits of the same frames.

    Bodies are posed a batch at a time. Which frames make a batch depends on their numbers alone, so that the errors are
    the same bits however a track was cut into chunks.
    """
    body = find_body("neutral")
    errors: dict[str, list[FrameErrors]] = {fit.weighting: [] for fit in fits}
    batch_of_frame = track.frame_ids // EVALUATION_BATCH
    for number in np.unique(batch_of_frame):
        chosen = np.flatnonzero(batch_of_frame == number)
        truth = pose_truth(protocol, track.select(chosen), find_body)
        for fit in fits:
            rotations, betas = (
                torch.as_tensor(values[chosen]).float() for values in (fit.fits.rotations, fit.fits.betas)
            )
            errors[fit.weighting].append(evaluate_track(protocol, rotations, betas, body, truth))
    joined = {row: join_errors(parts) for row, parts in errors.items()}
    return TrackErrors(track.sequence, track.name, track.frame_ids, joined)


def frame_table(errors: TrackErrors, protocol: Protocol) -> FrameTable:
    """Errors of every frame and joint of a track, as they are kept on disk."""
    rows = tuple(errors.errors)
    return FrameTable(
        errors.track,
        errors.sequence,
        errors.frame_ids,
        rows,
        {metric: np.stack([getattr(errors.errors[row], metric) for row in rows]) for metric in METRICS},
        protocol.joints.keypoints,
        np.stack([errors.errors[row].joint_mm for row in rows]),
    )


def evaluate_files(
    dataset: SequenceDataset,
    split: str,
    names: Sequence[str],
    results: Path,
    protocol: Protocol,
    find_body: Callable[[str], Body],
    log: RunLog,
) -> Comparison:
    """Compare the fits that a run (or another program) has left in `results`.

    A frame counts if the protocol's rule says so and every weighting has a body for it. Tracks without any file are
    left out, also of the list of failures: a run with --sequences leaves no files for the others.

    Raises:
        InputError: no fits, no such sequences, or nothing in common.
    """
    folders = fitted_weightings(results)
    tracks: list[TrackMeans] = []
    for sequence in progress(dataset.find(split, names), "evaluating"):
        read = partial(dataset.read, sequence, with_images=False)
        tracks += log.attempt(sequence, partial(_evaluate_sequence, read, folders, protocol, find_body))
    log.raise_if_nothing_was_done()
    if not tracks:
        raise InputError(
            f"{results} holds no fits for the {split} sequences of {dataset.root}: is it of another split or root?"
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


def write_summary(out: Path, comparison: Comparison, log: RunLog, record: dict[str, Any]) -> dict[str, Any]:
    """Write `summary.json`, last of all files of a run, and give back what it holds."""
    summary = comparison.summary() | {"failed_sequences": log.failed} | record
    if INITIAL not in comparison.rows:
        summary["note"] = "no initial predictions among the fits: differences to init are null"
    write_json(out / SUMMARY_FILE, summary)
    return summary
