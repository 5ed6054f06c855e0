"""All persons of a split cut out once into one array of bytes, so that training never opens an image again."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from pose2d.console.progress import say, track
from pose2d.crops import BOX_PADDING, apply_affine, box_to_crop, warp_crop
from pose2d.datasets.coco import KeypointDataset
from pose2d.files.images import read_image
from pose2d.files.storage import allocated_npy, atomic_path, sha256, write_json

MARGIN = 1.25
"""How much more of the image than the network's own crop is kept on each axis, for shifts, rotations and zooms."""


@dataclass(frozen=True)
class CropSet:
    """Crops of n persons with their keypoints.

    Attributes:
        images: RGB bytes; a memory-mapped array when it comes from a cache.
        xy_px: keypoints in crop pixels.
        affines: image pixels to crop pixels.
        dataset: the persons, row by row.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    xy_px: Float[np.ndarray, "n k 2"]
    affines: Float[np.ndarray, "n 2 3"]
    dataset: KeypointDataset

    def __len__(self) -> int:
        return len(self.images)


def cut_crops(
    dataset: KeypointDataset,
    size_wh: tuple[int, int],
    cache_directory: str | Path | None = None,
    workers: int = 2,
) -> CropSet:
    """Cut every person of `dataset` once.

    Args:
        dataset: annotated persons.
        size_wh: of the network's crop; the array's crops are `MARGIN` times as large and show `MARGIN` times as much.
        cache_directory: keep the array there and reuse it while annotations and size are the same; None keeps it in
            memory.
        workers: threads that decode images.

    Raises:
        InputError: an image cannot be read.
    """
    kept_wh = (round(size_wh[0] * MARGIN), round(size_wh[1] * MARGIN))
    affines = box_to_crop(dataset.boxes_xywh, kept_wh, BOX_PADDING * MARGIN, udp=True)
    images = warp_persons(dataset, affines, kept_wh, cache_directory, workers)
    return CropSet(images, apply_affine(affines, dataset.xy_px), affines, dataset)


def warp_persons(
    dataset: KeypointDataset,
    affines: Float[np.ndarray, "n 2 3"],
    size_wh: tuple[int, int],
    cache_directory: str | Path | None = None,
    workers: int = 2,
) -> UInt8[np.ndarray, "n h w 3"]:
    """The crop of every person under an affine map of its own; an image with several persons is opened once.

    Args:
        dataset: annotated persons.
        affines: image pixels to crop pixels.
        size_wh: of the crops.
        cache_directory: keep the array there, memory-mapped, and reuse it while annotation file, persons and maps are
            the same; None keeps it in memory.
        workers: threads that decode images.

    Raises:
        InputError: an image cannot be read.
    """
    shape = (len(dataset), size_wh[1], size_wh[0], 3)
    if cache_directory is None:
        images = np.empty(shape, dtype=np.uint8)
        _fill(images, dataset, affines, workers)
        return images
    key = {
        "annotations": sha256(dataset.annotation_file),
        "persons": hashlib.sha256(dataset.annotation_ids.tobytes()).hexdigest(),
        "affines": hashlib.sha256(np.ascontiguousarray(affines).tobytes()).hexdigest(),
        "shape": list(shape),
    }
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = Path(cache_directory) / f"crops-{name}.npy"
    if not path.is_file():
        say(f"cutting {shape[0]} crops into {path} ({int(np.prod(shape)) / 1e6:.0f} MB)")
        with atomic_path(path) as partial:
            images = allocated_npy(partial, shape, np.uint8)
            _fill(images, dataset, affines, workers)
            images.flush()
        write_json(path.with_suffix(".json"), key)
    kept: np.ndarray = np.load(path, mmap_mode="r")
    return kept


def _fill(images: np.ndarray, dataset: KeypointDataset, affines: np.ndarray, workers: int) -> None:
    size_wh = (images.shape[2], images.shape[1])
    by_image: dict[Path, list[int]] = {}
    for row, path in enumerate(dataset.image_paths):
        by_image.setdefault(path, []).append(row)

    def cut(item: tuple[Path, list[int]]) -> None:
        image = read_image(item[0])
        for row in item[1]:
            images[row] = warp_crop(image, affines[row], size_wh)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in track(pool.map(cut, by_image.items()), "cutting crops", len(by_image)):
                pass
        finally:  # whoever ends early does not wait for crops that nobody needs
            pool.shutdown(wait=False, cancel_futures=True)


def network_affine(kept_wh: tuple[int, int], size_wh: tuple[int, int]) -> Float[np.ndarray, "2 3"]:
    """The affine map from a kept crop to the network's crop of the same person (UDP convention, equal scales).

    A network crop of another aspect than the kept one loses or gains columns; the height decides the scale.
    """
    scale = (size_wh[1] - 1.0) * MARGIN / (kept_wh[1] - 1.0)
    center_from = (np.array(kept_wh) - 1.0) / 2
    center_to = (np.array(size_wh) - 1.0) / 2
    return np.concatenate([np.eye(2) * scale, (center_to - scale * center_from)[:, None]], axis=1)
