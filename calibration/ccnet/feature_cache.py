"""The feature cache: a frozen network's pass over a data set, made once and kept on disk.

Training a confidence branch needs the network's output for the same images over and over; the network is frozen, so one
pass serves all epochs and every experiment. Of feature maps a cache keeps what branches read (`feature_parts`), or the
whole maps where they are asked for. A cache is bound to its network, persons and options by a key; until its last row
is written it is no cache, and a stopped pass goes on where it was. Several devices share a pass, and so do the altered
views of the same persons, whose images are opened once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from calibration.ccnet.altered_views import AlteredViews
from calibration.ccnet.feature_parts import MOST_LOCAL_CHANNELS, FeatureParts
from calibration.ccnet.features import CachedFeatures, peak_statistics
from calibration.ccnet.options import KEPT, Kept
from pose2d.console.progress import say, track
from pose2d.crops import crop_scale
from pose2d.datasets.coco import KeypointDataset
from pose2d.errors import InputError
from pose2d.files.images import read_image
from pose2d.files.storage import exclusive, read_json, sha256, write_json
from pose2d.inference import InferredBatch, Skipped, infer_batches
from pose2d.networks.base import PoseNetwork
from pose2d.poses import Poses2D

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_FLUSH_BATCHES = 16


@dataclass(frozen=True)
class CacheOptions:
    """How a network's pass is made, and what of it is kept.

    Attributes:
        kept: of feature maps: what the forms linear, local and scores read ("points"), what conv reads too
            ("coarse"), or the whole maps.
        flip: average keypoints with those of the mirrored images (features are those of the images themselves).
        batch: persons a step.
    """

    kept: Kept = "points"
    flip: bool = True
    batch: int = 32


@dataclass(frozen=True)
class _Job:
    """One cache to fill."""

    dataset: KeypointDataset
    views: AlteredViews | None
    folder: Path
    key: dict[str, Any]

    def arrays(self) -> dict[str, np.memmap[Any, Any]]:
        return {file.stem: np.lib.format.open_memmap(file, mode="r+") for file in sorted(self.folder.glob("*.npy"))}

    @property
    def progress_file(self) -> Path:
        return self.folder / "progress.json"

    @property
    def done(self) -> int:
        return int(read_json(self.progress_file)["done"])


def cache_features(
    network: PoseNetwork,
    dataset: KeypointDataset,
    directory: str | Path,
    options: CacheOptions = CacheOptions(),
    views: AlteredViews | None = None,
    fabric: Fabric | None = None,
) -> CachedFeatures:
    """`cache_views` of one view: the persons as they are, or `views`."""
    return cache_views(network, dataset, directory, (views,), options, fabric)[0]


def cache_views(
    network: PoseNetwork,
    dataset: KeypointDataset,
    directory: str | Path,
    views: Sequence[AlteredViews | None] = (None,),
    options: CacheOptions = CacheOptions(),
    fabric: Fabric | None = None,
) -> list[CachedFeatures]:
    """Run a network over a data set once, or open what an earlier run kept.

    Persons that cannot be cropped are left out.

    Args:
        network: frozen, in evaluation mode.
        dataset: annotated persons.
        directory: where caches lie, a subdirectory each.
        views: how the persons are seen, None for as they are; a cache each, of `dataset` or the view's own.
        options: what is kept, and how the pass is made.
        fabric: device, precision and processes of the pass; None for the network's own device and this process.

    Raises:
        InputError: nobody can be cropped, there is no room on the disk, another run fills the same cache, or an
            existing cache is damaged.
    """
    if fabric is not None:
        network.move_to(fabric.device)
    found = [
        _find(network, dataset if one is None else one.dataset, one, Path(directory), options, fabric) for one in views
    ]
    missing = [job for job in found if not _is_whole(job.folder)]
    if missing:
        _fill(network, missing, options, fabric)
    return [
        replace(
            _open(job.folder, job.dataset, job.views, network.identity),
            size_wh=network.input_spec.size_wh,
            cell_px=network.cell_px,
        )
        for job in found
    ]


def _find(
    network: PoseNetwork,
    dataset: KeypointDataset,
    views: AlteredViews | None,
    directory: Path,
    options: CacheOptions,
    fabric: Fabric | None,
) -> _Job:
    """The cache of these persons, one that keeps more if there is such a one, or where it is to be made."""
    key = {
        "network": network.identity,
        "annotations": sha256(dataset.annotation_file),
        "persons": hashlib.sha256(dataset.annotation_ids.tobytes()).hexdigest(),
        "boxes": hashlib.sha256(np.round(dataset.boxes_xywh, 3).tobytes()).hexdigest(),
        "flip": options.flip and network.has_flip_test,
        "decoding": "",
        **network.output_choices,
    }
    if views is not None:
        key["view"] = views.digest
    if fabric is not None and fabric.strategy.precision.precision != "32-true":
        key["precision"] = fabric.strategy.precision.precision
    width, height = network.input_spec.size_wh
    jobs = []
    for kept in KEPT[KEPT.index(options.kept) :]:
        # Caches of before anything else was kept hold whole maps and do not say so.
        chosen = key if kept == "whole" else {**key, "kept": kept}
        name = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:16]
        # Of networks whose size was no choice caches once lay under the shorter name.
        for folder in (directory / f"features-{name}-{width}x{height}", directory / f"features-{name}"):
            jobs.append(_Job(dataset, views, folder, chosen))
            if _is_whole(folder):
                if kept == "whole" != options.kept and (folder / "feature.npy").is_file():
                    size = sum(file.stat().st_size for file in folder.glob("*.npy"))
                    say(
                        f"{folder} keeps whole feature maps, {size / 1e6:.0f} MB, as older versions did, and is used; "
                        "delete it to make a smaller one"
                    )
                return jobs[-1]
    return jobs[0]


def _is_whole(folder: Path) -> bool:
    return (folder / "cache.json").is_file()


def _fill(network: PoseNetwork, jobs: list[_Job], options: CacheOptions, fabric: Fabric | None) -> None:
    rank = fabric.global_rank if fabric is not None else 0
    with ExitStack() as locks:
        if rank == 0:
            for job in jobs:
                locks.enter_context(exclusive(job.folder.with_suffix(".lock"), job.folder))
            _allocate([job for job in jobs if not job.progress_file.is_file()], network, options)
        _wait(fabric)
        _run(network, jobs, options, fabric)


def _run(network: PoseNetwork, jobs: list[_Job], options: CacheOptions, fabric: Fabric | None) -> None:
    rank, processes = (fabric.global_rank, fabric.world_size) if fabric is not None else (0, 1)
    arrays = [job.arrays() for job in jobs]
    count, done = len(jobs[0].dataset), min(job.done for job in jobs)
    if done and rank == 0:
        say(f"going on with {', '.join(str(job.folder) for job in jobs)} at person {done} of {count}")
    skipped: list[Skipped] = []
    starts = range(done, count, _FLUSH_BATCHES * options.batch * processes)
    for start in track(starts, "features, parts") if rank == 0 else starts:
        stop = min(start + _FLUSH_BATCHES * options.batch * processes, count)
        mine = np.array_split(np.arange(start, stop), processes)[rank]
        with fabric.autocast() if fabric is not None else nullcontext():
            for number, part in _batches(network, jobs, mine, options):
                if isinstance(part, Skipped):
                    skipped.append(part)
                    continue
                rows = mine[part.rows]
                for name, value in _values(network, part, options.kept).items():
                    arrays[number][name][rows] = value
                arrays[number]["kept"][rows] = True
        for array in chain.from_iterable(of_job.values() for of_job in arrays):
            array.flush()
        _wait(fabric)
        for job in jobs if rank == 0 else ():
            write_json(job.progress_file, {"done": stop})
    for job, of_job in zip(jobs, arrays, strict=True):
        if not of_job["kept"].any():
            shutil.rmtree(job.folder, ignore_errors=True)
            reason = skipped[0].reason if skipped else "it is empty"
            raise InputError(f"no person of {job.dataset.annotation_file} could be run through the network: {reason}")
        if rank == 0:
            write_json(job.folder / "cache.json", {"key": job.key, "arrays": sorted(of_job), "persons": count})
            job.progress_file.unlink(missing_ok=True)
    _wait(fabric)


def _wait(fabric: Fabric | None) -> None:
    if fabric is not None:
        fabric.barrier()


def _first_values(network: PoseNetwork, dataset: KeypointDataset, options: CacheOptions) -> dict[str, np.ndarray]:
    """What a black image gives: names, types and shapes of a cache's arrays."""
    width, height = network.input_spec.size_wh
    black, box = np.zeros((height, width, 3), np.uint8), np.array([[0.0, 0.0, width, height]])
    (part,) = infer_batches(network, [black], box, dataset.skeleton, _flip(network, options), 1)
    assert isinstance(part, InferredBatch)  # a black image can be cropped
    return _values(network, part, options.kept)


