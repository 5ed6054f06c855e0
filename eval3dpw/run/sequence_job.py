"""The job of `fit` and `compare`: one sequence, from its file to the results of its tracks.

A job is a sequence, not a track: its tracks share one file and its images, which are opened once for all of them, and a
sequence is used or fails as a whole. What a job holds in memory is bounded by a chunk of its frames: chunks are
observed, fitted, evaluated and put aside one after the other, and joined on disk at the end. An interrupted job goes on
at its first chunk that is not put aside. Methods that look at all frames of a track at once (`whole_tracks`) take the
sequence as one chunk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eval3dpw.dataset.boxes import track_boxes
from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef, Track
from eval3dpw.judging.comparison import TrackErrors, TrackMeans
from eval3dpw.judging.protocols import Protocol
from eval3dpw.results.chunked_files import Arrays, Key, Parts, PartStore, SpoiltPartError, part_of
from eval3dpw.results.frame_errors import FrameTable, track_errors
from eval3dpw.results.layout import errors_file, fits_file, keypoints_file, parts_folder
from eval3dpw.results.manifest import UnitRecord
from eval3dpw.results.run_folder import failure_of
from eval3dpw.run.pipeline import (
    Observations,
    Stages,
    fit_track,
    initial_fits,
    observe,
    read_fittable,
)
from fitting.body_fits import Reason
from fitting.methods.catalogue import METHODS
from fitting.weightings import fields_needed
from pose2d.errors import InputError
from pose2d.files.storage import sha256
from pose2d.parallel import single_thread

CHUNK_FRAMES = 256
"""Frames of a sequence in a chunk; a multiple of `frame_errors.EVALUATION_BATCH` and of the networks' batches."""

_MEANS = "means/"  # errors that are kept aside in double precision, for the record's means


