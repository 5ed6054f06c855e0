"""Top-down inference: a network, images and person boxes in; keypoints in image pixels out.

Images are opened once each, ahead of the network, by threads that hand on nothing but crops, so the memory in use does
not grow with the images' size or number. A person that cannot be cropped is skipped with its reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import nn

from pose2d.crops import apply_affine, box_to_crop, crop_scale, invert_affine, warp_crop
from pose2d.datasets.crop_set import read_image
from pose2d.errors import InputError
from pose2d.networks.base import InputSpec, NetworkOutput, PoseNetwork, predict
from pose2d.poses import Poses2D
from pose2d.progress import track
from pose2d.skeletons import Skeleton

ImageSource = Path | UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Skipped:
    """A person that got no keypoints.

    Attributes:
        row: of the person among those asked for.
        reason: one sentence.
    """

    row: int
    reason: str


@dataclass(frozen=True)
class InferredBatch:
    """What the network said of some persons.

    Attributes:
        rows: of the persons among those asked for.
        output: in crop pixels, with features and heatmaps.
        affines: image pixels to crop pixels.
        poses: the same keypoints in image pixels.
    """

    rows: Int[np.ndarray, " b"]
    output: NetworkOutput
    affines: Float[np.ndarray, "b 2 3"]
    poses: Poses2D


@dataclass(frozen=True)
class Inference:
    """Keypoints of the persons that could be cropped.

    Attributes:
        poses: in image pixels, in the order of `rows`.
        rows: of the persons among those asked for, rising.
        skipped: the other persons.
    """

    poses: Poses2D
    rows: Int[np.ndarray, " m"]
    skipped: tuple[Skipped, ...]


def infer(
    network: PoseNetwork,
    images: Sequence[ImageSource],
    boxes_xywh: Float[np.ndarray, "n 4"],
    skeleton: Skeleton,
    flip: bool = True,
    batch: int = 32,
) -> Inference:
    """Keypoints of n persons.

    Args:
        network: in evaluation mode; on the CPU or a GPU.
        images: one a person, RGB arrays or files; a file that several persons share is opened once when they are
            neighbours.
        boxes_xywh: one a person, image pixels.
        skeleton: that the network's keypoints have.
        flip: average with the mirrored image's prediction.
        batch: persons a step.

    Raises:
        InputError: not one person could be cropped.
    """
    skipped: list[Skipped] = []
    batches = list(infer_batches(network, images, boxes_xywh, skeleton, flip, batch, skipped, keep_maps=False))
    if not batches:
        reason = skipped[0].reason if skipped else "no person was given"
        raise InputError(f"2D keypoints were found for none of {len(boxes_xywh)} persons; the first reason: {reason}")
    parts = [part.poses for part in batches]
    rows = np.concatenate([part.rows for part in batches])
    order = np.argsort(rows, kind="stable")
    sigma = None if parts[0].sigma_px is None else np.concatenate([p.sigma_px for p in parts if p.sigma_px is not None])
    poses = Poses2D(
        skeleton=skeleton,
        xy_px=np.concatenate([p.xy_px for p in parts])[order],
        raw_score=np.concatenate([p.raw_score for p in parts])[order],
        boxes_xywh=np.concatenate([p.boxes_xywh for p in parts])[order],
        sigma_px=None if sigma is None else sigma[order],
    )
    return Inference(poses, rows[order], tuple(sorted(skipped, key=lambda one: one.row)))


def infer_batches(
    network: PoseNetwork,
    images: Sequence[ImageSource],
    boxes_xywh: Float[np.ndarray, "n 4"],
    skeleton: Skeleton,
    flip: bool = True,
    batch: int = 32,
    skipped: list[Skipped] | None = None,
    keep_maps: bool = True,
    workers: int = 2,
) -> Iterator[InferredBatch]:
    """The same as `infer`, batch by batch, with the network's features for whoever reads them.

    Args:
        network, images, boxes_xywh, skeleton, flip, batch: see `infer`.
        skipped: persons without keypoints are added here.
        keep_maps: hand on features and heatmaps; without, the batches are small enough to keep all.
        workers: threads that open and crop images.

    Raises:
        InputError: the numbers of images, boxes or keypoints do not fit.
    """
    if len(images) != len(boxes_xywh):
        raise InputError(f"{len(images)} images came with {len(boxes_xywh)} boxes: each person needs one of both")
    if network.num_keypoints != len(skeleton):
        raise InputError(
            f"the network has {network.num_keypoints} keypoints and skeleton {skeleton.name} has {len(skeleton)}"
        )
    skipped = [] if skipped is None else skipped
    pairs = skeleton.flip_pairs if flip else None
    device = next(iter(network.parameters())).device if isinstance(network, nn.Module) else torch.device("cpu")
    spec = network.input_spec
    waiting: list[_Crop] = []
    for crop in _crops(images, np.asarray(boxes_xywh, dtype=np.float64), spec, skipped, workers, 2 * batch):
        waiting.append(crop)
        if len(waiting) == batch:
            yield _run(network, waiting, skeleton, pairs, device, keep_maps)
            waiting = []
    if waiting:
        yield _run(network, waiting, skeleton, pairs, device, keep_maps)


@dataclass(frozen=True)
class _Crop:
    row: int
    image: np.ndarray
    affine: np.ndarray
    box: np.ndarray


def _run(
    network: PoseNetwork,
    crops: list[_Crop],
    skeleton: Skeleton,
    pairs: tuple[tuple[int, int], ...] | None,
    device: torch.device,
    keep_maps: bool,
) -> InferredBatch:
    pixels = torch.from_numpy(np.stack([crop.image for crop in crops])).to(device)
    output = predict(network, network.input_spec.normalise(pixels), pairs)
    affines = np.stack([crop.affine for crop in crops])
    xy = apply_affine(invert_affine(affines), output.xy_px.double().cpu().numpy())
    sigma = None
    if output.sigma_px is not None:
        sigma = output.sigma_px.double().cpu().numpy() / crop_scale(affines)[:, None]
    poses = Poses2D(
        skeleton, xy, output.raw_score.double().cpu().numpy(), np.stack([crop.box for crop in crops]), sigma
    )
    if not keep_maps:
        empty = output.feature[:, :, :0, :0] if output.feature.ndim == 4 else output.feature[:, :0]
        output = NetworkOutput(output.xy_px, output.raw_score, output.sigma_px, empty.clone(), None)
    return InferredBatch(np.array([crop.row for crop in crops], dtype=np.int64), output, affines, poses)


def _crops(
    images: Sequence[ImageSource],
    boxes: np.ndarray,
    spec: InputSpec,
    skipped: list[Skipped],
    workers: int,
    ahead: int,
) -> Iterator[_Crop]:
    """Crops in order; at most `ahead` images are opened before their turn."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[list[_Crop | Skipped]]] = deque()
        for source, rows in track(_groups(images), "2D keypoints", None):
            pending.append(pool.submit(_open_and_crop, source, rows, boxes, spec))
            if len(pending) >= ahead:
                yield from _good(pending.popleft().result(), skipped)
        while pending:
            yield from _good(pending.popleft().result(), skipped)


