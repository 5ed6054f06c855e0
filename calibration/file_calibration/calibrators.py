"""Calibrators that need a results file and its truth alone, no network: they predict expected OKS.

`isotonic`: a monotone curve a keypoint (Zadrozny and Elkan, 2002). `pose-aware`: a tree ensemble that sees all of the
person's confidences, the pose within its box and the box's size, so that it can also tell a confident but odd pose.
Both leave the coordinates alone: only scores change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from calibration.coco.accuracy import Accuracy, accuracy_of
from calibration.coco.evaluation import Confidence, KeypointEvaluation, evaluate_keypoints
from calibration.coco.files import KeypointDetections, read_detections, read_truth
from calibration.coco.json_files import Source, read_json_list
from calibration.coco.matching import match
from calibration.file_calibration.forests import Forest, grow_forest
from pose2d.console.progress import track
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.skeletons import COCO17

Method = Literal["isotonic", "pose-aware"]
FORMAT = "keypoint-file-calibrator-1"
FOLDS = 5
MIN_DETECTIONS = 50
KEYPOINT_TREES, PERSON_TREES = 40, 120
_NUM_KEYPOINTS = len(COCO17)


@runtime_checkable
class FileCalibrator(Protocol):
    """Predicts expected OKS of each keypoint and person from what a results file says."""

    def calibrate(self, detections: KeypointDetections) -> Confidence:
        """Confidences in [0, 1] of each detection, in the file's order."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that `load_calibrator` needs."""
        ...


@dataclass(frozen=True)
class IsotonicCalibrator:
    """A monotone piecewise linear curve a keypoint from its score to expected OKS; the person gets the mean.

    Attributes:
        start: where each keypoint's knots begin in the two lists, one more than there are keypoints.
        score, oks: the knots.
    """

    start: Int[np.ndarray, " k_plus_1"]
    score: Float[np.ndarray, " s"]
    oks: Float[np.ndarray, " s"]

    def calibrate(self, detections: KeypointDetections) -> Confidence:
        """Beyond the scores seen in fitting the curves stay flat."""
        knots = [slice(a, b) for a, b in zip(self.start[:-1], self.start[1:])]
        columns = [np.interp(raw, self.score[at], self.oks[at]) for raw, at in zip(detections.raw_score.T, knots)]
        keypoint = np.stack(columns, axis=1)
        return Confidence(keypoint.mean(axis=1), keypoint)

    def arrays(self) -> dict[str, np.ndarray]:
        """The knots."""
        return {"start": self.start, "score": self.score, "oks": self.oks}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], where: str) -> IsotonicCalibrator:
        """Rebuild and check.

        Raises:
            InputError: the knots are not what `arrays` gives.
        """
        start, score, oks = (arrays.get(name, np.zeros(0)) for name in ("start", "score", "oks"))
        sound = start.shape == (_NUM_KEYPOINTS + 1,) and start.dtype.kind == "i" and score.shape == oks.shape
        sound = sound and score.ndim == 1 and score.dtype.kind == oks.dtype.kind == "f"
        if not (sound and start[0] == 0 and start[-1] == len(score) and (np.diff(start) > 0).all()):
            raise InputError(f"{where}: its isotonic curves are not of {_NUM_KEYPOINTS} keypoints")
        if not (np.isfinite(score).all() and (oks >= 0).all() and (oks <= 1).all()):
            raise InputError(f"{where}: its isotonic curves leave [0, 1]")
        return cls(start, score, oks)


@dataclass(frozen=True)
class PoseAwareCalibrator:
    """One forest for keypoints of every kind, one for the person.

    Attributes:
        of_keypoint: over `keypoint_features`.
        of_person: over `person_features`.
    """

    of_keypoint: Forest
    of_person: Forest

    def calibrate(self, detections: KeypointDetections) -> Confidence:
        """Average over the pose and its mirror image, which must be equally good."""
        views = [_View.of(detections), _View.of(detections).mirrored()]
        shape = detections.raw_score.shape
        keypoint = [self.of_keypoint.predict(_flat(keypoint_features(view))).reshape(shape) for view in views]
        keypoint[1] = keypoint[1][:, COCO17.flip_permutation]
        person = [self.of_person.predict(person_features(view)) for view in views]
        return Confidence(np.mean(person, axis=0), np.mean(keypoint, axis=0))

    def arrays(self) -> dict[str, np.ndarray]:
        """Both forests."""
        return self.of_keypoint.arrays("keypoint") | self.of_person.arrays("person")

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], where: str) -> PoseAwareCalibrator:
        """Rebuild and check.

        Raises:
            InputError: a forest is missing or unsound.
        """
        nothing = _View(np.zeros((1, _NUM_KEYPOINTS)), np.zeros((1, _NUM_KEYPOINTS, 2)), np.zeros(1))
        sizes = keypoint_features(nothing).shape[2], person_features(nothing).shape[1]
        return cls(*(Forest.from_arrays(arrays, n, s, where) for n, s in zip(("keypoint", "person"), sizes)))