@dataclass(frozen=True)
class Outcome:
    """What became of one sequence."""

    sequence: str
    record: UnitRecord | None
    """None where it failed."""
    failure: str = ""
    """Why, in one sentence."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""
    num_persons: int = 0
    """Boxes that were fitted now, not counting chunks that an earlier run had done."""


@dataclass(frozen=True)
class SequenceJob:
    """Fits sequences one after the other; called with each."""

    dataset: SequenceDataset
    out: Path
    protocol: Protocol
    weightings: tuple[str, ...]
    stages: Stages
    limit: int | None = None

    def __call__(self, sequence: SequenceRef) -> Outcome:
        """Fit, evaluate and write the tracks of a sequence; a user's mistake in it is an outcome, no error.

        All arithmetic is done on one thread, so that sums keep their order and results their bits, whoever does it.
        """
        before, persons = dict(self.stages.seconds), 0
        start, start_cpu = time.perf_counter(), time.process_time()
        record, failure = None, ""
        try:
            with single_thread():
                record, persons = self._fit(sequence)
        except Exception as error:
            failure = failure_of(error, sequence.path)
        seconds = {stage: total - before.get(stage, 0.0) for stage, total in self.stages.seconds.items()}
        seconds |= {"all": time.perf_counter() - start, "all (CPU time)": time.process_time() - start_cpu}
        return Outcome(sequence.name, record, failure, seconds, persons)

    def _fit(self, sequence: SequenceRef) -> tuple[UnitRecord, int]:
        with self.stages.timed("read"):
            source = self.dataset.digest(sequence)
            tracks = read_fittable(self.dataset, sequence, self.protocol, self.limit)
            for track in tracks:
                track_boxes(track)  # a bad box is found before any work, not in the last chunk
        chunks = [tracks] if whole_tracks(self.stages) else frame_chunks(tracks, CHUNK_FRAMES)
        if len(chunks) == 1:
            persons, store = sum(map(len, tracks)), None
            parts = Parts(None, 1, self._part(tracks))
        else:
            store = PartStore(self.out / parts_folder(sequence.name, source))
            missing = [number for number in range(len(chunks)) if number not in store]
            for number in missing:
                part = self._part(chunks[number])
                with self.stages.timed("write"):
                    store.put(number, part)
            persons = sum(len(track) for number in missing for track in chunks[number])
            parts = Parts(store, len(chunks))
        try:
            with self.stages.timed("write"), parts:
                record = self._join(sequence.name, source, tracks, parts)
        except SpoiltPartError:
            if store is None:
                raise
            store.clear()
            return self._fit(sequence)
        if store is not None:
            store.clear()
        return record, persons

    def _join(self, sequence: str, source: str, tracks: Sequence[Track], parts: Parts) -> UnitRecord:
        """Write the files of a sequence and then its record."""
        files = [file for file in parts.files() if not file.startswith(_MEANS)]
        _refuse_if_none_was_refined(sequence, files, parts)
        hashes = {file: sha256(parts.write(file, self.out)) for file in files}
        record = UnitRecord(sequence, source, hashes, tuple(_means(track, parts) for track in tracks))
        record.save(self.out)
        return record

    def _part(self, tracks: Sequence[Track]) -> dict[Key, np.ndarray]:
        """What some frames of the sequence add to its files."""
        part: dict[Key, np.ndarray] = {}
        for seen in observe(tracks, self.stages, oracle="oracle" in fields_needed(self.weightings)):
            fits = [initial_fits(seen), *(fit_track(seen, weighting, self.stages) for weighting in self.weightings)]
            name = seen.track.name
            for fit in fits:
                part |= part_of(fits_file(fit.weighting, name), fit.arrays(seen.track))
            part |= part_of(keypoints_file(name), keypoint_arrays(seen))
            with self.stages.timed("evaluate"):
                errors = track_errors(seen.track, fits, self.protocol, self.stages.find_body)
            part |= part_of(errors_file(name), FrameTable.of(errors, self.protocol).arrays())
            part |= part_of(_MEANS + errors_file(name), _error_arrays(errors))
        return part


def _refuse_if_none_was_refined(sequence: str, files: Sequence[str], parts: Parts) -> None:
    """Initial bodies that no method could take would come out as results, in a table where nothing stands out."""
    keys = [key for file in files for key in parts.keys(file) if key[1] == "reason"]
    if not keys:
        return
    reasons = np.concatenate([parts.whole(key) for key in keys])
    if len(reasons) and (reasons >= Reason.NO_WEIGHT).all():
        common = Reason(int(np.bincount(reasons).argmax()))
        raise InputError(
            f"{sequence}: no frame could be refined, {common.name.lower().replace('_', ' ')} ({_WHY[common]})"
        )


_WHY = {
    Reason.NO_WEIGHT: "all keypoints have weight 0",
    Reason.BAD_KEYPOINT: "keypoints or weights are not finite",
    Reason.BAD_BOX: "persons have no size",
    Reason.BAD_CAMERA: "the intrinsics are no camera's",
    Reason.BAD_INITIAL: "the initial bodies are not finite, no rotations, or of a shape beyond belief",
    Reason.BEHIND_CAMERA: "the initial bodies lie in or behind the camera: is their translation in its frame?",
    Reason.DIVERGED: "the results are not finite or of a shape beyond belief",
}


def whole_tracks(stages: Stages) -> bool:
    """Whether the method needs all frames of a track at once; its memory then grows with the track."""
    return METHODS[stages.method].all_frames or stages.fitting.temporal is not None


def frame_chunks(tracks: Sequence[Track], frames: int) -> list[list[Track]]:
    """Cut the tracks of a sequence by the numbers of their frames: those of 0 ... frames - 1, and so on.

    Where a chunk begins does not depend on which frames are fitted; chunks without any are left out.
    """
    numbers = np.unique(np.concatenate([track.frame_ids // frames for track in tracks]))
    chunks = []
    for number in numbers:
        cut = [track.select(track.frame_ids // frames == number) for track in tracks]
        chunks.append([track for track in cut if len(track)])
    return chunks


def keypoint_arrays(seen: Observations) -> Arrays:
    """2D keypoints of a track with every score that was computed for them, `keypoints/<track>.npz`."""
    names = ("confidence", "visibility", "presence", "rescored", "oracle")
    scores = {name: value for name in names if (value := getattr(seen.evidence, name)) is not None}
    poses = seen.poses
    return {
        "skeleton": (None, np.array(poses.skeleton.name)),
        "frame_ids": (0, seen.track.frame_ids),
        "boxes_xywh": (0, poses.boxes_xywh),
        "xy_px": (0, poses.xy_px),
        "raw_score": (0, poses.raw_score),
        **({} if poses.sigma_px is None else {"sigma_px": (0, poses.sigma_px)}),
        **{name: (0, value) for name, value in scores.items()},
    }


def _error_arrays(errors: TrackErrors) -> Arrays:
    rows = list(errors.errors)
    metrics = errors.errors[rows[0]].values
    return {"rows": (None, np.array(rows)), **{name: (1, errors.of_rows(name)) for name in metrics}}


def _means(track: Track, parts: Parts) -> TrackMeans:
    rows_key, *keys = parts.keys(_MEANS + errors_file(track.name))
    rows = [str(row) for row in parts.whole(rows_key)]
    return TrackMeans.of(track.sequence, track.name, rows, ((key[1], parts.whole(key)) for key in keys), len(track))
