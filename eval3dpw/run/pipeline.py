"""From a sequence on disk to fitted bodies: boxes, 2D keypoints, confidences, initial prediction, refinement.

The 2D stage and the initial prediction run once for a sequence, whatever the number of weightings, and every image is
opened once for both.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float

from eval3dpw.dataset.boxes import track_boxes
from eval3dpw.dataset.sequences import SequenceDataset, SequenceRef, Track
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.judging.oracle import oracle_confidence
from eval3dpw.judging.protocols import Protocol
from eval3dpw.results.fits import GivenPredictions, TrackFits
from fitting.bodies.body import Body
from fitting.body_fits import BodyFits
from fitting.inputs import Crops, FitInputs
from fitting.methods.catalogue import METHODS, MethodConfig, fit_bodies
from fitting.regressor.model import Regressor, RegressorOutput, crop_person, crop_squares, place_in_camera, predict
from fitting.weightings import KeypointEvidence, WeightingConfig, keypoint_weights, oks_falloff
from pose2d.errors import InputError
from pose2d.inference import InferredBatch, Skipped, crop_batches, infer_crops
from pose2d.networks.base import PoseNetwork
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, Skeleton

_Item = TypeVar("_Item")

Calibrator = Callable[[InferredBatch], Mapping[str, Float[np.ndarray, "b k"]]]
"""What a calibration says of the keypoints of a batch, by the field of `KeypointEvidence` that it fills."""


@dataclass(frozen=True)
class Stages:
    """Networks and constants of one run, loaded once."""

    find_body: Callable[[str], Body]
    """The body of a gender."""
    pose_network: PoseNetwork
    initial: Regressor | GivenPredictions
    calibrators: tuple[Calibrator, ...] = ()
    method: str = "params"
    """Of `fitting.methods.catalogue`."""
    fitting: MethodConfig = field(default_factory=MethodConfig)
    weighting: WeightingConfig = field(default_factory=WeightingConfig)
    flip: bool = True
    skeleton: Skeleton = COCO17
    decode_threads: int = 2
    """That open images ahead of the network; 0 for none."""
    clock: Callable[[], float] = time.perf_counter
    """What `seconds` are read from."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By stage, filled as the run goes on. Images are opened ahead: `decode` is the time waited for them."""

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
    poses: Poses2D
    evidence: KeypointEvidence
    initial: BodyFits
    crops: Crops | None = None
    """What the regressor saw; kept only for a method that moves its weights."""


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
        oracle: also compute the true OKS of each keypoint, the only use of ground truth.

    Raises:
        InputError: a box or an image cannot be used.
    """
    observations = []
    for track, seen in zip(tracks, _look(tracks, stages), strict=True):
        size_px = seen.poses.boxes_xywh[:, 2:].max(axis=1)
        evidence = replace(seen.evidence, falloff=oks_falloff(stages.skeleton, seen.poses.boxes_xywh, size_px))
        if oracle:
            with stages.timed("oracle"):
                true_oks = oracle_confidence(
                    track, seen.poses.xy_px, stages.skeleton, stages.find_body(track.require_truth().gender)
                )
                evidence = replace(evidence, oracle=true_oks)
        observations.append(replace(seen, evidence=evidence))
    return observations


def _look(tracks: Sequence[Track], stages: Stages) -> list[Observations]:
    """2D keypoints with what the network and the calibrations say of them, and initial bodies, of every track."""
    owner = np.concatenate([np.full(len(track), number) for number, track in enumerate(tracks)])
    images = [path for track in tracks for path in track.image_paths]
    boxes = np.concatenate([track_boxes(track) for track in tracks])
    # In the order of frames, so that an image shared by two actors is opened once.
    order = np.argsort(np.concatenate([track.frame_ids for track in tracks]), kind="stable")
    squares = _Squares.of(tracks, order, stages) if isinstance(stages.initial, Regressor) else None
    gathered: dict[str, list[np.ndarray]] = defaultdict(list)
    crops = crop_batches(
        stages.pose_network,
        [images[i] for i in order],
        boxes[order],
        stages.skeleton,
        workers=stages.decode_threads,
        second_view=None if squares is None else squares.cut,
    )
    for cut in stages.timed_each("decode", crops):
        if isinstance(cut, Skipped):
            row = order[cut.row]
            raise InputError(f"{tracks[owner[row]].path}: no 2D keypoints in {images[row]}: {cut.reason}")
        with stages.timed("detect"):
            batch = infer_crops(stages.pose_network, cut, stages.skeleton, stages.flip)
        gathered["rows"].append(order[batch.rows])
        gathered["xy_px"].append(batch.poses.xy_px)
        gathered["raw_score"].append(batch.poses.raw_score)
        with stages.timed("calibrate"):
            for calibrator in stages.calibrators:
                for name, values in calibrator(batch).items():
                    gathered[name].append(values)
        if squares is not None and cut.second is not None:
            with stages.timed("initial"):
                squares.predict(cut.second, gathered)
    whole = {name: np.concatenate(parts) for name, parts in gathered.items()}
    back = np.argsort(whole.pop("rows"))
    whole = {name: values[back] for name, values in whole.items()}
    seen = []
    for number, track in enumerate(tracks):
        mine = {name: values[owner == number] for name, values in whole.items()}
        with stages.timed("initial"):
            initial, kept = _initial_bodies(track, stages.initial, mine)
        poses = Poses2D(stages.skeleton, mine.pop("xy_px"), mine["raw_score"], boxes[owner == number])
        seen.append(Observations(track, poses, KeypointEvidence(**mine), initial, kept))
    return seen


_PREDICTED = ("rotations", "betas", "camera")
_CROPS = "crops"


@dataclass(frozen=True)
class _Squares:
    """The regressor's square crops of the persons of a sequence, in the order in which images are opened."""

    regressor: Regressor
    centers_px: Float[np.ndarray, "n 2"]
    sides_px: Float[np.ndarray, " n"]
    keep: bool

    @classmethod
    def of(cls, tracks: Sequence[Track], order: np.ndarray, stages: Stages) -> _Squares:
        assert isinstance(stages.initial, Regressor)
        centers_px, sides_px = crop_squares(np.concatenate([track_boxes(track, scale=1.0) for track in tracks]))
        return cls(stages.initial, centers_px[order], sides_px[order], METHODS[stages.method].moves_regressor)

    def cut(self, image: np.ndarray, row: int) -> np.ndarray:
        return crop_person(image, self.centers_px[row], self.sides_px[row], self.regressor.config.input_size)

    def predict(self, crops: np.ndarray, gathered: dict[str, list[np.ndarray]]) -> None:
        output = predict(self.regressor, crops)
        for name in _PREDICTED:
            gathered[name].append(getattr(output, name).numpy())
        if self.keep:
            gathered[_CROPS].append(crops)


