"""What a frozen pose network says of a data set, computed once and kept on disk: features, keypoints, raw scores.

Training a confidence branch needs the network's output for the same images over and over; the network is frozen, so one
pass serves all epochs and every experiment. A cache is bound to its network, persons and options by a key; until its
last row is written it is no cache, and a stopped pass goes on where it was.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from calibration.theory import falloff_px, oks
from calibration.views import Views
from pose2d.crops import crop_scale
from pose2d.datasets.coco import KeypointDataset
from pose2d.datasets.crop_set import read_image
from pose2d.errors import InputError
from pose2d.inference import InferredBatch, Skipped, infer_batches
from pose2d.networks.base import NetworkOutput, PoseNetwork
from pose2d.poses import Poses2D
from pose2d.storage import read_json, sha256, write_json

_WINDOW = 3
_FLUSH_BATCHES = 16
PEAK_STATISTICS = 3
"""Numbers that `peak_statistics` gives a keypoint."""


@dataclass(frozen=True)
class CachedFeatures:
    """A network's output for n persons, with the truth of their data set.

    Attributes:
        dataset: the persons, row by row.
        poses: keypoints in image pixels, raw scores, spreads, boxes.
        xy_fraction: keypoints as fractions of the crop's width and height.
        statistics: of each heatmap's peak, see `peak_statistics`; for regression networks the spread alone.
        scale: crop pixels per image pixel.
        feature: penultimate features as half floats, memory-mapped; a map or a vector a person.
        network_hash: of the network (`hash_network`).
        views: of the persons, where they were not seen as they are; `dataset` is theirs.
    """

    dataset: KeypointDataset
    poses: Poses2D
    xy_fraction: Float[np.ndarray, "n k 2"]
    statistics: Float[np.ndarray, "n k s"]
    scale: Float[np.ndarray, " n"]
    feature: Shaped[np.ndarray, "n ..."]
    network_hash: str
    views: Views | None = None

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def labelled(self) -> Bool[np.ndarray, "n k"]:
        """v_k of the OKS."""
        return self.dataset.labelled

    @property
    def label_known(self) -> Bool[np.ndarray, "n k"]:
        """Where `labelled` is what an annotator would have said."""
        return np.ones_like(self.labelled) if self.views is None else self.views.label_known

    @property
    def present(self) -> Bool[np.ndarray, "n k"]:
        """Which keypoints lie in the picture and the crop; tells only where `presence_known`."""
        return self.labelled if self.views is None else self.views.present

    @property
    def presence_known(self) -> Bool[np.ndarray, "n k"]:
        """Where `present` tells: an unlabelled keypoint may be hidden or out of the picture."""
        return self.labelled if self.views is None else self.views.presence_known

    def keypoint_oks(self) -> Float[np.ndarray, "n k"]:
        """OKS of every predicted keypoint (equation 6); 0 where unlabelled, where it means nothing."""
        distance = np.linalg.norm(self.poses.xy_px - self.dataset.xy_px, axis=-1)
        falloff = falloff_px(np.maximum(self.dataset.areas, 1.0)[:, None], self.dataset.skeleton.sigmas)
        return oks(distance, falloff) * self.labelled

    def instance_oks(self) -> Float[np.ndarray, " n"]:
        """OKS of every person over labelled keypoints (equation 7)."""
        count = np.maximum(self.labelled.sum(axis=1), 1)
        return self.keypoint_oks().sum(axis=1) / count

    def select(self, rows: Int[np.ndarray, " m"]) -> CachedFeatures:
        """The persons in `rows` (features of neighbouring rows stay memory-mapped)."""
        contiguous = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        feature = self.feature[rows[0] : rows[-1] + 1] if contiguous else self.feature[rows]
        sigma = self.poses.sigma_px
        return replace(
            self,
            dataset=self.dataset.select(rows),
            poses=Poses2D(
                self.poses.skeleton,
                self.poses.xy_px[rows],
                self.poses.raw_score[rows],
                self.poses.boxes_xywh[rows],
                None if sigma is None else sigma[rows],
            ),
            xy_fraction=self.xy_fraction[rows],
            statistics=self.statistics[rows],
            scale=self.scale[rows],
            feature=feature,
            views=None if self.views is None else self.views.select(rows),
        )


def hash_network(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and statistics by name: who computed a feature."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()


def peak_statistics(output: NetworkOutput, size_wh: tuple[int, int]) -> Float[Tensor, "b k s"]:
    """How sharp and how lonely each keypoint's peak is: numbers that the maximum alone does not tell.

    From heatmaps: the standard deviation per axis of the map's positive part within 3 cells of the maximum, in cells;
    the largest value farther away, over the maximum; the logarithm of the mass of the positive part. From a
    regression network's spread: that, as a percentage of the crop's height, and zeros.

    Args:
        output: of the network.
        size_wh: of the crop in pixels.
    """
    maps = output.heatmaps
    if maps is None:
        spread = torch.zeros_like(output.raw_score) if output.sigma_px is None else output.sigma_px
        zero = torch.zeros_like(spread)
        return torch.stack([100.0 * spread / size_wh[1], zero, zero], dim=-1)
    positive = maps.float().clamp_min(0.0)
    height, width = maps.shape[2:]
    best, place = positive.flatten(2).max(dim=2)
    rows = torch.arange(height, device=maps.device, dtype=torch.float32)
    columns = torch.arange(width, device=maps.device, dtype=torch.float32)
    dy = rows - torch.div(place, width, rounding_mode="floor")[..., None]
    dx = columns - (place % width)[..., None]
    near = (dy.abs() <= _WINDOW).float()[..., :, None] * (dx.abs() <= _WINDOW).float()[..., None, :]
    local = positive * near
    mass = local.sum((2, 3)).clamp_min(1e-6)
    mean_x, mean_y = (local.sum(2) * dx).sum(-1) / mass, (local.sum(3) * dy).sum(-1) / mass
    square = (local.sum(2) * dx**2).sum(-1) / mass + (local.sum(3) * dy**2).sum(-1) / mass - mean_x**2 - mean_y**2
    second = (positive * (1.0 - near)).flatten(2).amax(dim=2) / best.clamp_min(1e-6)
    total = positive.sum((2, 3))
    return torch.stack([(0.5 * square.clamp_min(0.0)).sqrt(), second, torch.log(total + 1e-3)], dim=-1)


def cache_features(
    network: PoseNetwork,
    dataset: KeypointDataset,
    directory: str | Path,
    flip: bool = True,
    batch: int = 32,
    views: Views | None = None,
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

    Raises:
        InputError: there is no room on the disk, or an existing cache is damaged.
    """
    assert isinstance(network, nn.Module)
    network_hash = hash_network(network)
    dataset = dataset if views is None else views.dataset
    key = {
        "network": network_hash,
        "annotations": sha256(dataset.annotation_file),
        "persons": hashlib.sha256(dataset.annotation_ids.tobytes()).hexdigest(),
        "boxes": hashlib.sha256(np.round(dataset.boxes_xywh, 3).tobytes()).hexdigest(),
        "flip": flip,
        "decoding": str(getattr(network, "decoding", "")),
    }
    if hasattr(network, "score"):  # of IPR and Poseur: which of its scores the family gives
        key["score"] = network.score
    if views is not None:
        key["view"] = views.digest
    name = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:16]
    folder = Path(directory) / f"features-{name}"
    if not (folder / "cache.json").is_file():
        _fill(network, dataset, views, folder, key, flip, batch)
    return _open(folder, dataset, views, network_hash)


