"""Keypoints of all persons of a folder, written as COCO results; a run that was interrupted goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose2d.console.progress import say
from pose2d.crops import padded_boxes
from pose2d.detection.oks_nms import INSTANCE_SCORES, oks_nms
from pose2d.detection.options import DetectOptions
from pose2d.detection.person_boxes import PersonBoxes
from pose2d.errors import InputError, require_positive
from pose2d.files.storage import allocated_npy, exclusive, read_json, write_json
from pose2d.inference import Skipped, infer_batches
from pose2d.networks.base import InputSpec, PoseNetwork
from pose2d.networks.packaged import LoadedNetwork
from pose2d.poses import Poses2D
from pose2d.skeletons import WHOLEBODY_FIELDS, Skeleton

_PART_BATCHES = 16
_DEFAULT = DetectOptions()


@dataclass(frozen=True)
class Detection:
    """How a run ended.

    Attributes:
        results: entries written.
        suppressed: persons that OKS-NMS left out.
        skipped: persons without keypoints and why, in the order of the boxes.
    """

    results: int
    suppressed: int
    skipped: tuple[Skipped, ...]


def detect(
    loaded: LoadedNetwork,
    persons: PersonBoxes,
    skeleton: Skeleton,
    out: str | Path,
    options: DetectOptions = _DEFAULT,
    features: str | Path | None = None,
) -> Detection:
    """Find the keypoints of all persons and write them as COCO results, with a record of the run beside.

    Finished parts lie in a folder beside ``out`` until the run is whole; the same call goes on from them. The record
    ``<out>.run.json`` holds the options, the checkpoint's hash and the persons that were skipped.

    Args:
        loaded: the network, with its checkpoint and the options to run it by.
        persons: images and boxes.
        skeleton: of the network's keypoints.
        out: results file to write.
        options: see there.
        features: folder to write the penultimate features to: ``feature.npy`` (half floats, a row per person, NaN
            where skipped) and ``persons.json`` (image and annotation ids of the rows).

    Raises:
        InputError: the numbers of keypoints differ, or no person at all could be cropped.
    """
    require_positive(batch=options.batch)
    out = Path(out)
    with contextlib.ExitStack() as locks:
        locks.enter_context(exclusive(out.with_name(f".{out.name}.lock"), out))
        if features is not None:
            locks.enter_context(exclusive(Path(features) / ".lock", features))
        return _detect(loaded, persons, skeleton, out, options, features)


def _detect(
    loaded: LoadedNetwork,
    persons: PersonBoxes,
    skeleton: Skeleton,
    out: Path,
    options: DetectOptions,
    features: str | Path | None,
) -> Detection:
    key = _key(loaded, persons, skeleton, features is not None)
    parts = _Parts(out.with_name(out.name + ".parts"), key)
    done = parts.rows()
    store = None if features is None else _FeatureStore(Path(features), persons, key)
    left = np.setdiff1d(np.arange(len(persons)), [*done, *persons.faults])
    _run(loaded, persons, skeleton, parts, left, store, options.batch)
    found, skipped = parts.contents()
    faulty = [Skipped(row, reason) for row, reason in persons.faults.items()]
    skipped = sorted(skipped + faulty, key=lambda one: one.row)
    if not found:
        parts.remove()
        reason = skipped[0].reason if skipped else "no person was given"
        raise InputError(f"keypoints were found for none of {len(persons)} persons; the first reason: {reason}")
    entries = _entries(found, persons, skeleton, options, loaded.network)
    kept = _without_duplicates(entries, persons, skeleton, options, loaded.network.input_spec)
    write_json(out, [entry for row, entry in kept])
    if store is not None:
        store.finish()
    write_json(out.with_name(out.name + ".run.json"), _record(loaded, persons, options, skipped, len(kept)))
    parts.remove()
    return Detection(len(kept), len(entries) - len(kept), tuple(skipped))


def skipped_lines(skipped: Sequence[Skipped], persons: PersonBoxes, listed: int = 10) -> list[str]:
    """What the end of a run says of the persons without keypoints: how many, and which."""
    if not skipped:
        return []
    lines = [f"{len(skipped)} of {len(persons)} persons were skipped:"]
    lines += [f"  {persons.images[one.row].path.name}: {one.reason}" for one in skipped[:listed]]
    if len(skipped) > listed:
        lines.append(f"  and {len(skipped) - listed} more, all in the record of the run")
    return lines


def _run(
    loaded: LoadedNetwork,
    persons: PersonBoxes,
    skeleton: Skeleton,
    parts: _Parts,
    rows: np.ndarray,
    store: _FeatureStore | None,
    batch: int,
) -> None:
    if not len(rows):
        return
    images, boxes = [persons.images[row] for row in rows], persons.boxes_xywh[rows]
    flip, keep_maps = loaded.options.flip, store is not None
    found: list[tuple[np.ndarray, Poses2D]] = []
    skipped: list[Skipped] = []
    try:
        for part in infer_batches(loaded.network, images, boxes, skeleton, flip, batch, keep_maps):
            if isinstance(part, Skipped):
                skipped.append(Skipped(int(rows[part.row]), part.reason))
                continue
            if store is not None:
                store.put(rows[part.rows], part.output.feature.float().cpu().numpy())
            found.append((rows[part.rows], part.poses))
            if len(found) == _PART_BATCHES:
                parts.add(found, skipped)
                found, skipped = [], []
    finally:  # also when interrupted
        parts.add(found, skipped)


class _Parts:
    """Finished parts of a run in a folder, bound to the run's key."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        key_file = folder / "key.json"
        if key_file.is_file() and read_json(key_file) != key:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(key_file, key)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("part_*.json"))

    def add(self, found: Sequence[tuple[np.ndarray, Poses2D]], skipped: Sequence[Skipped]) -> None:
        """Write finished persons by row, and those that were skipped, as a further part; nothing if there are none."""
        persons = []
        for rows, poses in found:
            triples = np.concatenate([poses.xy_px, poses.raw_score[..., None]], axis=2)
            persons += [[int(row), triple.tolist()] for row, triple in zip(rows, triples, strict=True)]
        if persons or skipped:
            content = {"found": persons, "skipped": [[one.row, one.reason] for one in skipped]}
            write_json(self._folder / f"part_{len(self._files()):06d}.json", content)

    def rows(self) -> np.ndarray:
        """Rows that are done, found or skipped."""
        done = [row for file in self._files() for kind in ("found", "skipped") for row, _ in read_json(file)[kind]]
        if done:
            say(f"going on after {len(done)} persons")
        return np.array(sorted(done), dtype=np.int64)

    def contents(self) -> tuple[dict[int, np.ndarray], list[Skipped]]:
        """Keypoints (k, 3) by row, rising, and the skipped persons."""
        found: dict[int, np.ndarray] = {}
        skipped: list[Skipped] = []
        for file in self._files():
            content = read_json(file)
            found |= {row: np.array(triples) for row, triples in content["found"]}
            skipped += [Skipped(row, reason) for row, reason in content["skipped"]]
        return dict(sorted(found.items())), sorted(skipped, key=lambda one: one.row)

    def remove(self) -> None:
        shutil.rmtree(self._folder)


