"""Files as people really have them, against pycocotools: each gives its numbers, or one sentence with the remedy."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as pycocotools_mask

from calibration import evaluate_keypoints
from calibration.coco.files import read_detections, read_truth
from calibration.coco.masks import mask_area
from calibration.coco.matching import average_precision, match
from calibration.commands.coco_eval import CocoEval
from pose2d.errors import InputError
from tests.calibration.coco.test_matching import _pycocotools


def _files(seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Some persons, most of them labelled, and a detection of each; every fifth one far off."""
    rng = np.random.default_rng(seed)
    images = [{"id": int(number), "file_name": f"{number}.jpg"} for number in 100 + rng.permutation(20)]
    annotations, results = [], []
    for number in range(60):
        size = float(rng.uniform(20, 200))
        corner = rng.uniform(0, 400, 2)
        xy = corner + rng.random((17, 2)) * size
        visibility = rng.integers(0, 3, 17)
        image = images[number % 20]["id"]
        annotations.append(
            {"id": number + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "area": size * size / 2}
            | {"keypoints": np.c_[xy, visibility].ravel().tolist(), "num_keypoints": int((visibility > 0).sum())}
            | {"bbox": [*corner.tolist(), size, size]}
        )
        xy = xy + rng.normal(0, 0.06 * size, (17, 2)) + (number % 5 == 0) * 300
        score = float(rng.random())
        results.append(
            {"image_id": image, "category_id": 1, "score": score}
            | {"keypoints": np.c_[xy, np.full(17, score)].ravel().tolist()}
        )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}, results


def _ours(annotations: Any, results: Any) -> np.ndarray:
    truth = read_truth(annotations)
    return average_precision(match(truth, read_detections(results, truth))).as_array()


def _assert_equal(annotations: Any, results: Any) -> None:
    expected = _pycocotools(annotations, results).stats
    assert 0.05 < expected[0] < 0.95
    np.testing.assert_allclose(_ours(annotations, results), expected, rtol=0, atol=1e-12)


def test_whole_numbers_written_as_floats() -> None:
    annotations, results = _files()
    for person in annotations["annotations"]:
        person |= {key: float(person[key]) for key in ("id", "image_id", "num_keypoints", "category_id", "iscrowd")}
    for entry in results:
        entry |= {key: float(entry[key]) for key in ("image_id", "category_id")}
    _assert_equal(annotations, results)


@pytest.mark.parametrize("field", ["id", "image_id", "category_id"])
def test_numbers_between_whole_ones_are_refused(field: str) -> None:
    annotations, _ = _files()
    for person in annotations["annotations"]:
        person[field] += 0.5
    with pytest.raises(InputError, match=rf"field {field}: .*\.5 is not a whole number"):
        read_truth(annotations)


def _with_text_ids(annotations: dict[str, Any], results: list[dict[str, Any]]) -> None:
    for image in annotations["images"]:
        image["id"] = f"frame_{image['id']}"
    for entry in annotations["annotations"] + results:
        entry["image_id"] = f"frame_{entry['image_id']}"


def test_image_ids_that_are_text() -> None:
    annotations, results = _files()
    _with_text_ids(annotations, results)
    for entry in results:
        entry["score"] = round(entry["score"], 1)  # ties: the order of the images decides
    _assert_equal(annotations, results)
    evaluation = evaluate_keypoints(annotations, results, bootstrap=5)
    assert pytest.approx(_pycocotools(annotations, results).stats[0], abs=1e-12) == evaluation["as given"].stats.AP


def test_image_ids_that_are_text_in_one_file_alone() -> None:
    annotations, results = _files()
    _with_text_ids({"images": [], "annotations": []}, results)
    with pytest.raises(InputError, match="entry 0, field image_id: image ids are text here and numbers among the im"):
        _ours(annotations, results)
    annotations, results = _files()
    annotations["annotations"][3]["image_id"] = "7"
    with pytest.raises(InputError, match="annotation 3, field image_id: '7' is text where other ids are numbers"):
        read_truth(annotations)


def _encode(mask: np.ndarray) -> dict[str, Any]:
    encoded = pycocotools_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def test_areas_of_masks() -> None:
    """Results with masks and without boxes: pycocotools takes the mask's area, which decides APM and APL."""
    annotations, results = _files()
    without = _pycocotools(annotations, results).stats
    rng = np.random.default_rng(1)
    for entry in results:
        mask = np.zeros((480, 640), dtype=bool)
        mask[: rng.integers(10, 400), : rng.integers(10, 400)] = True
        entry["segmentation"] = _encode(mask)
    _assert_equal(annotations, results)
    assert not np.allclose(_ours(annotations, results), without, atol=1e-6)
    for entry in results:  # a box goes before the mask
        entry["bbox"] = [0, 0, 50, 50]
    _assert_equal(annotations, results)


