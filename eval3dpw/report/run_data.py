"""What a run has left on disk, as the report reads it: summary, fits, keypoints, and the truth where it still lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eval3dpw.dataset.catalogue import DEFAULT_DATASET, open_dataset
from eval3dpw.dataset.sequences import SequenceDataset, Track
from eval3dpw.judging.protocols import Protocol, find_protocol
from eval3dpw.results.fits import TrackFits, fitted_weightings
from eval3dpw.results.layout import SUMMARY_FILE, keypoints_file
from fitting.bodies.body import Body, load_body
from pose2d.errors import InputError
from pose2d.files.storage import read_json, read_npz, require_directory
from pose2d.skeletons import SKELETONS, Skeleton

_FAVOURITE = "ccnet"
_SOLVER_FIELDS = ("reason", "iterations", "initial_objective", "objective")


@dataclass(frozen=True)
class TrackKeypoints:
    """2D keypoints of a track with every score that the run has for them."""

    skeleton: Skeleton
    frame_ids: Int[np.ndarray, " n"]
    boxes_xywh: Float[np.ndarray, "n 4"]
    xy_px: Float[np.ndarray, "n k 2"]
    scores: dict[str, Float[np.ndarray, "n k"]]
    """raw_score, confidence, rescored, oracle, ...: those that were computed."""

    @property
    def shown_score(self) -> Float[np.ndarray, "n k"]:
        """The calibrated confidence, else what the network said; in [0, 1]."""
        score = self.scores.get("confidence", self.scores.get("raw_score"))
        return np.zeros(self.xy_px.shape[:2]) if score is None else np.clip(np.nan_to_num(score), 0, 1)


@dataclass(frozen=True)
class SolvedFrames:
    """How the solver ended on each frame of a track; the objective before and after, where that was kept."""

    frame_ids: Int[np.ndarray, " n"]
    reason: Int[np.ndarray, " n"]
    iterations: Int[np.ndarray, " n"]
    initial_objective: Float[np.ndarray, " n"] | None
    objective: Float[np.ndarray, " n"] | None


@dataclass(frozen=True)
class Run:
    """A finished run of `fit`, `compare`, `evaluate` or `demo`."""

    folder: Path
    summary: Mapping[str, Any]
    dataset: SequenceDataset | None
    """Where it is still there; without it there is neither truth nor pictures."""

    _read: dict[str, dict[str, TrackFits]] = field(default_factory=dict, repr=False)

    @property
    def configuration(self) -> Mapping[str, Any]:
        """As the run resolved it."""
        result: Mapping[str, Any] = self.summary.get("configuration", {})
        return result

    @property
    def protocol(self) -> Protocol:
        """By which the run was evaluated."""
        return find_protocol(self.summary["protocol"])

    @property
    def rows(self) -> tuple[str, ...]:
        """Initial predictions and weightings, as in the table."""
        return tuple(row["weighting"] for row in self.summary["rows"])

    @property
    def favourite(self) -> str:
        """The weighting that is shown first: ccnet where there is one, else the last."""
        return _FAVOURITE if _FAVOURITE in self.rows else self.rows[-1]

    @cached_property
    def fit_folders(self) -> dict[str, Path]:
        """Folder of each row's fits; empty where they are gone."""
        results = Path(self.configuration.get("fits") or self.folder)
        try:
            folders = fitted_weightings(results)
        except InputError:
            return {}
        return {row: folders[row] for row in self.rows if row in folders}

    def find_body(self, gender: str) -> Body:
        """The body of a gender, from where the run took it."""
        directory = self.configuration.get("body_dir")
        return load_body(directory, gender)

    @cached_property
    def _tracks(self) -> dict[str, Track]:
        if self.dataset is None:
            return {}
        wanted = list(dict.fromkeys(track["sequence"] for track in self.summary["tracks"]))
        split = str(self.configuration.get("split", "test"))
        try:
            return {track.name: track for track in self.dataset.tracks(split, wanted, with_images=False)}
        except InputError:
            return {}

    def track(self, name: str) -> Track | None:
        """A track of the dataset with all its frames, without images; None where it is not there."""
        return self._tracks.get(name)

    def fits(self, name: str) -> dict[str, TrackFits]:
        """The bodies of one track by row, `init` first; only rows whose file is there. Each is read once."""
        if name not in self._read:
            self._read[name] = {row: TrackFits.load(file) for row, file in self.fit_files(name).items()}
        return self._read[name]

    def fit_files(self, name: str) -> dict[str, Path]:
        """The files of one track's bodies by row, `init` first; only those that are there."""
        files = {row: folder / f"{name}.npz" for row, folder in self.fit_folders.items()}
        return {row: file for row, file in files.items() if file.is_file()}

    def solved(self, name: str) -> dict[str, SolvedFrames]:
        """What the solver said of each frame of a track, for the rows that it refined; bodies are not read for it."""
        found = {row: read_npz(file, ("frame_ids", *_SOLVER_FIELDS)) for row, file in self.fit_files(name).items()}
        return {
            row: SolvedFrames(
                arrays["frame_ids"],
                arrays["reason"],
                arrays["iterations"],
                arrays.get("initial_objective"),
                arrays.get("objective"),
            )
            for row, arrays in found.items()
            if _describe_frames(arrays)
        }

    def keypoints(self, name: str) -> TrackKeypoints | None:
        """The 2D keypoints of a track; None where the run left none."""
        path = Path(self.configuration.get("fits") or self.folder) / keypoints_file(name)
        if not path.is_file():
            return None
        arrays = read_npz(path)
        xy_px = arrays["xy_px"]
        known = ("skeleton", "frame_ids", "boxes_xywh", "xy_px")
        scores = {key: value for key, value in arrays.items() if key not in known and value.shape == xy_px.shape[:2]}
        skeleton = _skeleton(str(arrays["skeleton"]), xy_px.shape[1])
        return TrackKeypoints(skeleton, arrays["frame_ids"], arrays["boxes_xywh"], xy_px, scores)

    def image_path(self, sequence: str, frame_id: int) -> Path | None:
        """Where the image of a frame lies; None where it is not there."""
        return None if self.dataset is None else self.dataset.image_path(sequence, frame_id)


