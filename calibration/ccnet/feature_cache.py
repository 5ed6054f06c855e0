"""The feature cache: a frozen network's pass over a data set, made once and kept on disk.

Training a confidence branch needs the network's output for the same images over and over; the network is frozen, so one
pass serves all epochs and every experiment. A cache is bound to its network, persons and options by a key; until its
last row is written it is no cache, and a stopped pass goes on where it was. Several devices share a pass.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.ccnet.altered_views import AlteredViews
from calibration.ccnet.features import CachedFeatures, peak_statistics
from pose2d.console.progress import say, track
from pose2d.crops import crop_scale
from pose2d.datasets.coco import KeypointDataset
from pose2d.errors import InputError
from pose2d.files.images import read_image
from pose2d.files.storage import read_json, sha256, write_json
from pose2d.inference import InferredBatch, Skipped, infer_batches
from pose2d.networks.base import PoseNetwork
from pose2d.poses import Poses2D

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_FLUSH_BATCHES = 16


def cache_features(
    network: PoseNetwork,
    dataset: KeypointDataset,
    directory: str | Path,
    flip: bool = True,
    batch: int = 32,
    views: AlteredViews | None = None,
    fabric: Fabric | None = None,
) -> CachedFeatures:
    """Run a network over a data set once, or open what an earlier run kept.

    Persons that cannot be cropped are left out.

    Args:
        network: frozen, in evaluation mode.
        dataset: annotated persons.
        directory: where caches lie, a subdirectory each.
        flip: average keypoints with those of the mirrored images (features are those of the images themselves).
        batch: persons a step.
        views: how the persons are seen, where not as they are; `views.dataset` is cached then.
        fabric: device, precision and processes of the pass; None for the network's own device and this process.

    Raises:
        InputError: nobody can be cropped, there is no room on the disk, or an existing cache is damaged.
    """
    network_hash = network.identity
    flip = flip and network.has_flip_test
    dataset = dataset if views is None else views.dataset
    key = {
        "network": network_hash,
        "annotations": sha256(dataset.annotation_file),
        "persons": hashlib.sha256(dataset.annotation_ids.tobytes()).hexdigest(),
        "boxes": hashlib.sha256(np.round(dataset.boxes_xywh, 3).tobytes()).hexdigest(),
        "flip": flip,
        "decoding": "",
        **network.output_choices,
    }
    if views is not None:
        key["view"] = views.digest
    if fabric is not None and fabric.strategy.precision.precision != "32-true":
        key["precision"] = fabric.strategy.precision.precision
    name = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:16]
    size_wh = network.input_spec.size_wh
    # Caches of networks whose size was no choice lie under the shorter name.
    folder = Path(directory) / f"features-{name}"
    if not (folder / "cache.json").is_file():
        folder = Path(directory) / f"features-{name}-{size_wh[0]}x{size_wh[1]}"
    if fabric is not None:
        network.move_to(fabric.device)
    if not (folder / "cache.json").is_file():
        _fill(network, dataset, views, folder, key, batch, fabric)
    return replace(_open(folder, dataset, views, network_hash), size_wh=size_wh, cell_px=network.cell_px)


def _fill(
    network: PoseNetwork,
    dataset: KeypointDataset,
    views: AlteredViews | None,
    folder: Path,
    key: dict[str, Any],
    batch: int,
    fabric: Fabric | None,
) -> None:
    flip = bool(key["flip"])
    rank, processes = (fabric.global_rank, fabric.world_size) if fabric is not None else (0, 1)
    progress_file = folder / "progress.json"
    if rank == 0 and not progress_file.is_file():
        _allocate(folder, _first_values(network, dataset, flip), len(dataset))
        write_json(progress_file, {"done": 0})
    _wait(fabric)
    arrays = {file.stem: np.lib.format.open_memmap(file, mode="r+") for file in sorted(folder.glob("*.npy"))}
    done = int(read_json(progress_file)["done"])
    if done and rank == 0:
        say(f"going on with {folder} at person {done} of {len(dataset)}")
    skipped: list[Skipped] = []
    starts = range(done, len(dataset), _FLUSH_BATCHES * batch * processes)
    for start in track(starts, "features, parts") if rank == 0 else starts:
        stop = min(start + _FLUSH_BATCHES * batch * processes, len(dataset))
        mine = np.array_split(np.arange(start, stop), processes)[rank]
        with fabric.autocast() if fabric is not None else nullcontext():
            for part in _batches(network, dataset.select(mine), views and views.select(mine), flip, batch):
                if isinstance(part, Skipped):
                    skipped.append(part)
                    continue
                rows = mine[part.rows]
                for name, value in _values(network, part).items():
                    arrays[name][rows] = value
                arrays["kept"][rows] = True
        for array in arrays.values():
            array.flush()
        _wait(fabric)
        if rank == 0:
            write_json(progress_file, {"done": stop})
    if not arrays["kept"].any():
        shutil.rmtree(folder, ignore_errors=True)
        reason = skipped[0].reason if skipped else "it is empty"
        raise InputError(f"no person of {dataset.annotation_file} could be run through the network: {reason}")
    if rank == 0:
        write_json(folder / "cache.json", {"key": key, "arrays": sorted(arrays), "persons": len(dataset)})
        progress_file.unlink(missing_ok=True)
    _wait(fabric)


def _wait(fabric: Fabric | None) -> None:
    if fabric is not None:
        fabric.barrier()


def _first_values(network: PoseNetwork, dataset: KeypointDataset, flip: bool) -> dict[str, np.ndarray]:
    """What a black image gives: names, types and shapes of a cache's arrays."""
    width, height = network.input_spec.size_wh
    black, box = np.zeros((height, width, 3), np.uint8), np.array([[0.0, 0.0, width, height]])
    (part,) = infer_batches(network, [black], box, dataset.skeleton, flip, 1)
    assert isinstance(part, InferredBatch)  # a black image can be cropped
    return _values(network, part)