def _fill(
    network: PoseNetwork,
    dataset: KeypointDataset,
    views: Views | None,
    folder: Path,
    key: dict[str, Any],
    flip: bool,
    batch: int,
) -> None:
    progress_file = folder / "progress.json"
    done = 0
    arrays: dict[str, np.ndarray] = {}
    if progress_file.is_file():
        progress = read_json(progress_file)
        done = int(progress["done"])
        arrays = {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+") for name in progress["arrays"]}
        print(f"going on with {folder} at person {done} of {len(dataset)}", flush=True)
    skipped: list[Skipped] = []
    rest = np.arange(done, len(dataset))
    for part in _batches(network, dataset.select(rest), views and views.select(rest), flip, batch, skipped):
        values = _values(network, part)
        if not arrays:
            arrays = _allocate(folder, values, len(dataset))
        rows = rest[part.rows]
        for name, value in values.items():
            arrays[name][rows] = value
        arrays["kept"][rows] = True
        if int(rows[-1]) + 1 - done >= _FLUSH_BATCHES * batch:
            done = int(rows[-1]) + 1
            for array in arrays.values():
                array.flush()  # type: ignore[attr-defined]
            write_json(progress_file, {"done": done, "arrays": sorted(arrays)})
    if not arrays:
        reason = skipped[0].reason if skipped else "it is empty"
        raise InputError(f"no person of {dataset.annotation_file} could be run through the network: {reason}")
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    write_json(folder / "cache.json", {"key": key, "arrays": sorted(arrays), "persons": len(dataset)})
    progress_file.unlink(missing_ok=True)


def _batches(
    network: PoseNetwork, dataset: KeypointDataset, views: Views | None, flip: bool, batch: int, skipped: list[Skipped]
) -> Iterator[InferredBatch]:
    if views is None:
        yield from infer_batches(
            network, dataset.image_paths, dataset.boxes_xywh, dataset.skeleton, flip, batch, skipped
        )
        return
    for rows in np.split(np.arange(len(dataset)), range(batch, len(dataset), batch)):
        pictures, kept = [], []
        for row in rows:
            try:
                pictures.append(views.picture(int(row), read_image(dataset.image_paths[row])))
                kept.append(row)
            except InputError as error:
                skipped.append(Skipped(int(row), str(error)))
        missed: list[Skipped] = []
        boxes = dataset.boxes_xywh[kept]
        for part in infer_batches(network, pictures, boxes, dataset.skeleton, flip, batch, missed):
            yield replace(part, rows=np.array(kept)[part.rows])
        skipped += [Skipped(int(kept[one.row]), one.reason) for one in missed]


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


def _allocate(folder: Path, values: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    size = sum(value.nbytes // len(value) for value in values.values()) * count
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    print(f"caching features of {count} persons in {folder}: {size / 1e6:.0f} MB", flush=True)
    if size > free:
        raise InputError(
            f"the features of {count} persons need {size / 1e6:.0f} MB and {folder} has {free / 1e6:.0f} MB free: "
            "choose another directory for the cache"
        )
    arrays: dict[str, np.ndarray] = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=value.dtype, shape=(count, *value.shape[1:])
        )
        for name, value in values.items()
    }
    arrays["kept"] = np.lib.format.open_memmap(folder / "kept.npy", mode="w+", dtype=bool, shape=(count,))
    return arrays


def _open(folder: Path, dataset: KeypointDataset, views: Views | None, network_hash: str) -> CachedFeatures:
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
