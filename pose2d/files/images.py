"""Images on disk: which files of a folder are images, their pixels, their sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from pose2d.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def image_files(path: str | Path) -> list[Path]:
    """The images in a folder by name, or the one image that `path` is.

    Raises:
        InputError: there is no such path, or no image in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"no such image or folder of images: {path}")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InputError(f"{path} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return files


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """An image as RGB bytes, not turned by any orientation tag (annotations count pixels as they are stored).

    Raises:
        InputError: the file is missing or no image that OpenCV reads.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        reason = "it is no image or is truncated" if Path(path).is_file() else "there is no such file"
        raise InputError(f"cannot read image {path}: {reason}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def image_size_wh(path: str | Path) -> tuple[int, int]:
    """Width and height of an image in pixels, as `read_image` reads it.

    Raises:
        InputError: see `read_image`.
    """
    height, width = read_image(path).shape[:2]
    return width, height
