"""Images on disk: which files of a folder are images, their sizes, their pixels.

A file is read once. Its header is parsed here before anything is decoded, so that an image of a few hundred bytes that
announces gigabytes is refused, and a JPEG or PNG that breaks off is not decoded with grey where the rest was. OpenCV
decodes the same bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from pose2d.errors import InputError
from pose2d.files.storage import is_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_PIXELS = 1 << 27
"""134 megapixels, 400 MB of RGB."""
MAX_SIDE = (1 << 15) - 2
"""What OpenCV's warps can address."""

_LONGEST_FILL = 1 << 16
_FIRST_BYTES = 1 << 17
_JPEG_END = b"\xff\xd9"
_JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageHeader:
    """What an image's first bytes say of it.

    Attributes:
        size_wh: of the pixels as they are stored.
        orientation: EXIF's, 1 to 8: how viewers turn the stored pixels; 1 is not at all.
        data_start: where in the file the compressed pixels begin.
    """

    size_wh: tuple[int, int]
    orientation: int = 1
    data_start: int = 0

    @property
    def upright_size_wh(self) -> tuple[int, int]:
        """Size as viewers show the image."""
        width, height = self.size_wh
        return (height, width) if self.orientation >= 5 else (width, height)


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


def read_image(path: str | Path, upright: bool = False) -> UInt8[np.ndarray, "h w 3"]:
    """An image as RGB bytes.

    Args:
        path: a JPEG, PNG, BMP or WebP file.
        upright: turn the pixels as the EXIF orientation says, which viewers and labelling tools do; otherwise they
            stay as they are stored, which COCO's annotations count.

    Raises:
        InputError: the file is missing, no such image, breaks off, or has more than `MAX_PIXELS` pixels.
    """
    data = _bytes_of(path)
    return _decoded(path, data, _checked_header(path, data), upright)


