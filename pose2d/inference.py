"""Top-down inference: a network, images and person boxes in; keypoints in image pixels out.

Images are opened once each, ahead of the network, by threads that hand on nothing but crops, so the memory in use does
not grow with the images' size or number. A person that cannot be cropped is skipped with its reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from pose2d.console.progress import meter
from pose2d.crops import apply_affine, box_to_crop, crop_scale, invert_affine, warp_crop
from pose2d.errors import InputError
from pose2d.files.images import ImageFile, read_image
from pose2d.networks.base import InputSpec, NetworkOutput, PoseNetwork, predict
from pose2d.poses import Poses2D
from pose2d.skeletons import Skeleton

ImageSource = ImageFile | Path | UInt8[np.ndarray, "h w 3"]
SecondView = Callable[[UInt8[np.ndarray, "h w 3"], int], np.ndarray]
"""Cuts what another network needs of a person, by row, out of the opened image."""


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
class CropBatch:
    """Persons cut out of their images, ready for the network.

    Attributes:
        rows: of the persons among those asked for.
        pixels: RGB crops of the network's input size.
        affines: image pixels to crop pixels.
        boxes_xywh: image pixels.
        second: what a `SecondView` has cut, stacked; None without one.
    """

    rows: Int[np.ndarray, " b"]
    pixels: UInt8[np.ndarray, "b crop_h crop_w 3"]
    affines: Float[np.ndarray, "b 2 3"]
    boxes_xywh: Float[np.ndarray, "b 4"]
    second: np.ndarray | None = None


@dataclass(frozen=True)
class InferredBatch:
    """The network's prediction for some persons.

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
        images: one per person, RGB arrays or files; a file that several persons share is opened once when they are
            neighbours.
        boxes_xywh: one per person, image pixels.
        skeleton: that the network's keypoints have.
        flip: average with the mirrored image's prediction.
        batch: persons per step.

    Raises:
        InputError: not one person could be cropped.
    """
    found = list(infer_batches(network, images, boxes_xywh, skeleton, flip, batch, keep_maps=False))
    batches = [part for part in found if isinstance(part, InferredBatch)]
    skipped = [part for part in found if isinstance(part, Skipped)]
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
    keep_maps: bool = True,
) -> Iterator[InferredBatch | Skipped]:
    """The same as `infer`, batch by batch, with the network's features for whoever reads them.

    Without `keep_maps`, features and heatmaps are not handed on, and the batches are small enough to keep all.

    Yields:
        Batches of persons in order, and each person without keypoints as soon as it is known.

    Raises:
        InputError: the numbers of images, boxes or keypoints do not fit.
    """
    for part in crop_batches(network, images, boxes_xywh, skeleton, batch):
        yield part if isinstance(part, Skipped) else infer_crops(network, part, skeleton, flip, keep_maps)


def crop_batches(
    network: PoseNetwork,
    images: Sequence[ImageSource],
    boxes_xywh: Float[np.ndarray, "n 4"],
    skeleton: Skeleton,
    batch: int = 32,
    workers: int = 2,
    second_view: SecondView | None = None,
) -> Iterator[CropBatch | Skipped]:
    """What `infer_batches` does before the network: images opened once each, persons cut out, in order.

    Args:
        network: whose input the crops are.
        images: one per person, see `infer`.
        boxes_xywh: one per person, image pixels.
        skeleton: that the network's keypoints have.
        batch: persons per step.
        workers: threads that open and crop images; 0 for the caller's own.
        second_view: also cuts every person for another network, while the image is open. It may raise an InputError:
            that person is skipped with its sentence.

    Yields:
        Batches of persons in order, and each person that cannot be cropped as soon as it is known.

    Raises:
        InputError: the numbers of images, boxes or keypoints do not fit.
    """
    if len(images) != len(boxes_xywh):
        raise InputError(f"{len(images)} images came with {len(boxes_xywh)} boxes: each person needs one of both")
    if network.num_keypoints != len(skeleton):
        raise InputError(
            f"the network has {network.num_keypoints} keypoints and skeleton {skeleton.name} has {len(skeleton)}"
        )
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    cutter = _Cutter(boxes, network.input_spec, second_view)
    waiting: list[_Crop] = []
    for crop in _crops(images, cutter, workers, 2 * batch):
        if isinstance(crop, Skipped):
            yield crop
            continue
        waiting.append(crop)
        if len(waiting) == batch:
            yield _stacked(waiting)
            waiting = []
    if waiting:
        yield _stacked(waiting)


def infer_crops(
    network: PoseNetwork, crops: CropBatch, skeleton: Skeleton, flip: bool = True, keep_maps: bool = True
) -> InferredBatch:
    """The network's prediction for persons that are cut out already; arguments as of `infer_batches`."""
    pixels = torch.from_numpy(crops.pixels).to(network.device)
    box_wh_px = torch.from_numpy(crops.boxes_xywh[:, 2:]).float()
    output = predict(network, network.input_spec.normalise(pixels), skeleton.flip_pairs if flip else None, box_wh_px)
    xy = apply_affine(invert_affine(crops.affines), output.xy_px.double().cpu().numpy())
    sigma = None
    if output.sigma_px is not None:
        sigma = output.sigma_px.double().cpu().numpy() / crop_scale(crops.affines)[:, None]
    poses = Poses2D(skeleton, xy, output.raw_score.double().cpu().numpy(), crops.boxes_xywh, sigma)
    if not keep_maps:
        empty = output.feature[:, :, :0, :0] if output.feature.ndim == 4 else output.feature[:, :0]
        output = NetworkOutput(output.xy_px, output.raw_score, output.sigma_px, empty.clone(), None)
    return InferredBatch(crops.rows, output, crops.affines, poses)


