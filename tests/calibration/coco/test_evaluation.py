"""The rows of coco-eval: what each confidence is, what is reported of it, and how the command writes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr

from calibration import Confidence, evaluate_keypoints
from calibration.coco.accuracy import accuracy_of
from calibration.coco.files import read_detections, read_truth
from calibration.coco.matching import match
from calibration.commands.coco_eval import CocoEval
from pose2d.errors import InputError

KEYS = {
    *("name", "AP", "AP50", "AP75", "APM", "APL", "AR", "pearson_keypoint", "pearson_instance"),
    *("ece_keypoint", "ece_instance", "ause_keypoint", "ause_instance"),
}


@pytest.fixture
def litehrnet(shared_data: Path) -> tuple[Path, Path]:
    return shared_data / "litehrnet_500_gt.json", shared_data / "litehrnet_500_results.json"


def test_constant_given_oracle_are_in_order(litehrnet: tuple[Path, Path]) -> None:
    evaluation = evaluate_keypoints(*litehrnet, bootstrap=200)
    ap = {row.confidence_name: 100 * row.stats.AP for row in evaluation.rows}
    assert list(ap)[:4] == ["as given", "constant", "random", "oracle"]
    assert ap["constant"] == pytest.approx(79.6, abs=0.05)
    assert ap["as given"] == pytest.approx(83.3, abs=0.05)
    assert ap["oracle"] == pytest.approx(86.2, abs=0.1)
    assert (evaluation.num_images, evaluation.num_persons, evaluation.num_detections) == (500, 500, 500)
    given, oracle = evaluation["as given"], evaluation["oracle"]
    assert given.winnable == pytest.approx(given.stats.AR - given.stats.AP)
    assert oracle.keypoint is not None
    assert oracle.keypoint.pearson == pytest.approx(1)
    assert oracle.keypoint.ece == oracle.keypoint.ause == oracle.instance.brier == 0
    assert given.ap_difference is None
    for row in evaluation.rows[1:]:
        assert row.ap_difference is not None
        difference, paired = row.ap_difference
        assert paired is not None
        assert paired.low <= difference <= paired.high
        own = row.intervals["AP"]
        assert own.low < row.stats.AP < own.high
    paired = evaluation["constant"].ap_difference[1]
    own = evaluation["constant"].intervals["AP"]
    assert paired.high - paired.low < own.high - own.low, "the difference is paired, and so narrower"


def test_calibration_numbers_are_those_of_plain_loops(litehrnet: tuple[Path, Path]) -> None:
    annotations, results = (json.loads(path.read_text()) for path in litehrnet)
    persons = {p["image_id"]: p for p in annotations["annotations"]}
    sigmas = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
    confidence, oks = [], []
    for result in results:
        person = persons[result["image_id"]]
        found, true = (np.array(e["keypoints"]).reshape(17, 3) for e in (result, person))
        distance = np.linalg.norm(found[:, :2] - true[:, :2], axis=1)
        confidence.append(found[:, 2])
        oks.append(np.exp(-(distance**2) / (2 * person["area"] * (2 * sigmas) ** 2)))
    row = evaluate_keypoints(*litehrnet, bootstrap=0)["as given"]
    assert row.keypoint is not None
    assert row.keypoint.pearson == pytest.approx(pearsonr(np.ravel(confidence), np.ravel(oks)).statistic, abs=1e-9)
    score = [r["score"] for r in results]
    assert row.instance.pearson == pytest.approx(pearsonr(score, np.mean(oks, axis=1)).statistic, abs=1e-9)
    assert row.keypoint.count == 8500
    assert row.keypoint.outside == 17
    assert np.isnan(row.keypoint.ece)
    assert row.intervals == {}


def test_json_has_the_promised_keys(
    litehrnet: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out.json"
    CocoEval(litehrnet[0], (litehrnet[1],), json=out, plots=tmp_path / "plots", bootstrap=30).run()
    content = json.loads(out.read_text())
    assert {"rows", "num_images", "num_persons", "num_detections"} <= content.keys()
    for row in content["rows"]:
        assert row.keys() >= KEYS
        for key in KEYS - {"name"}:
            assert row[key] is None or -1 <= row[key] <= 1 or key.startswith("ause")
    given, constant = content["rows"][:2]
    assert given["ece_keypoint"] is None and given["APM"] is None and constant["pearson_keypoint"] is None
    assert given["AP"] == pytest.approx(0.833372579947304, abs=1e-12)
    assert len(given["intervals"]["AP"]) == 2
    printed = capsys.readouterr().out
    for words in ("as given", "83.3 [", "AR - AP", "Pearson", "17 of 8500 keypoint confidences lie outside"):
        assert words in printed
    pictures = {path.name for path in (tmp_path / "plots").iterdir()}
    names = ("precision_recall", "reliability", "sparsification", "keypoint_ece", "thresholds")
    assert pictures == {f"{name}.png" for name in names}


def test_bottom_up_files_have_no_keypoint_confidences(shared_data: Path) -> None:
    evaluation = evaluate_keypoints(
        shared_data / "val_subset250_gt.json",
        {
            "green": shared_data / "results_val_subset250_greenpose.json",
            "light": shared_data / "results_val_subset250_lightpose_ax642511.json",
        },
        bootstrap=0,
    )
    assert [row.confidence_name for row in evaluation.rows] == ["as given", "constant", "random", "oracle"] * 2
    assert evaluation["green: as given"].keypoint is None
    assert evaluation["light: constant"].ap_difference is not None, "differences are to the first row of all"
    assert any("flags" in note for note in evaluation.notes)
    assert evaluation["green: oracle"].stats.AP > evaluation["green: as given"].stats.AP
    with pytest.raises(KeyError, match="no row"):
        evaluation["blue"]


def test_further_confidences_are_rows(litehrnet: tuple[Path, Path]) -> None:
    results = json.loads(litehrnet[1].read_text())
    score = np.array([r["score"] for r in results])
    evaluation = evaluate_keypoints(*litehrnet, {"mine": Confidence(score * 0.5)}, bootstrap=0)
    assert evaluation["mine"].stats == evaluation["as given"].stats, "a monotone change ranks alike"
    with pytest.raises(InputError, match="shape"):
        evaluate_keypoints(*litehrnet, {"mine": Confidence(score[:10])}, bootstrap=0)
    with pytest.raises(InputError, match="finite"):
        evaluate_keypoints(*litehrnet, {"mine": Confidence(score * np.nan)}, bootstrap=0)


def test_categories_that_are_no_persons_do_not_shift_further_confidences(litehrnet: tuple[Path, Path]) -> None:
    results = json.loads(litehrnet[1].read_text())
    other = {**copy.deepcopy(results[0]), "category_id": 9}
    score = np.array([0.0, *(r["score"] for r in results)])
    evaluation = evaluate_keypoints(litehrnet[0], [other, *results], {"mine": Confidence(score)}, bootstrap=0)
    assert evaluation.num_detections == 500
    assert pytest.approx(0.833372579947304, abs=1e-12) == evaluation["mine"].stats.AP


def _scene() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Two people of one image who nearly coincide, and their detections, each closer to the other person."""
    base = np.array([[30.0 * k, 20.0 * k] for k in range(17)])
    persons, results = [], []
    for number, shift in enumerate((0.0, 6.0)):
        xy = base + shift
        keypoints = np.column_stack([xy, np.full(17, 2)]).ravel().tolist()
        box = [*(xy[0] - 5).tolist(), 490.0, 330.0]
        persons.append(
            {"id": number + 1, "image_id": 1, "category_id": 1, "keypoints": keypoints, "num_keypoints": 17}
            | {"bbox": box, "area": 1000.0, "iscrowd": 0}
        )
        swapped = np.column_stack([base + 6.0 - shift, np.full(17, 0.5)]).ravel().tolist()
        centre = [box[0] + box[2] / 2, box[1] + box[3] / 2]
        results.append({"image_id": 1, "category_id": 1, "keypoints": swapped, "score": 0.5 + number, "center": centre})
    return {"images": [{"id": 1}], "annotations": persons, "categories": [{"id": 1}]}, results