def _flip(network: PoseNetwork, options: CacheOptions) -> bool:
    return options.flip and network.has_flip_test


def _batches(
    network: PoseNetwork, jobs: list[_Job], rows: np.ndarray, options: CacheOptions
) -> Iterator[tuple[int, InferredBatch | Skipped]]:
    """Batches of each job, by its number; their rows are places in `rows`."""
    flip = _flip(network, options)
    if len(jobs) == 1 and jobs[0].views is None:
        dataset = jobs[0].dataset.select(rows)
        for part in infer_batches(
            network, dataset.image_paths, dataset.boxes_xywh, dataset.skeleton, flip, options.batch
        ):
            yield 0, part
        return
    places = np.arange(len(rows))
    for batch in np.split(places, range(options.batch, len(places), options.batch)):
        images, kept = [], []
        path, image = None, np.zeros((0, 0, 3), dtype=np.uint8)
        for place in batch:
            try:
                if jobs[0].dataset.image_paths[rows[place]] != path:
                    image = read_image(jobs[0].dataset.image_paths[rows[place]])
                    path = jobs[0].dataset.image_paths[rows[place]]
                images.append(image)
                kept.append(place)
            except InputError as error:
                for number in range(len(jobs)):
                    yield number, Skipped(int(place), str(error))
        for number, job in enumerate(jobs):
            pictures = [
                seen if job.views is None else job.views.picture(int(rows[place]), seen)
                for place, seen in zip(kept, images, strict=True)
            ]
            boxes = job.dataset.boxes_xywh[rows[kept]]
            for part in infer_batches(network, pictures, boxes, job.dataset.skeleton, flip, options.batch):
                if isinstance(part, Skipped):
                    yield number, Skipped(int(kept[part.row]), part.reason)
                else:
                    yield number, replace(part, rows=np.array(kept)[part.rows])


