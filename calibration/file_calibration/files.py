"""Calibrator files: plain arrays and one record in JSON, all checked before anything is used. Nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from calibration.file_calibration.baselines import IsotonicCurves, Temperature
from calibration.file_calibration.calibrator import FileCalibrator, KeypointModel, Method, Scales
from calibration.file_calibration.crops import CropSource
from calibration.file_calibration.features import Standardisation
from calibration.file_calibration.instance import InstanceConfidence, InstanceRule
from calibration.file_calibration.logistic import LogisticLine
from calibration.file_calibration.pose_aware import Member, PoseAware, network_from_arrays
from calibration.file_calibration.provenance import QUANTILES, Provenance
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz

FORMAT = "keypoint-file-calibrator-2"
_EARLIER = "keypoint-file-calibrator-1"
_MOST_KEYPOINTS, _MOST_MEMBERS = 1000, 64

_Line = tuple[Annotated[float, msgspec.Meta(ge=0, le=1e6)], Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]]


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """What is no array."""

    format: str
    method: Method
    skeleton: str
    keypoints: Annotated[list[str], msgspec.Meta(min_length=1, max_length=_MOST_KEYPOINTS)]
    network: str
    results: str
    crop_source: CropSource
    num_persons: Annotated[int, msgspec.Meta(ge=1)]
    num_images: Annotated[int, msgspec.Meta(ge=1)]
    ap_gain: tuple[float, float, float]
    rule: InstanceRule
    area_share: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    instance_line: _Line | None
    keypoint_line: _Line | None
    members: Annotated[int, msgspec.Meta(ge=0, le=_MOST_MEMBERS)]


def save_calibrator(path: str | Path, calibrator: FileCalibrator) -> None:
    """Write a calibrator as an .npz without pickles, whole or not at all."""
    model, scales, provenance = calibrator.model, calibrator.scales, calibrator.provenance
    members = model.members if isinstance(model, PoseAware) else ()
    record = _Record(
        format=FORMAT,
        method=calibrator.method,
        skeleton=calibrator.skeleton,
        keypoints=list(calibrator.keypoints),
        network=provenance.network,
        results=provenance.results,
        crop_source=provenance.crop_source,
        num_persons=provenance.num_persons,
        num_images=provenance.num_images,
        ap_gain=provenance.ap_gain,
        rule=scales.instance.rule,
        area_share=scales.area_share,
        instance_line=_numbers_of(scales.instance.line),
        keypoint_line=_numbers_of(None if isinstance(model, IsotonicCurves) else model.line),
        members=len(members),
    )
    arrays = {
        "oks_sigmas": scales.oks_sigmas,
        "radius_factors": scales.radius_factors,
        "score_quantiles": provenance.score_quantiles,
    }
    if isinstance(model, IsotonicCurves):
        arrays |= {"start": model.start, "score": model.score, "oks": model.oks}
    if isinstance(model, PoseAware):
        arrays["flip"] = np.asarray(model.flip)
    for number, member in enumerate(members):
        arrays |= {f"member{number}.{name}": values for name, values in member.arrays().items()}
    write_npz(path, record=np.array(msgspec.json.encode(record).decode()), **arrays)


def load_calibrator(path: str | Path) -> FileCalibrator:
    """Read what `save_calibrator` wrote.

    Raises:
        InputError: the file is not a calibrator, or a damaged one.
    """
    arrays = read_npz(path)
    if str(arrays.get("format", "")) == _EARLIER:
        raise InputError(f"{path} is a calibrator of an earlier version; fit it again")
    record = _read_record(arrays, str(path))
    try:
        return _rebuild(record, arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is a damaged calibrator: {error.args[0] if error.args else error}") from None


def _read_record(arrays: dict[str, np.ndarray], name: str) -> _Record:
    text = arrays.get("record")
    if text is None or text.shape != () or text.dtype.kind != "U" or FORMAT not in str(text):
        raise InputError(f"{name} is not a calibrator that `calibrate-file fit` wrote")
    try:
        return msgspec.json.decode(str(text), type=_Record)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{name} is a damaged calibrator: {error}") from None


def _rebuild(record: _Record, arrays: dict[str, np.ndarray]) -> FileCalibrator:
    k = len(record.keypoints)
    sigmas = _checked(arrays, "oks_sigmas", (k,), 1e-6, 1e3)
    scales = Scales(
        InstanceConfidence(record.rule, _line_of(record.instance_line)),
        record.area_share,
        sigmas,
        _checked(arrays, "radius_factors", (k,), 0, 1e6),
    )
    quantiles = _checked(arrays, "score_quantiles", (k, len(QUANTILES)))
    if (np.diff(quantiles, axis=1) < 0).any():
        raise ValueError("score_quantiles do not ascend")
    provenance = Provenance(
        record.network,
        record.results,
        record.crop_source,
        record.num_persons,
        record.num_images,
        quantiles,
        record.ap_gain,
    )
    model = _rebuild_model(record, arrays, k)
    return FileCalibrator(record.method, record.skeleton, tuple(record.keypoints), model, scales, provenance)


def _rebuild_model(record: _Record, arrays: dict[str, np.ndarray], k: int) -> KeypointModel:
    if record.method == "isotonic":
        return _rebuild_curves(arrays, k)
    line = _line_of(record.keypoint_line)
    if line is None:
        raise ValueError(f"its method is {record.method}, and keypoint_line is missing")
    if record.method == "temperature":
        return Temperature(line)
    flip = _checked(arrays, "flip", (k,), 0, k - 1, kind="i")
    if (flip[flip] != np.arange(k)).any():
        raise ValueError("flip is not a mirror image of itself")
    if record.members == 0:
        raise ValueError("it has no member")
    members = []
    for number in range(record.members):
        scale = {
            name: _checked(arrays, f"member{number}.{name}", (size,), *((1e-9, 1e9) if name.endswith("std") else ()))
            for name, size in Standardisation.sizes().items()
        }
        members.append(Member(Standardisation(**scale), network_from_arrays(arrays, f"member{number}.", k)))
    return PoseAware(tuple(members), flip, line)


def _rebuild_curves(arrays: dict[str, np.ndarray], k: int) -> IsotonicCurves:
    score = _checked(arrays, "score", (None,))
    start = _checked(arrays, "start", (k + 1,), 0, len(score), kind="i")
    oks = _checked(arrays, "oks", score.shape, 0, 1)
    if start[0] != 0 or start[-1] != len(score) or (np.diff(start) < 1).any():
        raise ValueError(f"start does not divide its knots among {k} keypoints")
    within = np.ones(len(score), dtype=bool)
    within[start[:-1]] = False
    if (np.diff(score, prepend=0)[within] <= 0).any() or (np.diff(oks, prepend=0)[within] < 0).any():
        raise ValueError("the knots of a curve do not ascend")
    return IsotonicCurves(start, score, oks)


def _checked(
    arrays: dict[str, np.ndarray],
    name: str,
    shape: tuple[int | None, ...],
    low: float | int = -1e9,
    high: float | int = 1e9,
    kind: str = "f",
) -> Any:
    """One array, if it has the shape and its values are numbers between the bounds."""
    if name not in arrays:
        raise KeyError(f"{name} is missing")
    values = arrays[name]
    fits = len(values.shape) == len(shape) and all(b in (None, a) for a, b in zip(values.shape, shape))
    if not fits or values.dtype.kind != kind:
        raise ValueError(f"{name} has shape {values.shape} of {values.dtype}, not {shape} of kind {kind!r}")
    if not ((values >= low) & (values <= high)).all():  # NaN is neither
        raise ValueError(f"{name} has values that are no numbers between {low:g} and {high:g}")
    return values


def _numbers_of(line: LogisticLine | None) -> _Line | None:
    return None if line is None else (line.slope, line.offset)


def _line_of(numbers: _Line | None) -> LogisticLine | None:
    return None if numbers is None else LogisticLine(*numbers)
