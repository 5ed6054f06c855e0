"""From a sequence on disk to fitted bodies: boxes, 2D keypoints, confidences, initial prediction, refinement.

The 2D stage and the initial prediction run once for a sequence, whatever the number of weightings, and every image is
opened once for both.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int, UInt8

from eval3dpw.dataset.boxes import track_boxes
from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef, Track
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.judging.oracle import oracle_confidence
from eval3dpw.judging.protocols import Protocol
from eval3dpw.results.fits import GivenPredictions, TrackFits
from eval3dpw.run.scored_poses import ScoredPoses2D
from eval3dpw.run.stage_networks import Calibrators
from fitting.bodies.body import Body
from fitting.body_fits import BodyFits
from fitting.evidence import KeypointEvidence, person_size_px
from fitting.inputs import Crops, FitInputs
from fitting.methods.catalogue import METHODS, MethodConfig, fit_bodies
from fitting.refinement_config import ObjectiveName
from fitting.regressor.model import Regressor, RegressorOutput, crop_person, crop_squares, place_in_camera, predict
from fitting.weightings import WeightingConfig, keypoint_precisions, keypoint_weights
from pose2d.errors import InputError
from pose2d.inference import Skipped, crop_batches, infer_crops
from pose2d.networks.base import PoseNetwork
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, Skeleton

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Stages:
    """Networks and constants of one run, loaded once."""

    find_body: Callable[[str], Body]
    """The body of a gender."""
    pose_network: PoseNetwork
    calibrators: Calibrators
    """What is computed of its keypoints beyond their raw scores."""
    initial: Regressor | GivenPredictions
    """Where the initial bodies come from."""
    method: str = "params"
    """Of `fitting.methods.catalogue`."""
    fitting: MethodConfig = field(default_factory=MethodConfig)
    weighting: WeightingConfig = field(default_factory=WeightingConfig)
    objective: ObjectiveName = "paper"
    """Whether keypoints are weighed against each other, or each by its own precision."""
    flip: bool = True
    skeleton: Skeleton = COCO17
    decode_threads: int = 2
    """That open images ahead of the network; 0 for none."""
    clock: Callable[[], float] = time.perf_counter
    """What `seconds` are read from."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By stage, filled as the run goes on. Images are opened ahead: `decode` is the time waited for them."""

    def weights(self, weighting: str, evidence: KeypointEvidence) -> Float[np.ndarray, "n k"]:
        """What the objective multiplies each keypoint's squared error by."""
        rule = keypoint_precisions if self.objective == "probability" else keypoint_weights
        return rule(weighting, evidence, self.weighting)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[stage] += self.clock() - start

    def timed_each(self, stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, with the time that each takes to come added to a stage."""
        iterator = iter(items)
        while True:
            try:
                with self.timed(stage):
                    item = next(iterator)
            except StopIteration:
                return
            yield item


@dataclass(frozen=True)
class Observations:
    """What is known about a track before its bodies are refined."""

    track: Track
    """With only the frames that are fitted."""
    scored: ScoredPoses2D
    evidence: KeypointEvidence
    """The same keypoints' scores as weightings read them, with the oracle where it is fitted."""
    initial: BodyFits
    crops: Crops | None = None
    """What the regressor saw; kept only for a method that moves its weights."""

    @property
    def poses(self) -> Poses2D:
        """2D keypoints as the pose network gave them."""
        return self.scored.poses


def fittable(track: Track, protocol: Protocol, limit: int | None = None) -> Track:
    """The frames of a track that count under the protocol and have a box, at most `limit` of them, evenly spread."""
    frames = np.flatnonzero(protocol.valid_frames(track) & track.has_box)
    if limit is not None and len(frames) > limit:
        frames = frames[np.linspace(0, len(frames) - 1, limit).round().astype(int)]
    return track.select(frames)


def read_fittable(
    dataset: SequenceDataset, sequence: SequenceRef, protocol: Protocol, limit: int | None
) -> list[Track]:
    """The tracks of a sequence with the frames to fit.

    Raises:
        InputError: the sequence cannot be read, or no actor has a frame that counts.
    """
    tracks = [fittable(track, protocol, limit) for track in dataset.read(sequence)]
    tracks = [track for track in tracks if len(track)]
    if not tracks:
        raise InputError(
            f"{sequence.path} has no valid frame under protocol {protocol.name} (rule {protocol.validity!r}: "
            "campose_valid, poses2d): leave the sequence out with --sequences"
        )
    return tracks


def observe(tracks: Sequence[Track], stages: Stages, oracle: bool) -> list[Observations]:
    """Everything before refinement, for the tracks of one sequence; an image shared by two actors is opened once.

    Args:
        tracks: with the frames to observe.
        stages: networks and constants of the run.
        oracle: also compute the true OKS of each keypoint, the only use of ground truth.

    Raises:
        InputError: a box or an image cannot be used.
    """
    look = _look(tracks, stages)
    observations, first = [], 0
    for track in tracks:
        mine = look.select(slice(first, first + len(track)))
        first += len(track)
        with stages.timed("initial"):
            initial, crops = _initial_bodies(track, stages.initial, mine)
        true_oks = None
        if oracle:
            with stages.timed("oracle"):
                body = stages.find_body(track.require_truth().gender)
                true_oks = oracle_confidence(track, mine.scored.poses.xy_px, stages.skeleton, body)
        observations.append(Observations(track, mine.scored, mine.scored.evidence(true_oks), initial, crops))
    return observations


@dataclass(frozen=True)
class _Look:
    """The networks' output for some persons of a sequence."""

    rows: Int[np.ndarray, " m"]
    """Of the persons, track after track and frame after frame."""
    scored: ScoredPoses2D
    predicted: RegressorOutput | None
    """The regressor's bodies; None where the initial bodies come from elsewhere."""
    crops: UInt8[np.ndarray, "m size size 3"] | None
    """What the regressor saw; None unless a method needs it."""

    def select(self, rows: Int[np.ndarray, " k"] | slice) -> _Look:
        """The persons in these places, in that order."""
        return _Look(
            self.rows[rows],
            self.scored.select(rows),
            None if self.predicted is None else self.predicted.select(rows),
            None if self.crops is None else self.crops[rows],
        )

    @classmethod
    def in_order(cls, parts: Sequence[_Look]) -> _Look:
        """The persons of all parts by rising row, whatever order their images were opened in."""
        predicted = [part.predicted for part in parts if part.predicted is not None]
        crops = [part.crops for part in parts if part.crops is not None]
        rows = np.concatenate([part.rows for part in parts])
        whole = cls(
            rows,
            ScoredPoses2D.concatenate([part.scored for part in parts]),
            RegressorOutput.concatenate(predicted) if predicted else None,
            np.concatenate(crops) if crops else None,
        )
        return whole.select(np.argsort(rows))


def _look(tracks: Sequence[Track], stages: Stages) -> _Look:
    """Keypoints with raw scores and confidences, and the regressor's bodies, of all persons of all tracks."""
    owner = np.concatenate([np.full(len(track), number) for number, track in enumerate(tracks)])
    images = [path for track in tracks for path in track.image_paths]
    boxes = np.concatenate([track_boxes(track) for track in tracks])
    # In the order of frames, so that an image shared by two actors is opened once.
    order = np.argsort(np.concatenate([track.frame_ids for track in tracks]), kind="stable")
    keep = METHODS[stages.method].moves_regressor
    squares = _Squares.of(tracks, order, stages.initial, keep) if isinstance(stages.initial, Regressor) else None
    crops = crop_batches(
        stages.pose_network,
        [images[i] for i in order],
        boxes[order],
        stages.skeleton,
        workers=stages.decode_threads,
        second_view=None if squares is None else squares.cut,
    )
    parts = []
    for cut in stages.timed_each("decode", crops):
        if isinstance(cut, Skipped):
            row = order[cut.row]
            raise InputError(f"{tracks[owner[row]].path}: no 2D keypoints in {images[row]}: {cut.reason}")
        with stages.timed("detect"):
            batch = infer_crops(stages.pose_network, cut, stages.skeleton, stages.flip)
        with stages.timed("calibrate"):
            scored = stages.calibrators(batch)
        with stages.timed("initial"):
            predicted = None if squares is None or cut.second is None else predict(squares.regressor, cut.second)
        kept = cut.second if squares is not None and squares.keep else None
        parts.append(_Look(order[batch.rows], scored, predicted, kept))
    return _Look.in_order(parts)


@dataclass(frozen=True)
class _Squares:
    """The regressor's square crops of the persons of a sequence, in the order in which images are opened."""

    regressor: Regressor
    centers_px: Float[np.ndarray, "n 2"]
    sides_px: Float[np.ndarray, " n"]
    keep: bool
    """Whether a method needs them afterwards."""

    @classmethod
    def of(cls, tracks: Sequence[Track], order: Int[np.ndarray, " n"], regressor: Regressor, keep: bool) -> _Squares:
        centers_px, sides_px = crop_squares(np.concatenate([track_boxes(track, scale=1.0) for track in tracks]))
        return cls(regressor, centers_px[order], sides_px[order], keep)

    def cut(self, image: UInt8[np.ndarray, "h w 3"], row: int) -> UInt8[np.ndarray, "size size 3"]:
        return crop_person(image, self.centers_px[row], self.sides_px[row], self.regressor.config.input_size)


def _initial_bodies(track: Track, source: Regressor | GivenPredictions, look: _Look) -> tuple[BodyFits, Crops | None]:
    """Initial bodies in the camera's frame, as the network predicted them or as given."""
    if isinstance(source, GivenPredictions):
        return source.of(track), None
    assert look.predicted is not None
    centers_px, sides_px = crop_squares(track_boxes(track, scale=1.0))
    cameras, orientation = camera_of_each(track), source.config.orientation
    initial = place_in_camera(look.predicted, centers_px, sides_px, cameras, orientation)
    return initial, None if look.crops is None else Crops(look.crops, centers_px, sides_px)


def camera_of_each(track: Track) -> Float[np.ndarray, "n 3 3"]:
    """The track's intrinsics, once per frame."""
    return np.tile(track.intrinsics, (len(track), 1, 1))


def fit_track(seen: Observations, weighting: str, stages: Stages) -> TrackFits:
    """Refine the bodies of a track under one weighting, by the run's method.

    Raises:
        InputError: the method lacks what it needs (`fitting.methods.catalogue.fit_bodies`).
    """
    with stages.timed("fit"):
        weights = stages.weights(weighting, seen.evidence)
        fits = fit_bodies(stages.method, fit_inputs(seen, weights, stages), stages.fitting)
    return TrackFits(seen.track.name, weighting, seen.track.frame_ids, fits, weights)


def fit_inputs(seen: Observations, weights: Float[np.ndarray, "n k"], stages: Stages) -> FitInputs:
    """What a method gets of a track."""
    return FitInputs(
        body=stages.find_body("neutral"),
        skeleton=stages.skeleton,
        xy_px=seen.poses.xy_px,
        weights=weights,
        intrinsics=camera_of_each(seen.track),
        initial=seen.initial,
        size_px=person_size_px(seen.poses.boxes_xywh),
        regressor=stages.initial if isinstance(stages.initial, Regressor) else None,
        crops=seen.crops,
        frame_ids=seen.track.frame_ids,
        evidence=seen.evidence,
    )


def initial_fits(seen: Observations) -> TrackFits:
    """The initial bodies as a row of their own."""
    return TrackFits(seen.track.name, INITIAL, seen.track.frame_ids, seen.initial)
