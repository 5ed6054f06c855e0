"""Random views and targets."""

import numpy as np
import pytest
import torch

from pose2d.datasets.coco import read_coco
from pose2d.datasets.crop_set import cut_crops
from pose2d.decoding import decode_dark_udp
from pose2d.skeletons import COCO17
from pose2d.training.augmentation import augment, plain_views, target_heatmaps
from pose2d.training.options import NO_AUGMENTATION, Augmentation
from tests.stick_figures import write_stick_figures

SIZE = (96, 128)


@pytest.fixture
def root(tmp_path):
    write_stick_figures(tmp_path, "train", 6)
    return tmp_path


def test_views_carry_their_keypoints_along(root):
    """A white dot painted at a keypoint is where the view says the keypoint is, mirrored and turned."""
    crops = cut_crops(read_coco(root, "train"), SIZE)
    images = np.zeros_like(crops.images)
    nose, wrist = COCO17.index("nose"), COCO17.index("left_wrist")
    for row in range(len(images)):
        for keypoint, channel in ((nose, 0), (wrist, 1)):
            if not crops.dataset.labelled[row, keypoint]:
                continue
            x, y = np.round(crops.xy_px[row, keypoint]).astype(int)
            images[row, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, channel] = 255
    config = Augmentation(colour=0.0, erase_share=0.0, half_body_share=0.5, flip_share=0.5)
    labelled = np.ones((len(images), 17), bool)
    checked = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        views = augment(images, crops.xy_px, labelled, SIZE, COCO17, config, rng)
        for row in range(len(images)):
            for channel, names in ((0, ("nose",)), (1, ("left_wrist", "right_wrist"))):
                weight = views.images[row, ..., channel].astype(float)
                if weight.sum() < 5 * 255:
                    continue
                rows, columns = np.indices(weight.shape)
                dot = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
                # After mirroring, the person's left wrist appears as the right one.
                gaps = [np.linalg.norm(views.xy_px[row, COCO17.index(name)] - dot) for name in names]
                # Dots lie on whole pixels: half a pixel on each axis, zoomed by up to 1.6 and 1.2.
                assert min(gaps) < 1.4
                checked += 1
    assert checked > 40


def test_plain_views_equal_views_without_augmentation(root):
    crops = cut_crops(read_coco(root, "train"), SIZE)
    views = augment(
        crops.images, crops.xy_px, crops.dataset.labelled, SIZE, COCO17, NO_AUGMENTATION, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(views.images, plain_views(crops.images, SIZE))


def test_targets_decode_to_their_keypoints():
    rng = np.random.default_rng(0)
    xy = rng.uniform(20, 75, (3, 17, 2))
    maps, weights = target_heatmaps(xy, np.ones((3, 17), bool), SIZE, (24, 32), 1.5)
    assert weights.all()
    cells, score = decode_dark_udp(torch.from_numpy(maps))
    np.testing.assert_allclose(cells.numpy() * np.array([95 / 23, 127 / 31]), xy, atol=0.4)
    assert (score <= 1).all()


def test_targets_far_outside_or_unlabelled_weigh_nothing():
    xy = np.array([[[10.0, 10.0], [-60.0, 10.0], [10.0, 10.0]]])
    _, weights = target_heatmaps(xy, np.array([[True, True, False]]), SIZE, (24, 32), 1.5)
    assert weights.tolist() == [[1.0, 0.0, 0.0]]