@dataclass(frozen=True)
class _View:
    """What the pose-aware calibrator sees: raw scores (n, k), image pixels (n, k, 2), the file's scores (n,)."""

    raw_score: np.ndarray
    xy_px: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, detections: KeypointDetections) -> _View:
        return cls(detections.raw_score, detections.xy_px, detections.score)

    def mirrored(self) -> _View:
        flip = COCO17.flip_permutation
        return _View(self.raw_score[:, flip], self.xy_px[:, flip] * [-1, 1], self.score)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Corner and size of the box of the keypoints that the network found (all, where it found none), (n, 1, 2)."""
        found = (self.raw_score > 0) | ~(self.raw_score > 0).any(axis=1, keepdims=True)
        low = np.where(found[:, :, None], self.xy_px, np.inf).min(axis=1, keepdims=True)
        high = np.where(found[:, :, None], self.xy_px, -np.inf).max(axis=1, keepdims=True)
        return low, np.maximum(high - low, 1)


def person_features(view: _View) -> Float[np.ndarray, "n f"]:
    """Keypoint scores and their order statistics, the file's score, the pose in its box, the box's size and shape."""
    corner, size = view.box()
    ordered = np.sort(view.raw_score, axis=1)
    return np.column_stack(
        [
            view.raw_score,
            ordered[:, :5],
            view.raw_score.mean(axis=1),
            view.raw_score.std(axis=1),
            view.score,
            ((view.xy_px - corner) / size).reshape(len(corner), -1),
            np.log(size[:, 0]),
            np.log(size[:, 0, 0] / size[:, 0, 1]),
        ]
    )


def keypoint_features(view: _View) -> Float[np.ndarray, "n k f"]:
    """A keypoint's own score, kind and place and its mirror partner's, beside all that is known of the person."""
    corner, size = view.box()
    place = (view.xy_px - corner) / size
    flip = COCO17.flip_permutation
    own = np.stack(
        [
            view.raw_score,
            view.raw_score - view.raw_score.mean(axis=1, keepdims=True),
            view.raw_score[:, flip],
            np.broadcast_to(np.minimum(flip, np.arange(_NUM_KEYPOINTS)), view.raw_score.shape),
        ],
        axis=2,
    )
    person = person_features(view)
    shared = np.broadcast_to(person[:, None], (*view.raw_score.shape, person.shape[1]))
    return np.concatenate([own, place, place[:, flip] - place, shared], axis=2)


def _flat(features: np.ndarray) -> np.ndarray:
    return features.reshape(-1, features.shape[-1])


def fit_isotonic(
    detections: KeypointDetections, accuracy: Accuracy, chosen: Int[np.ndarray, " c"]
) -> IsotonicCalibrator:
    """Fit one isotonic regression a keypoint on the chosen detections' labelled keypoints (scikit-learn, clipped)."""
    from sklearn.isotonic import IsotonicRegression

    knots = []
    for raw, oks in zip(detections.raw_score[chosen].T, accuracy.keypoint_oks[chosen].T):
        known = ~np.isnan(oks)
        if not known.any():
            knots.append((np.zeros(1), np.zeros(1)))
            continue
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw[known], oks[known])
        knots.append((curve.X_thresholds_, curve.y_thresholds_))
    start = np.cumsum([0, *(len(score) for score, _ in knots)])
    score, oks = (np.concatenate(values).astype(float) for values in zip(*knots))
    return IsotonicCalibrator(start, score, oks)


def fit_pose_aware(
    detections: KeypointDetections, accuracy: Accuracy, chosen: Int[np.ndarray, " c"]
) -> PoseAwareCalibrator:
    """Grow both forests on the chosen detections and their mirror images."""
    flip = COCO17.flip_permutation
    chosen = chosen[accuracy.judged[chosen]]
    view = _View(detections.raw_score[chosen], detections.xy_px[chosen], detections.score[chosen])
    oks, keypoint_oks = accuracy.oks[chosen], accuracy.keypoint_oks[chosen]
    of_keypoint = np.concatenate([_flat(keypoint_features(v)) for v in (view, view.mirrored())])
    target = np.concatenate([keypoint_oks.ravel(), keypoint_oks[:, flip].ravel()])
    known = ~np.isnan(target)
    of_person = np.concatenate([person_features(v) for v in (view, view.mirrored())])
    return PoseAwareCalibrator(
        grow_forest(of_keypoint[known], target[known], KEYPOINT_TREES),
        grow_forest(of_person, np.concatenate([oks, oks]), trees=PERSON_TREES),
    )


METHODS: dict[Method, Callable[[KeypointDetections, Accuracy, np.ndarray], FileCalibrator]] = {
    "isotonic": fit_isotonic,
    "pose-aware": fit_pose_aware,
}