class _FeatureStore:
    """Penultimate features in one array on disk, which an interrupted run reopens."""

    def __init__(self, folder: Path, persons: PersonBoxes, key: str) -> None:
        self._folder, self._persons, self._key = folder, persons, key
        self._array: np.ndarray | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, rows: np.ndarray, values: np.ndarray) -> None:
        if self._array is None:
            self._array = self._open(values.shape[1:])
        self._array[rows] = values.astype(np.float16)

    def _open(self, shape: tuple[int, ...]) -> np.ndarray:
        path, whole = self._folder / "feature.partial.npy", (len(self._persons), *shape)
        key_file = self._folder / "key.json"
        if path.is_file() and key_file.is_file() and read_json(key_file) == self._key:
            return np.lib.format.open_memmap(path, mode="r+")
        array = allocated_npy(path, whole, np.float16)
        for row in range(len(array)):
            array[row] = np.nan
        write_json(key_file, self._key)
        return array

    def finish(self) -> None:
        """Give the array its name, and name its rows."""
        if isinstance(self._array, np.memmap):
            self._array.flush()
        partial = self._folder / "feature.partial.npy"
        if partial.is_file():
            partial.replace(self._folder / "feature.npy")
        rows = {"image_id": self._persons.image_ids.tolist(), "annotation_id": self._persons.annotation_ids.tolist()}
        write_json(self._folder / "persons.json", rows)


