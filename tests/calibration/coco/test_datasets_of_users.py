"""calibrate, ablate and tables on folders that are not the open world: COCO's, MPII's and COCO-WholeBody's layouts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from calibration import evaluate_keypoints
from calibration.ccnet.calibrate import calibrate
from calibration.ccnet.files import load_ccnet
from calibration.ccnet.options import CalibrateOptions
from calibration.ccnet.training import BRANCH_TRAININGS
from calibration.coco.wholebody import PART_COLUMNS
from calibration.experiments.ablations import ablate
from calibration.experiments.options import AblateOptions, TablesOptions
from calibration.experiments.paper_tables import TABLE_3, paper_tables
from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from tests.calibration.coco.test_wholebody import _second_opinion
from tests.dataset_figures import write_mpii_figures, write_wholebody_figures
from tests.stick_figures import write_stick_figures

SPLITS: dict[str, Any] = {
    "calibration_split": "train2017",
    "validation_split": None,
    "test_split": "val2017",
    "views": (),
}


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setitem(BRANCH_TRAININGS, "local", replace(BRANCH_TRAININGS["local"], epochs=2, members=1))


def checkpoint(path, keypoints):
    """A network that was never trained, which is all that the way through the files needs; its scores lie near 0.5."""
    state = build_network("sbl-small", keypoints).state_dict()
    state["final_layer.weight"] *= 100
    state["final_layer.bias"] += 0.5
    save_file(state, path, {"config": json.dumps({"heatmap_sigma": 1.2})})
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for seed, (split, count) in enumerate((("train2017", 8), ("val2017", 6))):
        write_stick_figures(root / "coco", split, count, seed, first_id=100 * seed + 1)
        shutil.move(root / "coco" / "images" / split, root / "coco" / split)  # as COCO's archives unpack
        write_mpii_figures(root / "mpii", split, count, seed)
        write_wholebody_figures(root / "wholebody", split, count, seed)
    for name, keypoints in (("mpii", 16), ("wholebody", 133)):
        checkpoint(root / f"{name}.safetensors", keypoints)
    return root


def test_coco_with_the_years_in_its_names(root, tmp_path):
    options = AblateOptions(
        root / "coco", tmp_path, what="targets", cache=tmp_path / "cache", bootstrap=5, pck=(0.2,), **SPLITS
    )
    ((table,),) = ablate(options)
    assert table.title.startswith("Targets: sbl-small, 6 persons of val2017, fitted on 8")
    assert [row[0] for row in table.rows] == ["raw", "CCNet for OKS", "CCNet for PCK@.2"]
    assert (tmp_path / "targets.txt").read_text().startswith(table.title)


def test_official_annotations(shared_data, tmp_path):
    """COCO's own labels of five val2017 images; the pictures are grey, since none are here."""
    import cv2

    name = "wholebody_example_gt.json"
    content = json.loads((shared_data / name).read_text())
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    for image in content["images"]:
        grey = np.full((image["height"], image["width"], 3), 128, dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "val2017" / image["file_name"]), grey)
    for stem in ("person_keypoints_val2017", "coco_wholebody_val_v1.0"):
        (tmp_path / "annotations" / f"{stem}.json").write_text(json.dumps(content))
    common: dict[str, Any] = {"validation_split": None, "views": ()}
    common |= dict.fromkeys(("calibration_split", "test_split"), "val2017")
    options = AblateOptions(tmp_path, tmp_path / "out", what="targets", cache=tmp_path / "cache", bootstrap=5, **common)
    ((table,),) = ablate(options)
    assert all(np.isfinite(cell.value) for cell in table.rows[0][1:])
    weights = checkpoint(tmp_path / "w.safetensors", 133)
    whole = TablesOptions(
        *(tmp_path, tmp_path / "out"),
        **(common | {"dataset": "wholebody", "network": "sbl-small", "checkpoint": weights}),
        only=(3,),
        cache=tmp_path / "cache",
        bootstrap=5,
    )
    (table,) = paper_tables(whole)
    assert [str(cell) for cell in table.rows[0][:2]] == ["Whole paper", "67.2"]


def test_table_4_of_mpii(root, tmp_path):
    common: dict[str, Any] = {"dataset": "mpii", "network": "sbl-small", "checkpoint": root / "mpii.safetensors"}
    options = TablesOptions(root / "mpii", tmp_path, cache=tmp_path / "cache", bootstrap=5, **common, **SPLITS)
    one, two, three, four, five = paper_tables(options)
    assert [len(table.rows) for table in (one, two, three, five)] == [0, 0, 0, 0]
    assert "coco_wholebody_val_v1.0.json" in three.notes[0] and "--dataset coco" in one.notes[0]
    published, calibrated, *ours = four.rows
    assert list(map(str, published)) == ["SBL paper", "88.5", "33.9", "77.3", "80.5", "3.90", "2.36"]
    assert list(map(str, calibrated)) == ["SBL +CCNet paper", "88.5", "33.9", "77.7", "80.5", "3.52", "1.95"]
    names = ["SBL raw", "SBL CCNet for OKS", "SBL CCNet for PCKh@.5", "SBL CCNet for PCKh@.1"]
    assert [row[0] for row in ours] == names
    assert "6 persons of 6 images, mpii, split val2017" in four.notes[-2]
    assert "SBL CCNet for PCKh@.1" in (tmp_path / "table_4.txt").read_text()