@dataclass(frozen=True)
class _Crop:
    row: int
    image: np.ndarray
    affine: np.ndarray
    box: np.ndarray
    second: np.ndarray | None


def _stacked(crops: list[_Crop]) -> CropBatch:
    second = [crop.second for crop in crops if crop.second is not None]
    return CropBatch(
        np.array([crop.row for crop in crops], dtype=np.int64),
        np.stack([crop.image for crop in crops]),
        np.stack([crop.affine for crop in crops]),
        np.stack([crop.box for crop in crops]),
        np.stack(second) if second else None,
    )


def _crops(images: Sequence[ImageSource], cutter: _Cutter, workers: int, ahead: int) -> Iterator[_Crop | Skipped]:
    """Crops in order; at most `ahead` images are opened before their turn, none by 0 workers."""
    if workers == 0:
        for source, rows in _groups(images):
            yield from cutter.open_and_cut(source, rows)
        return
    with ThreadPoolExecutor(workers) as pool, meter("2D keypoints", len(images)) as shown:
        pending: deque[Future[list[_Crop | Skipped]]] = deque()

        def oldest() -> Iterator[_Crop | Skipped]:
            results = pending.popleft().result()
            yield from results
            shown.advance(len(results))

        try:
            for source, rows in _groups(images):
                pending.append(pool.submit(cutter.open_and_cut, source, rows))
                if len(pending) >= ahead:
                    yield from oldest()
            while pending:
                yield from oldest()
        finally:  # whoever ends early does not wait for images that nobody needs
            pool.shutdown(wait=False, cancel_futures=True)


def _groups(images: Sequence[ImageSource]) -> Iterator[tuple[ImageSource, list[int]]]:
    """Neighbouring rows of one file together."""
    rows: list[int] = []
    for row, source in enumerate(images):
        first = images[rows[0]] if rows else None
        if first is not None and (isinstance(source, np.ndarray) or isinstance(first, np.ndarray) or source != first):
            yield first, rows
            rows = []
        rows.append(row)
    if rows:
        yield images[rows[0]], rows


@dataclass(frozen=True)
class _Cutter:
    boxes: np.ndarray
    spec: InputSpec
    second_view: SecondView | None

    def open_and_cut(self, source: ImageSource, rows: list[int]) -> list[_Crop | Skipped]:
        """The crops of all persons of an image; a fault, where there is one, in a person's place."""
        try:
            if isinstance(source, ImageFile):
                image = source.read()
            else:
                image = read_image(source) if isinstance(source, Path) else source
        except InputError as error:
            return [Skipped(row, str(error)) for row in rows]
        return [self._cut(image, row) for row in rows]

    def _cut(self, image: np.ndarray, row: int) -> _Crop | Skipped:
        fault = _fault(self.boxes[row], image.shape[1], image.shape[0])
        if fault:
            return Skipped(row, f"box {self.boxes[row].tolist()} {fault}")
        spec = self.spec
        affine = box_to_crop(self.boxes[row : row + 1], spec.size_wh, spec.padding, spec.udp)[0]
        try:
            second = None if self.second_view is None else self.second_view(image, row)
        except InputError as error:
            return Skipped(row, str(error))
        return _Crop(row, warp_crop(image, affine, spec.size_wh), affine, self.boxes[row], second)


def _fault(box: np.ndarray, width: int, height: int) -> str | None:
    if not np.isfinite(box).all():
        return "is not finite"
    if not (box[2:] > 0).all():
        return "has no area"
    if box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
        return f"lies outside its image of {width} x {height} pixels"
    return None
