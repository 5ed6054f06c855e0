"""From a sequence on disk to fitted bodies: boxes, 2D keypoints, confidences, initial prediction, refinement.

The 2D stage and the initial prediction run once for a sequence, whatever the number of weightings.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eval3dpw.comparison import INITIAL
from eval3dpw.fit_files import GivenPredictions, TrackFits
from eval3dpw.oracle import oracle_confidence
from eval3dpw.protocols import Protocol
from eval3dpw.sequences import Track, person_boxes, read_sequence, track_boxes
from fitting.body import Body
from fitting.reduced_body import reduce_body
from fitting.refinement import BodyFits, RefinementConfig, refine
from fitting.regressor import Regressor, crop_person, crop_squares, place_in_camera, predict
from fitting.weightings import KeypointEvidence, WeightingConfig, keypoint_weights, oks_falloff
from pose2d.datasets.crop_set import read_image
from pose2d.errors import InputError
from pose2d.inference import InferredBatch, Skipped, infer_batches
from pose2d.networks.base import PoseNetwork
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, Skeleton

Calibrator = Callable[[InferredBatch], Mapping[str, Float[np.ndarray, "b k"]]]
"""What a calibration says of the keypoints of a batch, by the field of `KeypointEvidence` that it fills."""

JOINT_BOX_SCALE = 1.2
"""From the box around 3DPW's 2D joints to the person's: hands, feet and the top of the head lie outside the former."""


@dataclass(frozen=True)
class Stages:
    """Networks and constants of one run, loaded once."""

    find_body: Callable[[str], Body]
    """The body of a gender."""
    pose_network: PoseNetwork
    initial: Regressor | GivenPredictions
    calibrators: tuple[Calibrator, ...] = ()
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    weighting: WeightingConfig = field(default_factory=WeightingConfig)
    flip: bool = True
    skeleton: Skeleton = COCO17
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Wall time by stage, filled as the run goes on."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


@dataclass(frozen=True)
class Observations:
    """What is known about a track before its bodies are refined."""

    track: Track
    """With only the frames that are fitted."""
    poses: Poses2D
    evidence: KeypointEvidence
    initial: BodyFits


def fittable(track: Track, protocol: Protocol, limit: int | None = None) -> Track:
    """The frames of a track that count under the protocol and have a box, at most `limit` of them, evenly spread."""
    frames = np.flatnonzero(protocol.valid_frames(track) & person_boxes(track.poses2d)[1])
    if limit is not None and len(frames) > limit:
        frames = frames[np.linspace(0, len(frames) - 1, limit).round().astype(int)]
    return track.select(frames)


def read_fittable(path: Path, root: Path, protocol: Protocol, limit: int | None) -> list[Track]:
    """The tracks of a sequence with the frames to fit.

    Raises:
        InputError: the sequence cannot be read, or no actor has a frame that counts.
    """
    tracks = [fittable(track, protocol, limit) for track in read_sequence(path, root / "imageFiles")]
    tracks = [track for track in tracks if len(track)]
    if not tracks:
        raise InputError(
            f"{path} has no valid frame under protocol {protocol.name} (rule {protocol.validity!r}: campose_valid, "
            "poses2d): leave the sequence out with --sequences"
        )
    return tracks


def observe(tracks: Sequence[Track], stages: Stages, oracle: bool) -> list[Observations]:
    """Everything before refinement, for the tracks of one sequence; an image shared by two actors is opened once.

    Args:
        oracle: also compute the true OKS of each keypoint, the only use of ground truth.

    Raises:
        InputError: a box or an image cannot be used.
    """
    boxes = [track_boxes(track, JOINT_BOX_SCALE) for track in tracks]
    with stages.timed("2d keypoints and confidences"):
        found = _keypoints(tracks, boxes, stages)
    observations = []
    for track, box, (poses, evidence) in zip(tracks, boxes, found, strict=True):
        size_px = box[:, 2:].max(axis=1)
        evidence = replace(evidence, falloff=oks_falloff(stages.skeleton, box, size_px))
        if oracle:
            with stages.timed("oracle"):
                true_oks = oracle_confidence(track, poses.xy_px, stages.skeleton, stages.find_body(track.gender))
                evidence = replace(evidence, oracle=true_oks)
        with stages.timed("initial prediction"):
            initial = initial_bodies(track, stages.initial)
        observations.append(Observations(track, poses, evidence, initial))
    return observations


def _keypoints(
    tracks: Sequence[Track], boxes: Sequence[np.ndarray], stages: Stages
) -> list[tuple[Poses2D, KeypointEvidence]]:
    """2D keypoints of every track with what the network and the calibrations say of them."""
    owner = np.concatenate([np.full(len(track), number) for number, track in enumerate(tracks)])
    images = [path for track in tracks for path in track.image_paths]
    box = np.concatenate(boxes)
    order = np.argsort(np.concatenate([track.frame_ids for track in tracks]), kind="stable")
    skipped: list[Skipped] = []
    batches = infer_batches(
        stages.pose_network, [images[i] for i in order], box[order], stages.skeleton, stages.flip, skipped=skipped
    )
    gathered: dict[str, list[np.ndarray]] = defaultdict(list)
    for batch in batches:
        gathered["rows"].append(order[batch.rows])
        gathered["xy_px"].append(batch.poses.xy_px)
        gathered["raw_score"].append(batch.poses.raw_score)
        for calibrator in stages.calibrators:
            for name, values in calibrator(batch).items():
                gathered[name].append(values)
    if skipped:
        row = order[skipped[0].row]
        raise InputError(f"{tracks[owner[row]].path}: no 2D keypoints in {images[row]}: {skipped[0].reason}")
    whole = {name: np.concatenate(parts) for name, parts in gathered.items()}
    back = np.argsort(whole.pop("rows"))
    whole = {name: values[back] for name, values in whole.items()}
    found = []
    for number in range(len(tracks)):
        mine = {name: values[owner == number] for name, values in whole.items()}
        xy_px = mine.pop("xy_px")
        poses = Poses2D(stages.skeleton, xy_px, mine["raw_score"], box[owner == number])
        found.append((poses, KeypointEvidence(**mine)))
    return found


def initial_bodies(track: Track, source: Regressor | GivenPredictions) -> BodyFits:
    """Initial bodies in the camera's frame, by the network on square crops or as given."""
    if isinstance(source, GivenPredictions):
        return source.of(track)
    centers_px, sides_px = crop_squares(track_boxes(track, scale=1.0))
    size = source.config.input_size
    crops = np.stack(
        [crop_person(read_image(p), c, s, size) for p, c, s in zip(track.image_paths, centers_px, sides_px)]
    )
    output = predict(source, crops)
    return place_in_camera(output, centers_px, sides_px, camera_of_each(track), source.config.orientation)


def camera_of_each(track: Track) -> Float[np.ndarray, "n 3 3"]:
    """The track's intrinsics, once a frame."""
    return np.tile(track.intrinsics, (len(track), 1, 1))


def refine_track(seen: Observations, weighting: str, stages: Stages) -> TrackFits:
    """Refine the bodies of a track under one weighting."""
    with stages.timed("refinement"):
        weights = keypoint_weights(weighting, seen.evidence, stages.weighting)
        fits = refine(
            reduce_body(stages.find_body("neutral"), stages.skeleton),
            stages.skeleton,
            seen.poses.xy_px,
            weights,
            camera_of_each(seen.track),
            seen.initial,
            seen.poses.boxes_xywh[:, 2:].max(axis=1),
            stages.refinement,
        )
    return TrackFits(seen.track.name, weighting, seen.track.frame_ids, fits, weights)


def initial_fits(seen: Observations) -> TrackFits:
    """The initial bodies as a row of their own."""
    return TrackFits(seen.track.name, INITIAL, seen.track.frame_ids, seen.initial)