def _good(results: list[_Crop | Skipped], skipped: list[Skipped]) -> Iterator[_Crop]:
    for result in results:
        if isinstance(result, Skipped):
            skipped.append(result)
        else:
            yield result


def _groups(images: Sequence[ImageSource]) -> Iterator[tuple[ImageSource, list[int]]]:
    """Neighbouring rows of one file together."""
    rows: list[int] = []
    for row, source in enumerate(images):
        first = images[rows[0]] if rows else None
        if first is not None and not (isinstance(source, Path) and isinstance(first, Path) and source == first):
            yield first, rows
            rows = []
        rows.append(row)
    if rows:
        yield images[rows[0]], rows


def _open_and_crop(source: ImageSource, rows: list[int], boxes: np.ndarray, spec: InputSpec) -> list[_Crop | Skipped]:
    try:
        image = read_image(source) if isinstance(source, Path) else source
    except InputError as error:
        return [Skipped(row, str(error)) for row in rows]
    results: list[_Crop | Skipped] = []
    for row in rows:
        fault = _fault(boxes[row], image.shape[1], image.shape[0])
        if fault:
            results.append(Skipped(row, f"box {boxes[row].tolist()} {fault}"))
            continue
        affine = box_to_crop(boxes[row : row + 1], spec.size_wh, spec.padding, spec.udp)[0]
        results.append(_Crop(row, warp_crop(image, affine, spec.size_wh), affine, boxes[row]))
    return results


def _fault(box: np.ndarray, width: int, height: int) -> str | None:
    if not np.isfinite(box).all():
        return "is not finite"
    if not (box[2:] > 0).all():
        return "has no area"
    if box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
        return f"lies outside its image of {width} x {height} pixels"
    return None