def _describe_frames(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file reports for each of its frames how the solver ended."""
    frame_ids = arrays.get("frame_ids")
    if frame_ids is None or "reason" not in arrays or "iterations" not in arrays:
        return False
    return all(values.shape == frame_ids.shape for values in arrays.values())


def _skeleton(name: str, count: int) -> Skeleton:
    """By name; a skeleton that is not known has numbered points and no lines."""
    known = SKELETONS.get(name)
    if known is not None and len(known) == count:
        return known
    return Skeleton(name, tuple(f"point {number}" for number in range(count)))


def load_run(folder: str | Path, root: str | Path | None = None) -> Run:
    """Read a run's summary and find what else it has left.

    Args:
        folder: what the run was given as --out.
        root: the dataset, if it lies elsewhere than when the run was made.

    Raises:
        InputError: there is no summary, or it is not one of a run over sequences.
    """
    folder = require_directory(folder)
    path = folder / SUMMARY_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no finished run ({SUMMARY_FILE} is missing): run `compare` or `fit` first")
    summary = read_json(path)
    needed = ("protocol", "rows", "tracks")
    missing = [key for key in needed if not isinstance(summary, dict) or key not in summary]
    if missing:
        raise InputError(f"{path} is no summary of a run: it lacks {', '.join(missing)}")
    _check_summary(summary, path)
    configuration = summary.get("configuration", {})
    given = root or configuration.get("root")
    there = given is not None and Path(given).is_dir()
    return Run(folder, summary, open_dataset(given, configuration.get("dataset", DEFAULT_DATASET)) if there else None)


def _check_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Whether a summary has the parts that a page is made of, and names that stay inside a folder.

    Raises:
        InputError: naming the field.
    """
    configuration = summary.get("configuration", {})
    if not isinstance(configuration, dict):
        raise InputError(f"{path}: field configuration is a {type(configuration).__name__}, an object is needed")
    for name in ("root", "fits", "body_dir", "split", "dataset"):
        if not isinstance(configuration.get(name), str | None):
            raise InputError(f"{path}: field configuration.{name} is no text")
    for table, name in (("rows", "weighting"), ("tracks", "track"), ("tracks", "sequence")):
        entries = summary[table]
        if not isinstance(entries, list) or (table == "rows" and not entries):
            raise InputError(f"{path}: field {table} is no list with an entry per {name}")
        for number, entry in enumerate(entries):
            value = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(value, str) or Path(value).name != value or value == ".." or not value.isprintable():
                raise InputError(f"{path}: {table}[{number}].{name} is {value!r:.60}, which is no name of a file")
    find_protocol(str(summary["protocol"]))


def evenly(count: int, most: int) -> Int[np.ndarray, " m"]:
    """At most `most` of the numbers 0 ... count - 1, evenly spread, the first and the last among them."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
