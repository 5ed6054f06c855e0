"""From heatmaps to coordinates, as the official code bases decode them, batched.

Coordinates are heatmap cells until :func:`heatmap_to_crop` turns them into crop pixels. A map without a positive value
decodes to (0, 0), unrefined (Xiao et al. and HRNet; mmpose says (-1, -1)). Scores are the maxima before any blur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Decoded = tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k"]]


def _cells(heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Column and row of each map's maximum (zero where the map has no positive value), and the maximum."""
    score, index = heatmaps.flatten(2).max(dim=2)
    index = torch.where(score > 0, index, 0)
    width = heatmaps.shape[3]
    return index % width, torch.div(index, width, rounding_mode="floor"), score


def _window(
    maps: Float[Tensor, "b k h w"], column: Int[Tensor, "b k"], row: Int[Tensor, "b k"], radius: int
) -> Float[Tensor, "b k rows cols"]:
    """The square of each map around a cell; beyond the border the edge repeats."""
    height, width = maps.shape[2:]
    steps = torch.arange(-radius, radius + 1, device=maps.device)
    rows = (row[..., None] + steps).clamp(0, height - 1)
    columns = (column[..., None] + steps).clamp(0, width - 1)
    flat = (rows[..., :, None] * width + columns[..., None, :]).flatten(2)
    window: Tensor = maps.flatten(2).gather(2, flat).unflatten(2, (len(steps), len(steps)))
    return window


def decode_argmax(heatmaps: Float[Tensor, "b k h w"]) -> Decoded:
    """The cell with the largest value, and that value (equation 1)."""
    column, row, score = _cells(heatmaps)
    return torch.stack([column, row], dim=-1).to(heatmaps.dtype), score


def decode_quarter_offset(heatmaps: Float[Tensor, "b k h w"]) -> Decoded:
    """The largest cell, moved a quarter of a cell towards its larger neighbour on each axis (Xiao et al. 2018).

    Cells on the map's rim stay: the move is made where 1 < column < w - 1 and 1 < row < h - 1, as officially.
    """
    column, row, score = _cells(heatmaps)
    height, width = heatmaps.shape[2:]
    near = _window(heatmaps, column, row, 1)
    difference = torch.stack([near[..., 1, 2] - near[..., 1, 0], near[..., 2, 1] - near[..., 0, 1]], dim=-1)
    inside = (column > 1) & (column < width - 1) & (row > 1) & (row < height - 1)
    xy = torch.stack([column, row], dim=-1).to(heatmaps.dtype)
    return xy + 0.25 * torch.sign(difference) * inside[..., None], score


def automatic_sigma(kernel: int) -> float:
    """The standard deviation that OpenCV gives a Gaussian kernel of ``kernel`` cells (11 -> 2.0, 17 -> 2.9)."""
    return 0.3 * ((kernel - 1) * 0.5 - 1.0) + 0.8


@cache
def _gaussian(kernel: int) -> tuple[float, ...]:
    offsets = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    weights = torch.exp(-(offsets**2) / (2.0 * automatic_sigma(kernel) ** 2))
    return tuple((weights / weights.sum()).tolist())


def _blur(heatmaps: Tensor, kernel: int, border: str) -> Tensor:
    half = kernel // 2
    keypoints = int(heatmaps.shape[1])
    weights = torch.tensor(_gaussian(kernel), dtype=heatmaps.dtype, device=heatmaps.device)
    maps = functional.pad(heatmaps, (half, half, half, half), mode=border)
    maps = functional.conv2d(maps, weights.view(1, 1, 1, -1).expand(keypoints, 1, 1, kernel), groups=keypoints)
    return functional.conv2d(maps, weights.view(1, 1, -1, 1).expand(keypoints, 1, kernel, 1), groups=keypoints)


