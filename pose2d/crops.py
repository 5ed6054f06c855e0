"""From a person's box to the network's input and back.

Every crop is described by one affine matrix that maps image pixels to crop pixels; the centre of pixel (0, 0) lies at
(0.0, 0.0) in both frames. Two conventions are in use among released checkpoints:

* plain: scale ``W / w`` about the box centre, which lands on ``(W / 2, H / 2)``
  (``get_affine_transform`` of microsoft/human-pose-estimation.pytorch and leoxiaobin/deep-high-resolution-net.pytorch);
* UDP ("unbiased data processing", Huang et al. 2020): scale ``(W - 1) / w``, the box's top left corner lands on
  ``(0, 0)`` (``get_warp_matrix`` of mmpose and ViTPose).
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from pose2d.errors import InputError

BOX_PADDING = 1.25
"""By how much every official code base enlarges a box before it crops."""


def clip_boxes(boxes_xywh: Shaped[np.ndarray, "n 4"], image_size_wh: tuple[int, int]) -> Float[np.ndarray, "n 4"]:
    """Boxes clipped to the image as the official COCO readers clip annotations (and not detections).

    The far corner is ``min(W - 1, x + max(0, w - 1))``, so a box loses one pixel of width and height.

    Args:
        boxes_xywh: left, top, width, height in image pixels.
        image_size_wh: the image's width and height.
    """
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    near = np.maximum(boxes[:, :2], 0.0)
    far = np.minimum(np.asarray(image_size_wh) - 1.0, near + np.maximum(boxes[:, 2:] - 1.0, 0.0))
    return np.concatenate([near, far - near], axis=1)


def padded_boxes(
    boxes_xywh: Shaped[np.ndarray, "n 4"], size_wh: tuple[int, int], padding: float = BOX_PADDING
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Centre and extent of the region that a crop shows: the box grown to the crop's aspect, then padded.

    Args:
        boxes_xywh: left, top, width, height in image pixels; every box finite and with a positive area.
        size_wh: the crop's width and height in pixels.
        padding: factor on both sides.

    Returns:
        Centres and (width, height), both in image pixels.

    Raises:
        InputError: a box is not finite or has no area.
    """
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    bad = ~np.isfinite(boxes).all(axis=1) | ~(boxes[:, 2:] > 0).all(axis=1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"box {first} of {len(boxes)} is {boxes[first].tolist()}; a box is x, y, width, height in pixels, "
            "finite and with a positive area: remove or correct it"
        )
    centers = boxes[:, :2] + 0.5 * boxes[:, 2:]
    aspect = size_wh[0] / size_wh[1]
    width = np.maximum(boxes[:, 2], boxes[:, 3] * aspect)
    extents = np.stack([width, width / aspect], axis=1) * padding
    return centers, extents


def box_to_crop(
    boxes_xywh: Shaped[np.ndarray, "n 4"],
    size_wh: tuple[int, int],
    padding: float = BOX_PADDING,
    udp: bool = False,
) -> Float[np.ndarray, "n 2 3"]:
    """Affine matrices that map image pixels to the pixels of each box's crop.

    Args:
        boxes_xywh: left, top, width, height in image pixels.
        size_wh: the crop's width and height in pixels.
        padding: factor by which the box is enlarged.
        udp: use the UDP convention instead of the plain one (see the module's text).

    Raises:
        InputError: a box is not finite or has no area.
    """
    centers, extents = padded_boxes(boxes_xywh, size_wh, padding)
    size = np.asarray(size_wh, dtype=np.float64)
    affines = np.zeros((len(centers), 2, 3))
    if udp:
        scales = (size - 1.0) / extents
        offsets = scales * (0.5 * extents - centers)
    else:
        # The official code takes the scale from the width alone, for both axes.
        scales = np.repeat(size[:1] / extents[:, :1], 2, axis=1)
        offsets = 0.5 * size - scales * centers
    affines[:, 0, 0], affines[:, 1, 1] = scales[:, 0], scales[:, 1]
    affines[:, :, 2] = offsets
    return affines


def square_crop_affine(
    centers: Shaped[np.ndarray, "n 2"], side: Shaped[np.ndarray, " n"], size: int
) -> Float[np.ndarray, "n 2 3"]:
    """Affine matrices of square crops, as SPIN-like regressors take them.

    Args:
        centers: crop centres in image pixels; they land on ``(size / 2, size / 2)``.
        side: sides of the squares in image pixels.
        size: side of the crop in pixels.
    """
    centers = np.asarray(centers, dtype=np.float64)
    scales = size / np.asarray(side, dtype=np.float64)
    affines = np.zeros((len(centers), 2, 3))
    affines[:, 0, 0] = affines[:, 1, 1] = scales
    affines[:, :, 2] = 0.5 * size - scales[:, None] * centers
    return affines


def warp_crop(
    image: UInt8[np.ndarray, "h w 3"], affine: Shaped[np.ndarray, "2 3"], size_wh: tuple[int, int]
) -> UInt8[np.ndarray, "crop_h crop_w 3"]:
    """The crop that ``affine`` describes, bilinear, black beyond the image's border (as all official code warps)."""
    return cv2.warpAffine(image, np.asarray(affine, dtype=np.float64), size_wh, flags=cv2.INTER_LINEAR)


def apply_affine(affine: Shaped[np.ndarray, "*n 2 3"], xy: Shaped[np.ndarray, "*n k 2"]) -> Float[np.ndarray, "*n k 2"]:
    """Points ``xy`` mapped by ``affine``, batched over the leading axes."""
    affine = np.asarray(affine, dtype=np.float64)
    mapped: np.ndarray = np.asarray(xy, dtype=np.float64) @ np.swapaxes(affine[..., :2], -1, -2)
    mapped += affine[..., None, :, 2]
    return mapped


def invert_affine(affine: Shaped[np.ndarray, "*n 2 3"]) -> Float[np.ndarray, "*n 2 3"]:
    """The affine matrices that undo ``affine`` (crop pixels to image pixels), batched over the leading axes."""
    affine = np.asarray(affine, dtype=np.float64)
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], axis=-1)


def crop_scale(affine: Shaped[np.ndarray, "*n 2 3"]) -> Float[np.ndarray, "*n"]:
    """Crop pixels per image pixel (geometric mean of both axes): divide crop lengths by it to get image pixels."""
    scale: np.ndarray = np.sqrt(np.abs(np.linalg.det(np.asarray(affine, dtype=np.float64)[..., :2])))
    return scale