@pytest.mark.parametrize("seed", range(20))
def test_mask_area_is_that_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 300, 2)
    mask = np.repeat(rng.random((height, (width + 6) // 7)) < rng.random(), 7, axis=1)[:, :width]
    encoded = _encode(mask)
    assert mask_area(encoded, "file: entry 0") == mask.sum()
    changes = np.flatnonzero(np.diff(mask.ravel(order="F"))) + 1
    counts = np.diff(np.r_[0, changes, mask.size]).tolist()
    counts = [0, *counts] if mask[0, 0] else counts
    assert mask_area({"size": [int(height), int(width)], "counts": counts}, "file: entry 0") == mask.sum()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3, 4, 5, 6]],
        {"size": [10, 10], "counts": "\x7f" * 40},
        {"size": [10, 10], "counts": "o" * 40},
        {"size": [10, 10], "counts": "é"},
        {"size": [10, 10], "counts": [50, 51]},
        {"size": [10, 10], "counts": [-1, 5]},
        {"size": [10, 10], "counts": [[1]]},
        {"size": [10], "counts": [1]},
        {"size": [1e30, 1e30], "counts": [1e300]},
        {"counts": "0"},
    ],
)
def test_bad_masks_are_refused(segmentation: Any) -> None:
    annotations, results = _files()
    for entry in results:
        entry["segmentation"] = segmentation
    with pytest.raises(InputError, match="entry 0, field segmentation: "):
        _ours(annotations, results)


def test_annotations_without_area_name_the_option(tmp_path: Path) -> None:
    annotations, results = _files()
    for person in annotations["annotations"]:
        del person["area"]
    with pytest.raises(InputError, match="annotation 0, field area: it is missing; --no-use-area takes"):
        read_truth(annotations)
    for name, content in (("truth.json", annotations), ("results.json", results)):
        (tmp_path / name).write_text(json.dumps(content))
    files = tmp_path / "truth.json", (tmp_path / "results.json",)
    CocoEval(*files, use_area=False, bootstrap=0, json=tmp_path / "out.json").run()
    for person in annotations["annotations"]:
        person["area"] = 0.53 * person["bbox"][2] * person["bbox"][3]
    row = json.loads((tmp_path / "out.json").read_text())["rows"][0]
    assert row["AP"] == pytest.approx(_pycocotools(annotations, results).stats[0], abs=1e-12)


def test_entries_of_other_categories_need_no_keypoints() -> None:
    annotations, results = _files()
    for entry in results:
        entry["bbox"] = [0, 0, 50, 50]
    others = [{"image_id": 100, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.9} for _ in range(4)]
    mixed = results[:7] + others + results[7:]
    _assert_equal(annotations, mixed)
    truth = read_truth(annotations)
    assert read_detections(mixed, truth).entries.tolist() == [*range(7), *range(11, 64)]


def test_persons_with_an_empty_list_of_keypoints() -> None:
    annotations, results = _files()
    for person in annotations["annotations"][::4]:
        person |= {"keypoints": [], "num_keypoints": 0}
    _assert_equal(annotations, results)


def test_a_category_that_the_file_does_not_list_is_noted() -> None:
    annotations, results = _files()
    annotations["categories"] = [{"id": 2, "name": "person"}]
    assert (_pycocotools(annotations, results).stats == -1).all()
    evaluation = evaluate_keypoints(annotations, results, bootstrap=0)
    assert any("categories do not list 1" in note and "pycocotools gives -1" in note for note in evaluation.notes)
    annotations["categories"] = [{"id": 1, "name": "person"}]
    expected = _pycocotools(annotations, results).stats[0]
    assert pytest.approx(expected, abs=1e-12) == evaluation["as given"].stats.AP


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gzip"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    annotations, results = _files()
    annotations["images"][0]["file_name"] = "Müller.jpg"
    expected = _pycocotools(annotations, results).stats
    paths = tmp_path / "truth.json", tmp_path / "results.json"
    for path, content in zip(paths, (annotations, results)):
        text = json.dumps(content, ensure_ascii=False)
        path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
    np.testing.assert_allclose(_ours(*paths), expected, rtol=0, atol=1e-12)


def test_damaged_encodings_are_refused(tmp_path: Path) -> None:
    text = json.dumps(_files()[1])
    path = tmp_path / "results.json"
    for content, words in (
        (gzip.compress(text.encode())[:-100], "results.json is not JSON"),
        (gzip.compress(b"[" + b" " * (200 << 20) + b"]"), "unpacks to more than"),
        (text.encode("utf-16")[:-1], "begins like UTF-16 text and is not"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_detections(path, None)


def test_wherever_a_number_is_wrong_the_entry_is_named() -> None:
    """Lists are read some hundred at a time; a wrong one is found in any batch, beside lists of the right length."""
    annotations, results = _files()
    results = [copy.deepcopy(entry) for _ in range(10) for entry in results]
    for place in (0, 159, 160, 599):
        for wrong, words in (
            (["a", *results[0]["keypoints"][1:]], r"field keypoints\[0\]: expected float, got str"),
            ([[], [1.0, 2.0], *results[0]["keypoints"][2:]], r"field keypoints\[0\]: expected float, got array"),
            (results[0]["keypoints"][1:], "field keypoints: 50 numbers where 51 are needed"),
            ({"x": 1}, "field keypoints: expected array, got object"),
            (None, "field keypoints: it is missing where 51 numbers"),
            ([True] * 51, r"field keypoints\[0\]: expected float, got bool"),
        ):
            changed = list(results)
            changed[place] = results[place] | {"keypoints": wrong}
            with pytest.raises(InputError, match=f"entry {place}, {words}"):
                _ours(annotations, changed)