def test_table_3_of_wholebody_and_its_results_files(root, tmp_path):
    """Results with a score for every part, judged anew by `coco-eval`'s evaluation and by a second one."""
    weights = root / "wholebody.safetensors"
    common: dict[str, Any] = {"dataset": "wholebody", "network": "sbl-small", "checkpoint": weights}
    options = TablesOptions(
        root / "wholebody", tmp_path, only=(3,), cache=tmp_path / "cache", bootstrap=5, **common, **SPLITS
    )
    (table,) = paper_tables(options)
    assert table.columns[1:] == tuple(PART_COLUMNS)
    assert [float(str(value)) for value in table.rows[4][1:]] == list(TABLE_3["+CCNet"])
    truth = root / "wholebody" / "annotations" / "coco_wholebody_val2017_v1.0.json"
    annotations = json.loads(truth.read_text())
    scores = []
    for row, way in ((1, "whole"), (3, "part"), (5, "ccnet")):
        results = json.loads((tmp_path / f"wholebody_{way}.json").read_text())
        evaluation = evaluate_keypoints(annotations, results, dataset="wholebody", bootstrap=0)
        ap = {one.part: one.stats.AP for one in evaluation.rows if one.confidence_name == "as given"}
        for part, value in ap.items():
            assert value == pytest.approx(_second_opinion(annotations, results, part)[0], abs=1e-9)
        expected = [np.mean([ap[part] for part in parts]) for parts in PART_COLUMNS.values()]
        assert [cell.value for cell in table.rows[row][1:]] == pytest.approx(expected, abs=1e-9)
        scores.append([[entry[key] for key in ("foot_score", "face_score", "wholebody_score")] for entry in results])
        fields = {"lefthand_score", "righthand_score", "score", "lefthand_kpts"}
        assert fields <= results[0].keys() and len(results[0]["face_kpts"]) == 3 * 68
    whole, of_part, ccnet = map(np.array, scores)
    assert (whole == whole[:, :1]).all() and not np.allclose(of_part, whole) and not np.allclose(of_part, ccnet)
    np.testing.assert_allclose(whole[:, 2], of_part[:, 2])


def test_ccnet_of_another_keypoint_set(root, tmp_path):
    options = CalibrateOptions(
        root / "mpii",
        tmp_path / "c.safetensors",
        dataset="mpii",
        checkpoint=root / "mpii.safetensors",
        cache=tmp_path / "cache",
        split="train2017",
        head="scores",
        views=(),
    )
    calibrate(options)
    assert load_ccnet(tmp_path / "c.safetensors").spec.skeleton == "mpii16"


def test_what_does_not_fit_is_named(root, tmp_path):
    def run(data, **changes):
        return list(paper_tables(TablesOptions(root / data, tmp_path, cache=tmp_path / "cache", **(SPLITS | changes))))

    with pytest.raises(InputError, match="name a --network and its --checkpoint"):
        run("mpii", dataset="mpii", only=(4,))
    with pytest.raises(InputError, match="have COCO's 17 keypoints and 16 are needed"):
        run("mpii", dataset="mpii", only=(4,), network="sbl-small")
    with pytest.raises(InputError, match="there is no network 'sbl'"):
        run("mpii", dataset="mpii", only=(4,), network="sbl", checkpoint=root / "mpii.safetensors")
    with pytest.raises(InputError, match=r"wholebody\.safetensors"):
        run("mpii", dataset="mpii", only=(4,), network="sbl-small", checkpoint=root / "wholebody.safetensors")
    with pytest.raises(InputError, match=r"no such file: .*train2017\.json"):
        run("coco", dataset="mpii", only=(4,), network="sbl-small", checkpoint=root / "mpii.safetensors")
    with pytest.raises(InputError, match=r"none of coco_wholebody_val2017\.json"):
        weights = root / "wholebody.safetensors"
        changes = {"calibration_split": "val2017", "network": "sbl-small", "checkpoint": weights}
        run("coco", dataset="wholebody", only=(3,), **changes)
    with pytest.raises(InputError, match="name the --network"):
        run("coco", only=(1,), checkpoint=root / "mpii.safetensors")


def test_wrong_number_of_keypoints_is_refused(root, tmp_path):
    shutil.copytree(root / "wholebody", tmp_path / "w")
    path = tmp_path / "w" / "annotations" / "coco_wholebody_val2017_v1.0.json"
    content = json.loads(path.read_text())
    content["annotations"][2]["face_kpts"] = content["annotations"][2]["face_kpts"][:-3]
    path.write_text(json.dumps(content))
    weights = root / "wholebody.safetensors"
    common: dict[str, Any] = {"dataset": "wholebody", "network": "sbl-small", "checkpoint": weights}
    options = TablesOptions(tmp_path / "w", tmp_path, only=(3,), cache=tmp_path / "cache", **common, **SPLITS)
    with pytest.raises(InputError, match="holds 396 numbers; 399 finite ones"):
        list(paper_tables(options))
    del content["annotations"][2]["face_kpts"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"lacks a field or has a wrong one \('face_kpts'\)"):
        list(paper_tables(options))