def test_top_down_detections_are_judged_by_their_own_person() -> None:
    annotations, results = _scene()
    truth = read_truth(annotations)
    by_centre = accuracy_of(match(truth, read_detections(results, truth)))
    assert by_centre.top_down
    assert list(by_centre.person) == [0, 1]
    assert (by_centre.oks < 0.9).all(), "each stands where the other person is"
    without = [{k: v for k, v in r.items() if k != "center"} for r in results]
    by_oks = accuracy_of(match(truth, read_detections(without, truth)))
    assert list(by_oks.person) == [1, 0]
    np.testing.assert_allclose(by_oks.oks, 1)


def test_other_detections_are_judged_by_the_best_person_and_speak_once() -> None:
    annotations, results = _scene()
    truth = read_truth(annotations)
    far = {**results[0], "keypoints": [v + 400 * (i % 3 != 2) for i, v in enumerate(results[0]["keypoints"])]}
    accuracy = accuracy_of(match(truth, read_detections([*results, far], truth)))
    assert not accuracy.top_down
    assert list(accuracy.person[:2]) == [1, 0]
    assert accuracy.judged.all()
    speaking = ~np.isnan(accuracy.keypoint_oks).all(axis=1)
    assert list(speaking) == [True, True, False], "a false alarm says nothing of keypoints"
    assert accuracy.oks[2] < 1e-6
    nobody = {**annotations, "annotations": [{**p, "num_keypoints": 0} for p in annotations["annotations"]]}
    truth = read_truth(nobody)
    accuracy = accuracy_of(match(truth, read_detections(results, truth)))
    assert not accuracy.judged.any()
    assert (accuracy.oks == 0).all()


def test_command_refuses_what_it_cannot_name(litehrnet: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="twice"):
        CocoEval(litehrnet[0], (litehrnet[1], litehrnet[1])).run()
    with pytest.raises(InputError, match="at least one"):
        CocoEval(litehrnet[0], ()).run()
    with pytest.raises(InputError, match="bootstrap"):
        CocoEval(litehrnet[0], (litehrnet[1],), bootstrap=-1).run()
