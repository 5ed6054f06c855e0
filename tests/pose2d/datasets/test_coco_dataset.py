"""Reading COCO's layout, cutting crops."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from pose2d.crops import apply_affine, box_to_crop, invert_affine
from pose2d.datasets.coco import read_coco
from pose2d.datasets.coco_ap import average_precision_percent
from pose2d.datasets.crop_set import cut_crops, network_affine
from pose2d.errors import InputError
from tests.stick_figures import write_stick_figures

SIZE = (96, 128)


@pytest.fixture
def root(tmp_path):
    write_stick_figures(tmp_path, "train", 6)
    return tmp_path


def _edit(root, change):
    path = root / "annotations" / "person_keypoints_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_reads_what_pycocotools_reads(root):
    dataset = read_coco(root, "train")
    truth = COCO(str(dataset.annotation_file))
    assert len(dataset) == 6
    for row in range(6):
        entry = truth.anns[int(dataset.annotation_ids[row])]
        keypoints = np.array(entry["keypoints"]).reshape(17, 3)
        np.testing.assert_array_equal(dataset.visible[row], keypoints[:, 2])
        np.testing.assert_allclose(dataset.xy_px[row], keypoints[:, :2])
        assert dataset.areas[row] == entry["area"]
        assert dataset.image_paths[row].name == truth.imgs[entry["image_id"]]["file_name"]


def test_reads_split_folder_beside_annotations(root):
    (root / "images" / "train").rename(root / "train")
    assert len(read_coco(root, "train")) == 6


def test_crowds_and_unlabelled_persons_are_left_out(root):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1]["keypoints"] = [0] * 51
        content["annotations"][2]["bbox"] = [5, 5, 0, 10]

    _edit(root, change)
    assert read_coco(root, "train").image_ids.tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["annotations"][0].pop("bbox"), "bbox"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, float("nan"), 4]), "bbox of annotation 1001"),
        (
            lambda c: c["annotations"][0].update(bbox=[1, 2, "wide", 4]),
            "annotation 1001 lacks a field or has a wrong one",
        ),
        (lambda c: c["annotations"][0].update(keypoints=[0] * 48), "48 numbers; 51"),
        (lambda c: c["annotations"][0].update(image_id=99), "image 99"),
        (lambda c: c["images"][0].pop("width"), "width"),
        (lambda c: c.pop("images"), "fields images"),
        (lambda c: c.update(annotations=[]), "no person"),
    ],
)
def test_wrong_fields_are_named(root, change, words):
    _edit(root, change)
    with pytest.raises(InputError, match=words):
        read_coco(root, "train")


def test_missing_files_are_named(root):
    with pytest.raises(InputError, match=r"person_keypoints_train\.json"):
        read_coco(root, "val")
    (root / "images" / "train" / "000000000003.jpg").unlink()
    with pytest.raises(InputError, match=r"000000000003\.jpg"):
        read_coco(root, "train")


def test_truncated_image_is_named(root):
    path = root / "images" / "train" / "000000000002.jpg"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"000000000002\.jpg"):
        cut_crops(read_coco(root, "train"), SIZE)


def test_network_affine_agrees_with_direct_crop(root):
    dataset = read_coco(root, "train")
    crops = cut_crops(dataset, SIZE)
    base = network_affine((crops.images.shape[2], crops.images.shape[1]), SIZE)
    direct = apply_affine(box_to_crop(dataset.boxes_xywh, SIZE, udp=True), dataset.xy_px)
    # Both axes share one scale here, UDP's differ by a part in a hundred.
    np.testing.assert_allclose(apply_affine(np.stack([base] * 6), crops.xy_px), direct, atol=0.6)


def test_cache_is_reused_and_partial_file_is_not(root, tmp_path):
    dataset = read_coco(root, "train")
    cache = tmp_path / "cache"
    first = cut_crops(dataset, SIZE, cache)
    np.testing.assert_array_equal(first.images, cut_crops(dataset, SIZE).images)
    (file,) = cache.glob("crops-*.npy")
    stamp = file.stat().st_mtime_ns
    cut_crops(dataset, SIZE, cache)
    assert file.stat().st_mtime_ns == stamp
    (root / "images" / "train" / "000000000002.jpg").write_bytes(b"")
    cut_crops(dataset, SIZE, cache)
    with pytest.raises(InputError):
        cut_crops(dataset.select(np.arange(5)), SIZE, cache)
    assert len(list(cache.glob("*.npy"))) == 1
    assert not list(cache.glob("*.partial"))


def test_perfect_predictions_have_full_ap(root):
    dataset = read_coco(root, "train")
    assert average_precision_percent(dataset, dataset.xy_px, np.ones(6)) == pytest.approx(100.0)
    assert average_precision_percent(dataset, dataset.xy_px + 500.0, np.ones(6)) == pytest.approx(0.0)


def test_kept_affines_invert(root):
    crops = cut_crops(read_coco(root, "train"), SIZE)
    back = apply_affine(invert_affine(crops.affines), crops.xy_px)
    np.testing.assert_allclose(back, crops.dataset.xy_px, atol=1e-8)