def fit(method: Method, detections: KeypointDetections, accuracy: Accuracy) -> FileCalibrator:
    """Fit on every detection of a file.

    Raises:
        InputError: too few detections have a person to be judged by.
    """
    _require_enough(detections, accuracy)
    return METHODS[method](detections, accuracy, np.arange(len(detections)))


def cross_fit(
    method: Method, detections: KeypointDetections, accuracy: Accuracy, folds: int = FOLDS, seed: int = 0
) -> Confidence:
    """Confidences of each detection from a calibrator that has not seen its image: what a gain may be measured on.

    Raises:
        InputError: too few detections have a person to be judged by, or there are fewer images than folds.
    """
    _require_enough(detections, accuracy)
    images = np.unique(detections.image)
    if len(images) < folds:
        raise InputError(f"{detections.name}: {len(images)} images are too few to cross-fit in {folds} folds")
    fold_of_image = np.random.default_rng(seed).permutation(len(images)) % folds
    fold = fold_of_image[np.searchsorted(images, detections.image)]
    instance, keypoint = np.zeros(len(detections)), np.zeros(detections.raw_score.shape)
    for held_out in track(range(folds), f"{method}, folds"):
        calibrator = METHODS[method](detections, accuracy, np.flatnonzero(fold != held_out))
        unseen = np.flatnonzero(fold == held_out)
        confidence = calibrator.calibrate(detections.subset(unseen))
        instance[unseen] = confidence.instance
        keypoint[unseen] = np.nan if confidence.keypoint is None else confidence.keypoint
    return Confidence(instance, keypoint)


def evaluate_calibrators(
    annotations: Source,
    results: Source,
    methods: Sequence[Method] = ("isotonic", "pose-aware"),
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[KeypointEvaluation, KeypointDetections, Accuracy]:
    """Judge calibrators beside the file's own confidences, each person by a calibrator that has not seen its image.

    Returns:
        The evaluation (rows "isotonic (cross-fitted)" and so on), and what it was made of, for `fit`.

    Raises:
        InputError: naming file, entry and field of what cannot be used, or too few detections.
    """
    truth = read_truth(annotations)
    detections = read_detections(results, truth)
    accuracy = accuracy_of(match(truth, detections))
    confidences = {}
    for method in methods:
        found = cross_fit(method, detections, accuracy, seed=seed)
        instance = np.zeros(detections.entries.max() + 1)
        keypoint = np.zeros((len(instance), _NUM_KEYPOINTS))
        instance[detections.entries], keypoint[detections.entries] = found.instance, found.keypoint
        confidences[f"{method} (cross-fitted)"] = Confidence(instance, keypoint)
    evaluation = evaluate_keypoints(annotations, results, confidences, bootstrap=bootstrap, seed=seed)
    return evaluation, detections, accuracy


def _require_enough(detections: KeypointDetections, accuracy: Accuracy) -> None:
    judged = int(accuracy.judged.sum())
    if judged < MIN_DETECTIONS:
        raise InputError(
            f"{detections.name}: {judged} detections have a person with keypoints in their image; "
            f"a calibrator needs {MIN_DETECTIONS} at least"
        )


def save_calibrator(path: str | Path, method: Method, calibrator: FileCalibrator) -> None:
    """Write plain arrays (.npz without pickles), whole or not at all."""
    write_npz(path, format=np.array(FORMAT), method=np.array(method), **calibrator.arrays())


def load_calibrator(path: str | Path) -> FileCalibrator:
    """Read what `save_calibrator` wrote; nothing in the file is executed.

    Raises:
        InputError: the file is not a calibrator, or a damaged one.
    """
    arrays = read_npz(path)
    if str(arrays.get("format", "")) != FORMAT:
        raise InputError(f"{path} is not a calibrator that `calibrate-file fit` wrote")
    method = str(arrays.get("method", ""))
    if method == "isotonic":
        return IsotonicCalibrator.from_arrays(arrays, str(path))
    if method == "pose-aware":
        return PoseAwareCalibrator.from_arrays(arrays, str(path))
    raise InputError(f"{path}, field method: {method!r} is none of {', '.join(METHODS)}")


def apply_to_file(calibrator: FileCalibrator, results: str | Path) -> list[dict[str, Any]]:
    """A results file's entries with calibrated scores: `score`, and the third value of each keypoint.

    Nothing else changes, neither coordinates nor order nor further fields.

    Raises:
        InputError: naming the file, the entry's index and the field.
    """
    confidence = calibrator.calibrate(read_detections(results, None))
    entries = read_json_list(results)
    keypoint = confidence.keypoint if confidence.keypoint is not None else np.zeros((len(entries), 0))
    for entry, score, scores in zip(entries, confidence.instance.tolist(), keypoint.tolist()):
        entry["score"] = score
        entry["keypoints"][2::3] = scores
    return entries
