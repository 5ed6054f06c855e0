"""Areas of the run-length masks that results files may carry (pycocotools' `mask.area`, on text that anybody wrote)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from pose2d.errors import InputError


def mask_area(segmentation: Any, where: str) -> int:
    """Pixels of a mask {"size": [h, w], "counts": runs}, the runs as a list or in COCO's compressed text.

    pycocotools reads past the end of malformed text; here it is refused.

    Args:
        segmentation: the parsed field.
        where: file and entry, for messages.

    Raises:
        InputError: it is a polygon, or no sound mask.
    """
    why = "it is not a run-length mask {size, counts}; leave the field out, or give a bbox"
    if isinstance(segmentation, dict):
        counts, size = segmentation.get("counts"), segmentation.get("size")
        try:
            height, width = map(int, size)  # type: ignore[arg-type]
            runs = _unpack(counts.encode("ascii")) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
            most = min(height * width, 1 << 40)
            if runs.ndim == 1 and ((runs >= 0) & (runs <= most)).all() and runs.sum() <= most:
                return int(runs[1::2].sum())
            why = "its runs do not fit its size"
        except (TypeError, ValueError, OverflowError):
            why = "its size or counts are damaged"
    raise InputError(f"{where}, field segmentation: {why}")


def _unpack(text: bytes) -> Int[np.ndarray, " r"]:
    """COCO's text of runs, 5 bits a character; the sixth bit says that more follow.

    From the fourth run on, the text holds the difference to the run two before.

    Raises:
        ValueError: the text breaks off, or a run has more than 12 characters.
    """
    codes = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    if ((codes < 0) | (codes > 63)).any() or codes[-1] & 32:
        raise ValueError("no text of runs")
    last = np.flatnonzero((codes & 32) == 0)
    first = np.r_[0, last[:-1] + 1]
    length = last - first + 1
    if length.max() > 12:
        raise ValueError("a run of more than 60 bits")
    place = np.arange(len(codes)) - np.repeat(first, length)
    runs = np.add.reduceat((codes & 31) << (5 * place), first)
    runs -= np.where(codes[last] & 16, np.int64(1) << (5 * length), 0)
    for parity in (1, 2):  # runs 0, 1 and 2 stand for themselves
        runs[parity::2] = np.cumsum(runs[parity::2])
    return runs
