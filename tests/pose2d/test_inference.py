"""Top-down inference: order, image pixels, skipped persons."""

import numpy as np
import pytest
import torch

from pose2d.crops import apply_affine, box_to_crop
from pose2d.datasets.coco import read_coco
from pose2d.errors import InputError
from pose2d.inference import CropBatch, Skipped, crop_batches, infer, infer_batches, infer_crops
from pose2d.networks.base import InputSpec, NetworkOutput, PoseNetwork
from pose2d.skeletons import COCO17
from tests.stick_figures import write_stick_figures


class Brightest(PoseNetwork):
    """Finds the crop's brightest pixel of red and calls it every keypoint; no module of torch, no parameters."""

    num_keypoints = 17
    input_spec = InputSpec((96, 128), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), udp=True, flip_shift=False)
    has_flip_test = True
    identity = "brightest"
    device = torch.device("cpu")

    def __call__(self, images):
        return images[:, :1]

    def average_flipped(self, raw, flipped, _):
        return 0.5 * (raw + flipped.flip(-1))

    def decode(self, raw):
        score, place = raw.flatten(2).max(dim=2)
        xy = torch.stack([place % 96, place // 96], dim=-1).float()
        return NetworkOutput(
            xy.expand(-1, 17, 2), score.expand(-1, 17), torch.full((len(raw), 17), 2.0), raw, raw.expand(-1, 17, -1, -1)
        )


def _pictures(count, rng):
    pictures, boxes, dots = [], [], []
    for _ in range(count):
        picture = np.zeros((200, 300, 3), np.uint8)
        dot = rng.integers((60, 60), (240, 140))
        picture[dot[1] - 3 : dot[1] + 4, dot[0] - 3 : dot[0] + 4, 0] = 150
        picture[dot[1] - 1 : dot[1] + 2, dot[0] - 1 : dot[0] + 2, 0] = 255
        pictures.append(picture)
        dots.append(dot)
        boxes.append([dot[0] - rng.uniform(10, 40), dot[1] - rng.uniform(20, 50), 60.0, 80.0])
    return pictures, np.array(boxes), np.array(dots, dtype=float)


@pytest.mark.parametrize("flip", [False, True])
def test_keypoints_come_back_in_image_pixels(flip):
    pictures, boxes, dots = _pictures(7, np.random.default_rng(0))
    result = infer(Brightest(), pictures, boxes, COCO17, flip=flip, batch=3)
    assert result.rows.tolist() == list(range(7))
    np.testing.assert_allclose(result.poses.xy_px[:, 0], dots, atol=1.6)
    scale = 95 / (1.25 * 60.0)
    np.testing.assert_allclose(result.poses.sigma_px, 2.0 / scale, rtol=0.02)


def test_unusable_persons_are_skipped_with_reasons(tmp_path):
    pictures, boxes, _ = _pictures(3, np.random.default_rng(1))
    bad = np.array([[np.nan, 0, 5, 5], [10, 10, 0, 5], [400, 10, 20, 20]])
    missing = tmp_path / "gone.jpg"
    images = [pictures[0], *pictures[:1] * 3, missing, pictures[1]]
    result = infer(Brightest(), images, np.concatenate([boxes[:1], bad, boxes[1:2], boxes[1:2]]), COCO17)
    assert result.rows.tolist() == [0, 5]
    assert [one.row for one in result.skipped] == [1, 2, 3, 4]
    for one, words in zip(result.skipped, ("finite", "no area", "outside", "gone.jpg"), strict=True):
        assert words in one.reason


def test_no_usable_person_is_an_error():
    pictures, _, _ = _pictures(1, np.random.default_rng(1))
    with pytest.raises(InputError, match="none of 1"):
        infer(Brightest(), pictures, np.array([[0.0, 0.0, 0.0, 1.0]]), COCO17)


def test_numbers_must_fit():
    with pytest.raises(InputError, match="boxes"):
        infer(Brightest(), [], np.zeros((1, 4)), COCO17)


def test_files_shared_by_neighbours_are_opened_once(tmp_path, monkeypatch):
    write_stick_figures(tmp_path, "train", 2)
    dataset = read_coco(tmp_path, "train")
    opened = []
    import pose2d.inference as module

    def counting(path, original=module.read_image):
        opened.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_image", counting)
    rows = [0, 0, 1, 1, 1]
    images = [dataset.image_paths[row] for row in rows]
    result = infer(Brightest(), images, dataset.boxes_xywh[rows], COCO17)
    assert len(result.poses) == 5
    assert len(opened) == 2


def test_batches_carry_features_and_affines():
    pictures, boxes, _ = _pictures(5, np.random.default_rng(2))
    seen = list(infer_batches(Brightest(), pictures, boxes, COCO17, batch=2))
    assert [len(part.rows) for part in seen] == [2, 2, 1]
    for part in seen:
        np.testing.assert_allclose(part.affines, box_to_crop(boxes[part.rows], (96, 128), udp=True))
        assert part.output.feature.shape == (len(part.rows), 1, 128, 96)
        np.testing.assert_allclose(apply_affine(part.affines, part.poses.xy_px), part.output.xy_px.numpy(), atol=1e-6)


def test_a_second_view_is_cut_while_the_image_is_open(tmp_path, monkeypatch):
    write_stick_figures(tmp_path, "train", 3)
    dataset = read_coco(tmp_path, "train")
    import pose2d.inference as module

    opened = []
    original = module.read_image
    monkeypatch.setattr(module, "read_image", lambda path: opened.append(path) or original(path))

    def corner(image, row):
        if row == 1:
            raise InputError("row 1 is not wanted")
        return image[:2, :1]

    parts = crop_batches(Brightest(), dataset.image_paths, dataset.boxes_xywh, COCO17, batch=2, second_view=corner)
    skipped, batch = parts
    assert len(opened) == 3
    assert skipped == Skipped(1, "row 1 is not wanted")
    assert isinstance(batch, CropBatch)
    assert batch.rows.tolist() == [0, 2]
    for row, view in zip(batch.rows, batch.second, strict=True):
        np.testing.assert_array_equal(view, original(dataset.image_paths[row])[:2, :1])
    plain = next(iter(infer_batches(Brightest(), dataset.image_paths, dataset.boxes_xywh, COCO17)))
    found = infer_crops(Brightest(), batch, COCO17)
    np.testing.assert_array_equal(found.poses.xy_px, plain.poses.xy_px[batch.rows])