def _key(loaded: LoadedNetwork, persons: PersonBoxes, skeleton: Skeleton, features: bool) -> str:
    """What must be the same for a run to go on."""
    digest = hashlib.sha256()
    chosen = (dict(loaded.network.output_choices), loaded.network.input_spec.size_wh, loaded.options.expert)
    paths = [[str(image.path), image.size_wh] for image in persons.images]
    words = (loaded.checkpoint.sha256, chosen, skeleton.name, loaded.options.flip, features, paths)
    digest.update(json.dumps(words).encode())
    digest.update(np.ascontiguousarray(persons.boxes_xywh).tobytes())
    return digest.hexdigest()


def _entries(
    found: dict[int, np.ndarray],
    persons: PersonBoxes,
    skeleton: Skeleton,
    options: DetectOptions,
    network: PoseNetwork,
) -> list[tuple[int, dict[str, Any]]]:
    """COCO results with their rows."""
    rows = np.array(list(found), dtype=np.int64)
    triples = np.stack(list(found.values()))
    rule = INSTANCE_SCORES[options.instance_score or network.instance_score]
    scores = rule(triples[:, :, 2], persons.box_scores[rows], persons.detected)
    whole = [("body", slice(0, len(skeleton)))]
    parts = [(name, part) for name, part in skeleton.parts if name in WHOLEBODY_FIELDS] or whole
    entries = []
    for place, row in enumerate(rows):
        entry: dict[str, Any] = {"image_id": int(persons.image_ids[row]), "category_id": 1}
        for name, part in parts:
            entry[WHOLEBODY_FIELDS[name]] = [round(float(value), 4) for value in triples[place, part].reshape(-1)]
        entry["score"] = float(scores[place])
        entry["bbox"] = [float(side) for side in persons.boxes_xywh[row]]
        if persons.annotation_ids[row] >= 0:
            entry["annotation_id"] = int(persons.annotation_ids[row])
        entries.append((int(row), entry))
    return entries


def _without_duplicates(
    entries: list[tuple[int, dict[str, Any]]],
    persons: PersonBoxes,
    skeleton: Skeleton,
    options: DetectOptions,
    spec: InputSpec,
) -> list[tuple[int, dict[str, Any]]]:
    """OKS-NMS image by image, for detected boxes."""
    if not persons.detected or options.oks_threshold >= 1 or skeleton.oks_sigmas is None:
        return entries
    kept = []
    for group in _by_image(entries):
        rows = [row for row, _ in group]
        _, extents = padded_boxes(persons.boxes_xywh[rows], spec.size_wh, spec.padding)
        body = [entry["keypoints"] for _, entry in group]
        xy = np.array(body).reshape(len(group), -1, 3)[:, :, :2]
        sigmas = skeleton.sigmas[: xy.shape[1]]
        scores = np.array([entry["score"] for _, entry in group])
        chosen = oks_nms(xy, scores, extents.prod(axis=1), sigmas, options.oks_threshold)
        kept += [group[place] for place in sorted(chosen)]
    return kept


def _by_image(entries: list[tuple[int, dict[str, Any]]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    groups: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for row, entry in entries:
        groups.setdefault(entry["image_id"], []).append((row, entry))
    yield from groups.values()


def _record(
    loaded: LoadedNetwork, persons: PersonBoxes, options: DetectOptions, skipped: Sequence[Skipped], kept: int
) -> dict[str, Any]:
    images = Counter(str(persons.images[one.row].path) for one in skipped)
    return {
        "checkpoint": vars(loaded.checkpoint),
        "options": {"network": loaded.options.network, "input_size": loaded.network.input_spec.size_wh}
        | dict(loaded.network.output_choices)
        | {"flip": loaded.options.flip}
        | vars(options),
        "persons": len(persons),
        "results": kept,
        "skipped": [
            {
                "image": persons.images[one.row].path.name,
                "image_id": int(persons.image_ids[one.row]),
                "box_xywh": [float(side) if np.isfinite(side) else None for side in persons.boxes_xywh[one.row]],
                "reason": one.reason,
            }
            for one in skipped
        ],
        "images_with_skipped_persons": len(images),
    }