def decode_dark(heatmaps: Float[Tensor, "b k h w"], kernel: int = 11) -> Decoded:
    """Distribution-aware decoding (DARK, Zhang et al. 2020): blur, rescale, log, one Newton step from the maximum.

    Args:
        heatmaps: the network's maps.
        kernel: cells of the Gaussian blur; 11 for targets of sigma 2, 17 for sigma 3.
    """
    column, row, score = _cells(heatmaps)
    height, width = heatmaps.shape[2:]
    blurred = _blur(heatmaps, kernel, "constant")
    # The factor that restores each map's maximum only shifts the logarithm, unless a value meets the floor.
    blurred = blurred * (heatmaps.amax((2, 3), keepdim=True) / blurred.amax((2, 3), keepdim=True))
    near = _window(torch.log(blurred.clamp_min(1e-10)), column, row, 2)
    gradient_x = 0.5 * (near[..., 2, 3] - near[..., 2, 1])
    gradient_y = 0.5 * (near[..., 3, 2] - near[..., 1, 2])
    xx = 0.25 * (near[..., 2, 4] - 2.0 * near[..., 2, 2] + near[..., 2, 0])
    yy = 0.25 * (near[..., 4, 2] - 2.0 * near[..., 2, 2] + near[..., 0, 2])
    xy_ = 0.25 * (near[..., 3, 3] - near[..., 1, 3] - near[..., 3, 1] + near[..., 1, 1])
    inside = (column > 1) & (column < width - 2) & (row > 1) & (row < height - 2) & (score > 0)
    step = _newton_step(gradient_x, gradient_y, xx, xy_, yy, 0.0)
    xy = torch.stack([column, row], dim=-1).to(heatmaps.dtype)
    return xy + torch.where(inside[..., None], step, 0.0), score


def decode_dark_udp(heatmaps: Float[Tensor, "b k h w"], kernel: int = 11) -> Decoded:
    """DARK as the UDP code bases do it (mmpose's ``post_dark_udp``, ViTPose): blur, clip to [0.001, 50], log, Newton.

    Args:
        heatmaps: the network's maps.
        kernel: cells of the Gaussian blur; 11 for targets of sigma 2, 17 for sigma 3.
    """
    column, row, score = _cells(heatmaps)
    near = _window(torch.log(_blur(heatmaps, kernel, "reflect").clamp(0.001, 50.0)), column, row, 1)
    here, right, left = near[..., 1, 1], near[..., 1, 2], near[..., 1, 0]
    below, above, below_right, above_left = near[..., 2, 1], near[..., 0, 1], near[..., 2, 2], near[..., 0, 0]
    xx = right - 2.0 * here + left
    yy = below - 2.0 * here + above
    xy_ = 0.5 * (below_right - right - below + 2.0 * here - left - above + above_left)
    step = _newton_step(0.5 * (right - left), 0.5 * (below - above), xx, xy_, yy, torch.finfo(torch.float32).eps)
    xy = torch.stack([column, row], dim=-1).to(heatmaps.dtype)
    return xy + torch.where((score > 0)[..., None], step, 0.0), score


def _newton_step(gx: Tensor, gy: Tensor, xx: Tensor, xy: Tensor, yy: Tensor, ridge: float) -> Tensor:
    """Minus inverse Hessian (plus ``ridge`` on its diagonal) times gradient; zero where it is singular."""
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy**2
    singular = determinant == 0
    determinant = torch.where(singular, 1.0, determinant)
    step = torch.stack([-(yy * gx - xy * gy) / determinant, -(xx * gy - xy * gx) / determinant], dim=-1)
    return torch.where(singular[..., None], 0.0, step)


def decode_simcc(
    x: Float[Tensor, "b k bins_x"], y: Float[Tensor, "b k bins_y"], split_ratio: float
) -> tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k"]]:
    """The largest bins along both axes in crop pixels (SimCC, Li et al. 2022, as mmpose's codec decodes it).

    The score is the smaller of both maxima; a keypoint whose score is not positive lies at bin -1.

    Args:
        x: the network's bins along the width.
        y: the network's bins along the height.
        split_ratio: bins per pixel.
    """
    (best_x, column), (best_y, row) = x.max(dim=-1), y.max(dim=-1)
    score = torch.minimum(best_x, best_y)
    bins = torch.stack([column, row], dim=-1).to(x.dtype)
    return torch.where(score[..., None] > 0, bins, -1.0) / split_ratio, score


