"""Crops and decoding against the official functions, and against properties of their own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pose2d.crops import (
    apply_affine,
    box_to_crop,
    clip_boxes,
    crop_scale,
    invert_affine,
    square_crop_affine,
    warp_crop,
)
from pose2d.decoding import (
    HEATMAP_DECODERS,
    decode_expected_oks,
    heatmap_to_crop,
    soft_argmax,
    unflip_heatmaps,
)
from pose2d.errors import InputError
from pose2d.networks.base import flip_permutation
from pose2d.skeletons import COCO17
from tests.pose2d.networks.filled_states import boxes, heatmaps

SIZE = (192, 256)


def in_image(maps: torch.Tensor, decoding: str, udp: bool) -> np.ndarray:
    """Decoded coordinates in image pixels, the first boxes placing the maps."""
    xy, _ = HEATMAP_DECODERS[decoding](maps)
    xy_px = heatmap_to_crop(xy, (48, 64), SIZE, udp)
    affines = box_to_crop(boxes()[: len(maps)], SIZE, udp=udp)
    return apply_affine(invert_affine(affines), xy_px.double().numpy())


def flip_averaged(shift: bool) -> torch.Tensor:
    maps = torch.from_numpy(heatmaps())
    mirrored = maps.flip(1, 3) * 0.9
    order = flip_permutation(17, COCO17.flip_pairs)
    return 0.5 * (maps + unflip_heatmaps(mirrored, order, shift))


@pytest.fixture(scope="module")
def official(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "decoding.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("udp", [False, True])
def test_crops_equal_the_official_ones(official: dict[str, np.ndarray], udp: bool) -> None:
    theirs = official["udp" if udp else "plain"]
    ours = box_to_crop(boxes(), SIZE, udp=udp)
    near, extent = boxes()[:, :2], boxes()[:, 2:]
    points = np.stack([near, near + 0.5 * extent, near + extent], axis=1)
    # In image pixels: the crop of a small box magnifies the official code's single precision.
    difference = np.abs(apply_affine(ours, points) - apply_affine(theirs, points)) / crop_scale(ours)[:, None, None]
    assert difference.max() < 1e-4


def test_decoded_coordinates_equal_the_official_ones(official: dict[str, np.ndarray]) -> None:
    maps = torch.from_numpy(heatmaps())
    # The map without a positive value decodes to (0, 0) here and in HRNet's code, to (-1, -1) in mmpose's.
    positive = (maps.amax((2, 3)) > 0).numpy()
    assert np.abs(in_image(maps, "quarter-offset", False) - official["quarter"]).max() < 1e-4
    assert np.abs(in_image(maps, "dark", False) - official["dark"])[positive].max() < 1e-4
    assert np.abs(in_image(maps, "dark-udp", True) - official["dark_udp"])[positive].max() < 1e-4
    assert np.array_equal(HEATMAP_DECODERS["dark"](maps)[1].numpy(), official["score"])


def test_flip_tests_equal_the_official_ones(official: dict[str, np.ndarray]) -> None:
    quarter = in_image(flip_averaged(shift=True), "quarter-offset", False)
    assert np.abs(quarter - official["flip_quarter"]).max() < 1e-4
    maps = flip_averaged(shift=False)
    positive = (maps.amax((2, 3)) > 0).numpy()
    assert np.abs(in_image(maps, "dark-udp", True) - official["flip_dark_udp"])[positive].max() < 1e-4


@pytest.mark.parametrize("decoding", ["dark", "dark-udp"])
def test_refined_decoders_find_the_centre_of_a_gaussian(decoding: str) -> None:
    columns, rows = torch.arange(48.0), torch.arange(64.0)[:, None]
    xy = torch.tensor([[20.3, 31.6], [11.5, 40.0], [33.8, 12.2]])
    maps = torch.exp(-((columns - xy[:, 0, None, None]) ** 2 + (rows - xy[:, 1, None, None]) ** 2) / 8.0)
    found, score = HEATMAP_DECODERS[decoding](maps[None])
    # dark-udp clips the logarithm's argument, which costs it a little where the window meets the floor.
    assert (found[0] - xy).abs().max() < 0.05
    assert torch.all(score > 0.9)


def test_expected_oks_is_equation_10_and_prefers_the_nearer_of_two_modes_only_when_the_falloff_is_short() -> None:
    rows, columns = torch.arange(64.0), torch.arange(48.0)

    def gaussian(x: float, y: float, sigma: float) -> torch.Tensor:
        square = (columns - x) ** 2 + (rows[:, None] - y) ** 2
        return torch.exp(-square / (2.0 * sigma**2))

    sigma, falloff = 2.5, 4.0
    xy, score = decode_expected_oks(gaussian(20.0, 30.0, sigma)[None, None], torch.full((1, 1), falloff))
    assert torch.allclose(xy[0, 0], torch.tensor([20.0, 30.0]), atol=1e-3)
    assert float(score) == pytest.approx(falloff**2 / (falloff**2 + sigma**2), rel=1e-3)  # equation 12
    # A high narrow mode against two broad ones side by side: what is best depends on how far OKS forgives.
    both = gaussian(8.0, 30.0, 1.0) + 0.6 * (gaussian(31.0, 30.0, 1.5) + gaussian(37.0, 30.0, 1.5))
    near, _ = decode_expected_oks(both[None, None], torch.full((1, 1), 0.5))
    far, _ = decode_expected_oks(both[None, None], torch.full((1, 1), 6.0))
    assert float(near[0, 0, 0]) == pytest.approx(8.0, abs=0.5) and float(far[0, 0, 0]) == pytest.approx(34.0, abs=1.0)


def test_soft_argmax_and_its_debiasing() -> None:
    logits = torch.full((1, 1, 64, 48), 0.0, dtype=torch.float64)
    logits[0, 0, 16, 36] = 6.0
    biased, probabilities = soft_argmax(logits)
    assert float(probabilities.sum()) == pytest.approx(1.0)
    clean, _ = soft_argmax(logits, debias=True)
    # The formula by hand (Gu et al. 2021): C / (C - 1) (mu - 1 / (2 C)).
    c = float(logits.exp().sum())
    assert torch.allclose(clean, c / (c - 1) * (biased - 1 / (2 * c)))
    huge, _ = soft_argmax(1e4 * logits, debias=True)
    assert torch.allclose(huge, torch.tensor([[[36 / 48, 16 / 64]]], dtype=torch.float64))


def test_soft_argmax_debiasing_moves_towards_the_peak() -> None:
    logits = torch.zeros(1, 1, 64, 48, dtype=torch.float64) - 3.0
    logits[0, 0, 16, 40] = 8.0
    at = torch.tensor([40 / 48, 16 / 64], dtype=torch.float64)
    biased, clean = soft_argmax(logits)[0], soft_argmax(logits, debias=True)[0]
    assert torch.all((clean - at).abs() < (biased - at).abs())


@settings(deadline=None)
@given(
    st.floats(-50, 600), st.floats(-50, 400), st.floats(2, 600), st.floats(2, 600), st.booleans(), st.floats(1.0, 1.5)
)
def test_the_padded_box_fills_the_crop(x: float, y: float, w: float, h: float, udp: bool, padding: float) -> None:
    affine = box_to_crop(np.array([[x, y, w, h]]), SIZE, padding, udp)
    middle = apply_affine(affine, np.array([[[x + w / 2, y + h / 2]]]))[0, 0]
    assert np.allclose(middle, [95.5, 127.5] if udp else [96.0, 128.0], atol=1e-6)
    inside = apply_affine(affine, np.array([[[x, y], [x + w, y + h]]]))[0]
    assert (inside > -1e-6).all() and (inside < np.array(SIZE) + 1e-6).all()
    back = apply_affine(invert_affine(affine), apply_affine(affine, np.array([[[x, y]]])))
    assert np.allclose(back, [[[x, y]]], atol=1e-6)


def test_warped_crop_shows_what_the_affine_says() -> None:
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[60, 80] = (250, 20, 10)
    affine = box_to_crop(np.array([[64.0, 40.0, 32.0, 40.0]]), (96, 128), padding=1.0)[0]
    crop = warp_crop(image, affine, (96, 128))
    x, y = apply_affine(affine, np.array([[80.0, 60.0]]))[0]
    row, column = np.unravel_index(crop[..., 0].argmax(), crop.shape[:2])
    assert abs(column - x) <= 0.5 and abs(row - y) <= 0.5
    assert crop[row, column, 0] > crop[row, column, 1]


def test_square_crop() -> None:
    affine = square_crop_affine(np.array([[100.0, 50.0]]), np.array([200.0]), 224)
    corners = apply_affine(affine, np.array([[[0.0, -50.0], [200.0, 150.0]]]))
    assert np.allclose(corners, [[[0.0, 0.0], [224.0, 224.0]]])


def test_clipping_takes_the_official_pixel_off() -> None:
    clipped = clip_boxes(np.array([[-5.0, 10.0, 20.0, 30.0], [90.0, 10.0, 50.0, 300.0]]), (100, 200))
    assert np.allclose(clipped, [[0.0, 10.0, 19.0, 29.0], [90.0, 10.0, 9.0, 189.0]])


@pytest.mark.parametrize("box", [[0.0, 0.0, 0.0, 5.0], [np.nan, 0.0, 5.0, 5.0], [0.0, 0.0, 5.0, -1.0]])
def test_bad_boxes_are_refused(box: list[float]) -> None:
    with pytest.raises(InputError, match="box 1 of 2"):
        box_to_crop(np.array([[0.0, 0.0, 5.0, 5.0], box]), SIZE)