def _batches(
    network: PoseNetwork, dataset: KeypointDataset, views: AlteredViews | None, flip: bool, batch: int
) -> Iterator[InferredBatch | Skipped]:
    if views is None:
        yield from infer_batches(network, dataset.image_paths, dataset.boxes_xywh, dataset.skeleton, flip, batch)
        return
    for rows in np.split(np.arange(len(dataset)), range(batch, len(dataset), batch)):
        pictures, kept = [], []
        for row in rows:
            try:
                pictures.append(views.picture(int(row), read_image(dataset.image_paths[row])))
                kept.append(row)
            except InputError as error:
                yield Skipped(int(row), str(error))
        boxes = dataset.boxes_xywh[kept]
        for part in infer_batches(network, pictures, boxes, dataset.skeleton, flip, batch):
            if isinstance(part, Skipped):
                yield Skipped(int(kept[part.row]), part.reason)
            else:
                yield replace(part, rows=np.array(kept)[part.rows])


def _values(network: PoseNetwork, part: InferredBatch) -> dict[str, np.ndarray]:
    size_wh = network.input_spec.size_wh
    poses = part.poses
    values = {
        "feature": part.output.feature.half().cpu().numpy(),
        "xy_px": poses.xy_px,
        "raw_score": poses.raw_score,
        "xy_fraction": (part.output.xy_px.double().cpu().numpy() / np.array(size_wh)),
        "statistics": peak_statistics(part.output, size_wh).double().cpu().numpy(),
        "scale": crop_scale(part.affines),
        "boxes": poses.boxes_xywh,
    }
    if poses.sigma_px is not None:
        values["sigma_px"] = poses.sigma_px
    return values


def _allocate(folder: Path, values: dict[str, np.ndarray], count: int) -> None:
    values = {**values, "kept": np.zeros(1, dtype=bool)}
    size = sum(value.nbytes for value in values.values()) * count
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    say(f"caching features of {count} persons in {folder}: {size / 1e6:.0f} MB")
    try:
        if size > free:
            raise OSError("no space left")
        for name, value in values.items():
            shape = (count, *value.shape[1:])
            np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=value.dtype, shape=shape).flush()
            # A file with holes would end the process by a signal where the disk fills up later.
            with open(folder / f"{name}.npy", "r+b") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(
            f"the features of {count} persons need {size / 1e6:.0f} MB and {folder.parent} has {free / 1e6:.0f} MB "
            f"free ({error}): choose another directory for the cache"
        ) from None


def _open(folder: Path, dataset: KeypointDataset, views: AlteredViews | None, network_hash: str) -> CachedFeatures:
    about = read_json(folder / "cache.json")
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in about["arrays"]}
        kept = np.flatnonzero(arrays.pop("kept"))
        if any(len(array) != len(dataset) for array in arrays.values()):
            raise ValueError("its arrays are of another length")
        feature = arrays.pop("feature")
        small = {name: np.array(array) for name, array in arrays.items()}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the feature cache {folder} is damaged ({error}): delete that directory") from None
    poses = Poses2D(dataset.skeleton, small["xy_px"], small["raw_score"], small["boxes"], small.get("sigma_px"))
    whole = CachedFeatures(
        dataset, poses, small["xy_fraction"], small["statistics"], small["scale"], feature, network_hash, views
    )
    return whole if len(kept) == len(dataset) else whole.select(kept)
