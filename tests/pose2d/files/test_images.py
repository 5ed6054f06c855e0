"""Images: sizes from headers, pixels as stored or upright, bombs and broken files refused before they are decoded."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from pose2d.errors import InputError
from pose2d.files.images import image_files, image_header, image_size_wh, read_image


def picture(width=40, height=24):
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8), (width, height))
    image[:8, :8] = 250  # a corner that shows how the image was turned
    return image


def write(path, image=None):
    assert cv2.imwrite(str(path), picture() if image is None else image)
    return path


def with_orientation(path, orientation, order="<"):
    """Put an EXIF block into a JPEG, right behind its start."""
    mark = b"II*\x00" if order == "<" else b"MM\x00*"
    tiff = mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    block = b"Exif\x00\x00" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    return path


def png(width, height, rows=b""):
    """A PNG whose header may announce anything."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_the_header_says_the_size_that_opencv_reads(suffix, tmp_path):
    path = write(tmp_path / f"a{suffix}")
    assert image_size_wh(path) == (40, 24)
    expected = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("quality", [(cv2.IMWRITE_WEBP_QUALITY, 101), (cv2.IMWRITE_WEBP_QUALITY, 60)])
def test_both_kinds_of_webp(quality, tmp_path):
    cv2.imwrite(str(tmp_path / "a.webp"), picture(), quality)
    assert image_size_wh(tmp_path / "a.webp") == (40, 24)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_as_opencv_does(orientation, order, tmp_path):
    path = with_orientation(write(tmp_path / "a.jpg"), orientation, order)
    header = image_header(path)
    assert (header.orientation, header.size_wh) == (orientation, (40, 24))
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(read_image(path), stored[..., ::-1])
    upright = cv2.imread(str(path), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(path, upright=True), upright[..., ::-1])
    assert header.upright_size_wh == (upright.shape[1], upright.shape[0])


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_does_not_exist_is_none(orientation, tmp_path):
    assert image_header(with_orientation(write(tmp_path / "a.jpg"), orientation)).orientation == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_cut_images_are_refused(share, suffix, tmp_path, capfd):
    path = write(tmp_path / f"a{suffix}", picture(400, 300))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"cannot read image .*a\.\w+: "):
        read_image(path)
    assert "Premature" not in capfd.readouterr().err


def test_a_thumbnail_s_end_is_not_the_image_s(tmp_path):
    whole = write(tmp_path / "a.jpg", picture(200, 100)).read_bytes()
    thumbnail = b"Exif\x00\x00" + write(tmp_path / "t.jpg").read_bytes()
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    (tmp_path / "a.jpg").write_bytes(data)
    assert image_size_wh(tmp_path / "a.jpg") == (200, 100)
    (tmp_path / "a.jpg").write_bytes(data[:-500])
    with pytest.raises(InputError, match="breaks off"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("size_wh", [(60_000, 60_000), (12_000, 12_000), (40_000, 2), (0, 5), (1 << 31, 1 << 31)])
def test_sizes_out_of_all_proportion_are_refused_by_the_header(size_wh, tmp_path):
    (tmp_path / "a.png").write_bytes(png(*size_wh))
    for read in (read_image, image_size_wh):
        with pytest.raises(InputError, match=r"a\.png: (\d+ x \d+ pixels are too many|it has no pixels)"):
            read(tmp_path / "a.png")


def test_a_jpeg_s_announced_size_counts(tmp_path):
    data = bytearray(write(tmp_path / "a.jpg").read_bytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match="65000 x 65000 pixels are too many"):
        read_image(tmp_path / "a.jpg")


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match="no JPEG, PNG, BMP or WebP"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "b.jpg")
    with pytest.raises(InputError, match="no such image or folder"):
        image_files(tmp_path / "c")