def soft_argmax(
    logits: Float[Tensor, "b k h w"], beta: float = 1.0, debias: bool = False
) -> tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k h w"]]:
    """Expected coordinates under the softmax of a map (integral pose regression, Sun et al. 2018).

    Args:
        logits: the network's maps before the softmax.
        beta: factor on the logits.
        debias: remove the pull towards the map's middle that the softmax's flat background causes (Gu et al. 2021):
            with ``C = sum(exp(beta * z))`` the background of all cells has mass ``1 / C``.

    Returns:
        Coordinates in units of the map's width and height (column / w, row / h), and the probabilities.
    """
    height, width = logits.shape[2:]
    flat = beta * logits.flatten(2)
    probabilities = flat.softmax(dim=2).unflatten(2, (height, width))
    x = probabilities.sum(2) @ (torch.arange(width, device=logits.device, dtype=logits.dtype) / width)
    y = probabilities.sum(3) @ (torch.arange(height, device=logits.device, dtype=logits.dtype) / height)
    xy = torch.stack([x, y], dim=-1)
    if debias:
        # C / (C - 1) (mu - 1 / (2 C)) with C / (C - 1) = 1 / (1 - exp(-log C)), which no large logit can overflow.
        inverse = torch.exp(-torch.logsumexp(flat, dim=2))[..., None]
        xy = (xy - 0.5 * inverse) / (1.0 - inverse)
    return xy, probabilities


def decode_expected_oks(heatmaps: Float[Tensor, "b k h w"], falloff: Float[Tensor, "b k"]) -> Decoded:
    """The point with the largest expected OKS under the map read as a distribution (ProbPose, Purkrabek 2024).

    The map, negative values cut off, is normalised to a distribution and convolved with the keypoint's OKS kernel
    ``exp(-d^2 / (2 l^2))`` (equation 6), so that the value at a point is equation 10's expectation there. One Newton
    step on the logarithm refines the largest cell.

    Args:
        heatmaps: the network's maps.
        falloff: ``l = sqrt(area) * kappa`` of each instance and keypoint, in heatmap cells.

    Returns:
        Coordinates and the expected OKS there (of the cell).
    """
    positive = heatmaps.clamp_min(0.0)
    mass = positive.sum((2, 3), keepdim=True)
    probabilities = positive / torch.where(mass > 0, mass, 1.0)

    def kernel(cells: int) -> Tensor:
        at = torch.arange(cells, device=heatmaps.device, dtype=heatmaps.dtype)
        return torch.exp(-((at[:, None] - at) ** 2) / (2.0 * falloff[..., None, None] ** 2))

    expected = kernel(heatmaps.shape[2]) @ probabilities @ kernel(heatmaps.shape[3])
    column, row, score = _cells(expected)
    near = _window(torch.log(expected.clamp_min(1e-10)), column, row, 1)
    here = near[..., 1, 1]
    step = _newton_step(
        0.5 * (near[..., 1, 2] - near[..., 1, 0]),
        0.5 * (near[..., 2, 1] - near[..., 0, 1]),
        near[..., 1, 2] - 2.0 * here + near[..., 1, 0],
        0.25 * (near[..., 2, 2] - near[..., 0, 2] - near[..., 2, 0] + near[..., 0, 0]),
        near[..., 2, 1] - 2.0 * here + near[..., 0, 1],
        0.0,
    )
    height, width = heatmaps.shape[2:]
    inside = (column > 0) & (column < width - 1) & (row > 0) & (row < height - 1) & (score > 0)
    xy = torch.stack([column, row], dim=-1).to(heatmaps.dtype)
    return xy + torch.where(inside[..., None], step.clamp(-0.5, 0.5), 0.0), score


HEATMAP_DECODERS: dict[str, Callable[[Tensor], Decoded]] = {
    "argmax": decode_argmax,
    "quarter-offset": decode_quarter_offset,
    "dark": decode_dark,
    "dark-udp": decode_dark_udp,
}
"""Decoders that need nothing but the map."""


def heatmap_to_crop(
    xy: Float[Tensor, "b k 2"], heatmap_wh: tuple[int, int], crop_wh: tuple[int, int], udp: bool
) -> Float[Tensor, "b k 2"]:
    """Heatmap cells to crop pixels: times W / w, or with UDP times (W - 1) / (w - 1)."""
    less = 1 if udp else 0
    scale = [(crop - less) / (cells - less) for crop, cells in zip(crop_wh, heatmap_wh, strict=True)]
    return xy * torch.tensor(scale, dtype=xy.dtype, device=xy.device)


def unflip_heatmaps(
    flipped: Float[Tensor, "b k h w"], permutation: Sequence[int], shift: bool
) -> Float[Tensor, "b k h w"]:
    """Maps of the mirrored image, mirrored back.

    Args:
        flipped: the network's maps for mirrored images.
        permutation: for each keypoint its mirror image's number.
        shift: move them right by one column (the first column stays), as non-UDP code does to align the grids.
    """
    maps = flipped[:, list(permutation)].flip(-1)
    if shift:
        maps = torch.cat([maps[..., :1], maps[..., :-1]], dim=-1)
    return maps