def _decoded(path: str | Path, data: bytes, header: ImageHeader, upright: bool) -> UInt8[np.ndarray, "h w 3"]:
    try:
        damaged = _breaks_off(data, header)
    except (struct.error, IndexError):
        damaged = True
    if damaged:
        raise InputError(f"cannot read image {path}: it is damaged or breaks off; copy or download it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InputError(f"cannot read image {path}: OpenCV refuses it ({error.err})") from None
    if image is None or (image.shape[1], image.shape[0]) != header.size_wh:
        raise InputError(f"cannot read image {path}: its pixels are damaged")
    if upright:
        image = turned_upright(image, header.orientation)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class ImageFile:
    """An image to be read as its boxes were drawn.

    Attributes:
        path: the file.
        size_wh: what the boxes' file says of its size; None where it says nothing.
    """

    path: Path
    size_wh: tuple[int, int] | None = None

    def read(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels as RGB bytes, upright unless `size_wh` is the size that they have as they are stored.

        Labelling tools and detectors turn an image as its EXIF orientation says; COCO's own annotations do not, and
        their sizes tell. A size that is neither means that the boxes belong to another copy of the image.

        Raises:
            InputError: see `read_image`; or the image has another size.
        """
        if self.size_wh is None:
            return read_image(self.path, upright=True)
        data = _bytes_of(self.path)
        header = _checked_header(self.path, data)
        if self.size_wh not in (header.size_wh, header.upright_size_wh):
            raise InputError(
                f"image {self.path} has {header.size_wh[0]} x {header.size_wh[1]} pixels, its annotations are made for "
                f"{self.size_wh[0]} x {self.size_wh[1]}: take the image that was annotated"
            )
        return _decoded(self.path, data, header, upright=self.size_wh == header.upright_size_wh)


def turned_upright(image: UInt8[np.ndarray, "h w 3"], orientation: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Stored pixels as viewers show them; `orientation` is EXIF's (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def image_header(path: str | Path) -> ImageHeader:
    """Size and orientation of an image, from its first bytes.

    Raises:
        InputError: see `read_image`; whether the pixels are whole is not looked at.
    """
    try:
        return _checked_header(path, _bytes_of(path, _FIRST_BYTES))
    except InputError:  # pictures within pictures and colour tables may stand before the size
        return _checked_header(path, _bytes_of(path))


def image_size_wh(path: str | Path) -> tuple[int, int]:
    """Width and height of an image in pixels, as `read_image` reads it; see `image_header`."""
    return image_header(path).size_wh


def _bytes_of(path: str | Path, count: int = -1) -> bytes:
    if not is_file(Path(path)):
        raise InputError(f"cannot read image {path}: there is no such file")
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror}") from None


def _checked_header(path: str | Path, data: bytes) -> ImageHeader:
    try:
        header = parse_header(data)
    except (struct.error, IndexError, StopIteration):
        raise InputError(f"cannot read image {path}: it breaks off within its header") from None
    if header is None:
        raise InputError(f"cannot read image {path}: it is no JPEG, PNG, BMP or WebP image")
    width, height = header.size_wh
    if width < 1 or height < 1:
        raise InputError(f"cannot read image {path}: it has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InputError(
            f"cannot read image {path}: {width} x {height} pixels are too many ({MAX_PIXELS >> 20} M in all and "
            f"{MAX_SIDE} along a side are the limit); make it smaller"
        )
    return header


def parse_header(data: bytes) -> ImageHeader | None:
    """The header of a JPEG, PNG, BMP or WebP image; None of anything else.

    Raises:
        struct.error, IndexError, StopIteration: it breaks off.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg_header(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_header(data)
    if data.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", data, 18)
        return ImageHeader((width, abs(height)), data_start=54)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_header(data)
    return None


def _jpeg_header(data: bytes) -> ImageHeader:
    size_wh, orientation = (0, 0), 1
    for marker, start, length in _jpeg_segments(data):
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            size_wh = (width, height)
        elif marker == 0xE1 and data.startswith(b"Exif\x00\x00", start):
            orientation = _exif_orientation(data[start + 6 : start + length])
        elif marker == 0xDA:
            return ImageHeader(size_wh, orientation, start + length)
    raise IndexError("no scan")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and length of each segment up to the first scan."""
    at = 2
    while True:
        at = data.find(b"\xff", at, at + _LONGEST_FILL)
        if at < 0:
            raise IndexError("no marker")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in _JPEG_BARE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, at + 2, length - 2
        at += max(length, 2)


def _png_header(data: bytes) -> ImageHeader:
    size_wh = struct.unpack_from(">II", data, 16)
    orientation, at = 1, 8
    for kind, start, length in _png_chunks(data):
        if kind == b"IDAT":
            at = start
            break
        if kind == b"eXIf":
            orientation = _exif_orientation(data[start : start + length])
    return ImageHeader(size_wh, orientation, at)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of each chunk. OpenCV allocates whatever length a chunk announces."""
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise IndexError("a chunk is cut short")
        yield kind, at + 8, length
        at += 12 + length


def _webp_header(data: bytes) -> ImageHeader:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        found = data.find(b"EXIF") if data[20] & 8 else -1
        orientation = _exif_orientation(data[found + 8 :].removeprefix(b"Exif\x00\x00")) if found > 0 else 1
        return ImageHeader((width, height), orientation, 30)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHeader(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), data_start=25)
    width, height = struct.unpack_from("<HH", data, 26)
    return ImageHeader((width & 0x3FFF, height & 0x3FFF), data_start=30)


def _exif_orientation(tiff: bytes) -> int:
    """The orientation that an EXIF block names; 1 where it is damaged or silent."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + 12 * entry)
            if tag == _ORIENTATION and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _png_damage(data: bytes) -> bool:
    """Whether a chunk is not what its checksum says, or the last one is missing."""
    for kind, start, length in _png_chunks(data):
        (checksum,) = struct.unpack_from(">I", data, start + length)
        if zlib.crc32(memoryview(data)[start - 4 : start + length]) != checksum:
            return True
        if kind == b"IEND":
            return False
    return True


def _breaks_off(data: bytes, header: ImageHeader) -> bool:
    """Whether the end is missing. Decoders fill the rest with grey, or with nothing, and say so on stderr at best."""
    if data.startswith(b"\xff\xd8"):
        return data.rfind(_JPEG_END, header.data_start) < 0
    if data.startswith(b"\x89PNG"):
        return _png_damage(data)
    if data.startswith(b"RIFF"):
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    return False
