"""What users hand in by mistake is refused in one sentence that names the file, the entry and the field."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.coco.files import read_detections, read_truth
from calibration.commands.calibrate_file import CalibrateFileApply
from calibration.commands.coco_eval import CocoEval
from pose2d.errors import InputError

KEYPOINTS = [v for k in range(17) for v in (10.0 * k, 5.0 * k, 2)]
ANNOTATIONS: dict[str, Any] = {
    "images": [{"id": 7}, {"id": 8}],
    "annotations": [
        {"id": 3, "image_id": 7, "category_id": 1, "keypoints": KEYPOINTS, "num_keypoints": 17}
        | {"bbox": [0, 0, 160, 80], "area": 2000.0, "iscrowd": 0},
        {"id": 4, "image_id": 8, "category_id": 1, "keypoints": KEYPOINTS, "num_keypoints": 17}
        | {"bbox": [0, 0, 160, 80], "area": 2000.0, "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "person"}],
}
RESULTS: list[dict[str, Any]] = [
    {"image_id": 7, "category_id": 1, "keypoints": KEYPOINTS, "score": 0.5},
    {"image_id": 8, "category_id": 1, "keypoints": KEYPOINTS, "score": 0.25},
]


def _entry(field: str, value: Any, index: int = 1) -> list[dict[str, Any]]:
    entries = copy.deepcopy(RESULTS)
    entries[index][field] = value
    return entries


def _without(field: str) -> list[dict[str, Any]]:
    entries = copy.deepcopy(RESULTS)
    del entries[1][field]
    return entries


BAD_RESULTS: dict[str, tuple[str, list[str]]] = {
    "not a list": (json.dumps({"annotations": RESULTS}), ["list", "object"]),
    "empty list": ("[]", ["no detections"]),
    "empty file": ("", ["is empty"]),
    "truncated": (json.dumps(RESULTS)[:-40], ["breaks off"]),
    "not JSON": ("image,score\n1,2\n" * 100, ["not a JSON"]),
    "deep": ("[" * 100_000, ["entry 0", "array"]),
    "deep inside": ('[{"x": ' + "[" * 100_000, ["not a JSON"]),
    "numbers": ("[1, 2, 3]", ["entry 0"]),
    "short keypoints": (json.dumps(_entry("keypoints", KEYPOINTS[:-1])), ["entry 1", "keypoints", "50 numbers", "51"]),
    "text keypoint": (json.dumps(_entry("keypoints", ["a", *KEYPOINTS[1:]])), ["entry 1", "keypoints[0]"]),
    "NaN keypoint": (json.dumps(_entry("keypoints", [*KEYPOINTS[:5], float("nan"), *KEYPOINTS[6:]])), ["keypoints[5]"]),
    "infinite score": (json.dumps(_entry("score", float("inf"))), ["entry 1", "field score", "inf"]),
    "minus infinite score": (json.dumps(_entry("score", float("-inf"))), ["entry 1", "field score", "inf"]),
    "overflowing score": (json.dumps(_entry("score", 0.125)).replace("0.125", "1e999"), ["entry 1", "field score"]),
    "null score": (json.dumps(_entry("score", None)), ["entry 1", "field score", "null"]),
    "no score": (json.dumps(_without("score")), ["entry 1", "field score", "missing"]),
    "no keypoints": (json.dumps(_without("keypoints")), ["entry 1", "field keypoints", "missing"]),
    "unknown image": (json.dumps(_entry("image_id", 9)), ["entry 1", "field image_id", "no image 9"]),
    "huge image id": (json.dumps(_entry("image_id", 1 << 70)), ["entry 1", "field image_id"]),
    "text image id": (json.dumps(_entry("image_id", "8")), ["entry 1", "field image_id"]),
    "boxes of some": (json.dumps(_entry("bbox", [1, 2, 3, 4], index=0)), ["entry 1", "field bbox", "missing"]),
    "other category": (json.dumps([{**r, "category_id": 2} for r in RESULTS]), ["category_id"]),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_bad_results_are_refused(tmp_path: Path, case: str) -> None:
    content, expected = BAD_RESULTS[case]
    path, out = tmp_path / "results.json", tmp_path / "out.json"
    path.write_text(content)
    (tmp_path / "truth.json").write_text(json.dumps(ANNOTATIONS))
    with pytest.raises(InputError) as refusal:
        CocoEval(tmp_path / "truth.json", (path,), json=out, plots=tmp_path / "plots").run()
    message = str(refusal.value)
    assert "results.json" in message
    assert "\n" not in message
    for words in expected:
        assert words in message, message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.json", "truth.json"], "nothing may be written"


def _annotation(field: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(ANNOTATIONS)
    content["annotations"][1][field] = value
    return content


BAD_ANNOTATIONS: dict[str, tuple[str, list[str]]] = {
    "a list": (json.dumps(RESULTS), ["annotation file", "array"]),
    "no images": (json.dumps({**ANNOTATIONS, "images": []}), ["images", "empty"]),
    "no annotations field": (json.dumps({"images": [{"id": 7}]}), ["annotations"]),
    "no annotations": (json.dumps({**ANNOTATIONS, "annotations": []}), ["annotations", "empty"]),
    "no keypoints": (
        json.dumps({**ANNOTATIONS, "annotations": [{"id": 1, "image_id": 7, "bbox": [0, 0, 1, 1], "area": 1}]}),
        ["annotation 0", "field keypoints", "person_keypoints"],
    ),
    "duplicate ids": (json.dumps(_annotation("id", 3)), ["annotation 1", "field id", "3", "twice"]),
    "short keypoints": (json.dumps(_annotation("keypoints", KEYPOINTS[:48])), ["annotation 1", "keypoints", "48"]),
    "one without keypoints": (json.dumps(_annotation("keypoints", None)), ["annotation 1", "keypoints", "missing"]),
    "NaN": (json.dumps(_annotation("keypoints", [float("nan")] * 51)), ["annotation 1", "keypoints[0]", "nan"]),
    "no area": (json.dumps(_annotation("area", None)), ["annotation 1", "field area"]),
    "negative area": (json.dumps(_annotation("area", -2.0)), ["annotation 1", "field area", "-2"]),
    "short box": (json.dumps(_annotation("bbox", [1, 2])), ["annotation 1", "field bbox"]),
    "text box": (json.dumps(_annotation("bbox", "1 2 3 4")), ["annotation 1", "field bbox"]),
    "two categories": (json.dumps(_annotation("category_id", 2)), ["category_id", "2 categories"]),
    "truncated": (json.dumps(ANNOTATIONS)[:200], ["breaks off"]),
    "binary": ("\x00" * 64, ["not a JSON"]),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
def test_bad_annotations_are_refused(tmp_path: Path, case: str) -> None:
    content, expected = BAD_ANNOTATIONS[case]
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(InputError) as refusal:
        read_truth(path)
    message = str(refusal.value)
    assert "truth.json" in message
    assert "\n" not in message
    for words in expected:
        assert words in message, message


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_truth(tmp_path / "none.json")
    with pytest.raises(InputError, match="directory"):
        read_truth(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        CalibrateFileApply(tmp_path / "none.json", tmp_path / "none.npz", tmp_path / "out.json").run()


@pytest.mark.parametrize("head", ["", "[", '[{"image_id": 1, "x": "'])
def test_two_gigabytes_that_are_not_json_are_refused_without_reading_them(tmp_path: Path, head: str) -> None:
    """The file is mapped, and its holes take no room on disk; the first wrong byte ends it."""
    import time

    path = tmp_path / "results.json"
    with open(path, "wb") as file:
        file.write(head.encode())
        file.truncate(2 << 30)
    start = time.process_time()
    with pytest.raises(InputError, match="not a JSON"):
        read_detections(path, read_truth(ANNOTATIONS))
    assert time.process_time() - start < 5


def test_the_command_line_says_one_sentence_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from run_fitting import main

    (tmp_path / "truth.json").write_text(json.dumps(ANNOTATIONS))
    (tmp_path / "results.json").write_text(json.dumps(_entry("image_id", 9)))
    files = ["--annotations", str(tmp_path / "truth.json"), "--results", str(tmp_path / "results.json")]
    for arguments in (["coco-eval", *files], ["calibrate-file", "fit", *files, "--out", str(tmp_path / "cal.npz")]):
        assert main(arguments) == 2
        said = capsys.readouterr().err.strip()
        assert said.count("\n") == 0
        assert "entry 1, field image_id" in said
    assert not (tmp_path / "cal.npz").exists()


def test_scores_of_any_range_are_legal_and_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(ANNOTATIONS))
    (tmp_path / "results.json").write_text(json.dumps(_entry("score", 472.0)))
    CocoEval(tmp_path / "truth.json", (tmp_path / "results.json",), json=tmp_path / "out.json", bootstrap=20).run()
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 instance confidences lie outside [0, 1] (from 0.5 to 472)" in printed
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows[0]["ece_instance"] is None
    assert rows[0]["AP"] == 1.0


def test_annotations_of_unlisted_images_are_left_out_as_in_pycocotools() -> None:
    content = copy.deepcopy(ANNOTATIONS)
    content["annotations"][1]["image_id"] = 99
    assert list(read_truth(content).ids) == [3]


def test_arrays_in_memory_are_read_like_files() -> None:
    truth = read_truth(ANNOTATIONS)
    results = [{**r, "keypoints": np.array(r["keypoints"]), "score": np.float32(r["score"])} for r in RESULTS]
    np.testing.assert_array_equal(read_detections(results, truth).xy_px, read_detections(RESULTS, truth).xy_px)
    results[1]["score"] = np.nan
    with pytest.raises(InputError, match="entry 1, field score"):
        read_detections(results, truth)


def test_segmentations_need_not_be_sound() -> None:
    """Fields that keypoint evaluation does not need are skipped, whatever they hold."""
    content = copy.deepcopy(ANNOTATIONS)
    content["annotations"][0]["segmentation"] = {"counts": "anything", "size": None}
    assert len(read_truth(content)) == 2