def _initial_bodies(
    track: Track, source: Regressor | GivenPredictions, found: dict[str, np.ndarray]
) -> tuple[BodyFits, Crops | None]:
    """Initial bodies in the camera's frame, as the network predicted them (taken out of `found`) or as given."""
    if isinstance(source, GivenPredictions):
        return source.of(track), None
    output = RegressorOutput(*(torch.from_numpy(found.pop(name)) for name in _PREDICTED))
    centers_px, sides_px = crop_squares(track_boxes(track, scale=1.0))
    initial = place_in_camera(output, centers_px, sides_px, camera_of_each(track), source.config.orientation)
    images = found.pop(_CROPS, None)
    return initial, None if images is None else Crops(images, centers_px, sides_px)


def camera_of_each(track: Track) -> Float[np.ndarray, "n 3 3"]:
    """The track's intrinsics, once a frame."""
    return np.tile(track.intrinsics, (len(track), 1, 1))


def refine_track(seen: Observations, weighting: str, stages: Stages) -> TrackFits:
    """Refine the bodies of a track under one weighting, by the run's method.

    Raises:
        InputError: the method lacks what it needs (`fitting.methods.catalogue.fit_bodies`).
    """
    with stages.timed("fit"):
        weights = keypoint_weights(weighting, seen.evidence, stages.weighting)
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
        size_px=seen.poses.boxes_xywh[:, 2:].max(axis=1),
        regressor=stages.initial if isinstance(stages.initial, Regressor) else None,
        crops=seen.crops,
        frame_ids=seen.track.frame_ids,
        evidence=seen.evidence,
    )


def initial_fits(seen: Observations) -> TrackFits:
    """The initial bodies as a row of their own."""
    return TrackFits(seen.track.name, INITIAL, seen.track.frame_ids, seen.initial)
