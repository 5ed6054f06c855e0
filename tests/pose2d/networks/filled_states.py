"""Weights and inputs by a rule that depends on names and shapes only, so that two programs can hold the same ones."""

import zlib

import numpy as np


def filled(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a state dict's entry; norms near one, variances positive, matrices scaled by their fan-in."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    values = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return np.abs(values) + np.float32(0.5)
    if name.endswith(("bias", "running_mean")) or len(shape) == 3:
        return np.float32(0.1) * values
    if len(shape) == 1:
        return np.float32(1.0) + np.float32(0.1) * values
    return values / np.float32(np.sqrt(np.prod(shape[1:])))


def kept(name: str) -> bool:
    """Entries that are constants of the network, not weights, and stay as they are built."""
    return name.endswith(("mask", "linspace_x", "linspace_y"))


def image(size_wh: tuple[int, int]) -> np.ndarray:
    """A normalised image (1, 3, h, w) of noise."""
    rng = np.random.default_rng(size_wh[0] * 10000 + size_wh[1])
    return rng.standard_normal((1, 3, size_wh[1], size_wh[0]), dtype=np.float32)


def samples(array: np.ndarray, count: int = 200) -> np.ndarray:
    """Evenly spaced values of an array, the first and the last among them."""
    flat = np.asarray(array).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(count, flat.size)).astype(np.int64)]


def boxes(count: int = 100) -> np.ndarray:
    """Person boxes (n, 4) in an image of 640x480, of all aspects."""
    rng = np.random.default_rng(100)
    near = rng.uniform((-20.0, -20.0), (500.0, 380.0), (count, 2))
    return np.concatenate([near, rng.uniform(10.0, 400.0, (count, 2))], axis=1)


def heatmaps(batch: int = 6, keypoints: int = 17) -> np.ndarray:
    """Heatmaps (b, k, 64, 48): blobs in noise, some at the rim, one map negative throughout and one flat."""
    rng = np.random.default_rng(200)
    x, y = rng.uniform(-2.0, 50.0, (batch, keypoints)), rng.uniform(-2.0, 66.0, (batch, keypoints))
    columns, rows = np.arange(48.0), np.arange(64.0)[:, None]
    square = (columns - x[..., None, None]) ** 2 + (rows - y[..., None, None]) ** 2
    maps = rng.uniform(0.2, 1.0, (batch, keypoints, 1, 1)) * np.exp(-square / 8.0)
    maps += 0.02 * rng.standard_normal(maps.shape)
    maps[0, 0] = -0.1
    return maps.astype(np.float32)