def _values(network: PoseNetwork, part: InferredBatch, kept: Kept) -> dict[str, np.ndarray]:
    size_wh = network.input_spec.size_wh
    poses = part.poses
    values = {
        "xy_px": poses.xy_px,
        "raw_score": poses.raw_score,
        "xy_fraction": (part.output.xy_px.double().cpu().numpy() / np.array(size_wh)),
        "statistics": peak_statistics(part.output, size_wh).double().cpu().numpy(),
        "scale": crop_scale(part.affines),
        "boxes": poses.boxes_xywh,
    }
    if poses.sigma_px is not None:
        values["sigma_px"] = poses.sigma_px
    feature = part.output.feature.half()
    if kept == "whole" or feature.ndim == 2:
        return values | {"feature": feature.cpu().numpy()}
    parts = FeatureParts(feature.float())
    values["mean"] = parts.mean().cpu().numpy()
    if feature.shape[1] <= MOST_LOCAL_CHANNELS:
        xy_fraction = torch.from_numpy(values["xy_fraction"].astype(np.float32)).to(feature.device)
        values["at_keypoints"] = parts.at_keypoints(xy_fraction).half().cpu().numpy()
    if kept == "coarse":
        values["coarse"] = parts.coarse().half().cpu().numpy()
    return values


def _allocate(jobs: list[_Job], network: PoseNetwork, options: CacheOptions) -> None:
    """Make room for the caches, after saying how much they need.

    Raises:
        InputError: there is not enough.
    """
    if not jobs:
        return
    count = len(jobs[0].dataset)
    values = _first_values(network, jobs[0].dataset, options) | {"kept": np.zeros(1, dtype=bool)}
    per_person = sum(value.nbytes for value in values.values())
    size = per_person * count * len(jobs)
    directory = jobs[0].folder.parent
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    seen = f", seen in {len(jobs)} ways" if len(jobs) > 1 else ""
    say(
        f"caching features of {count} persons{seen}, in {directory}: "
        f"{per_person / 1e3:.1f} KB per person and view, {size / 1e6:.0f} MB"
    )
    try:
        if size > free:
            raise OSError("no space left")
        for job in jobs:
            job.folder.mkdir(parents=True, exist_ok=True)
            for name, value in values.items():
                shape, path = (count, *value.shape[1:]), job.folder / f"{name}.npy"
                np.lib.format.open_memmap(path, mode="w+", dtype=value.dtype, shape=shape).flush()
                # A file with holes would end the process by a signal where the disk fills up later.
                with open(path, "r+b") as file:
                    if hasattr(os, "posix_fallocate"):
                        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            write_json(job.progress_file, {"done": 0})
    except OSError as error:
        for job in jobs:
            shutil.rmtree(job.folder, ignore_errors=True)
        raise InputError(
            f"the features of {count} persons need {size / 1e6:.0f} MB and {directory} has {free / 1e6:.0f} MB "
            f"free ({error}): choose another directory for the cache"
        ) from None


def _open(folder: Path, dataset: KeypointDataset, views: AlteredViews | None, network_hash: str) -> CachedFeatures:
    about = read_json(folder / "cache.json")
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in about["arrays"]}
        kept = np.flatnonzero(arrays.pop("kept"))
        if any(len(array) != len(dataset) for array in arrays.values()):
            raise ValueError("its arrays are of another length")
        large = {name: arrays.pop(name, None) for name in ("feature", "mean", "at_keypoints", "coarse")}
        small = {name: np.array(array) for name, array in arrays.items()}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the feature cache {folder} is damaged ({error}): delete that directory") from None
    poses = Poses2D(dataset.skeleton, small["xy_px"], small["raw_score"], small["boxes"], small.get("sigma_px"))
    whole = CachedFeatures(
        dataset=dataset,
        poses=poses,
        xy_fraction=small["xy_fraction"],
        statistics=small["statistics"],
        scale=small["scale"],
        network_hash=network_hash,
        views=views,
        **large,
    )
    return whole if len(kept) == len(dataset) else whole.select(kept)
