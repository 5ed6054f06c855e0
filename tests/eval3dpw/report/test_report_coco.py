import json

import numpy as np
import pytest

from calibration.coco.evaluation import evaluate_keypoints
from eval3dpw.report.coco_report import write_coco_report
from pose2d.errors import InputError

NAME = "<b>detector & co"


def coco_files():
    """Contents of an annotation file and of a results file: twelve persons whose scores fall with their errors."""
    rng = np.random.default_rng(0)
    truth, found = [], []
    for number in range(1, 13):
        xy = rng.uniform(20, 180, (17, 2))
        noise = rng.gamma(1.0, 6.0, 17)
        seen = np.c_[xy, np.full(17, 2)].ravel().tolist()
        common = {"image_id": number, "category_id": 1}
        box = {"bbox": [10, 10, 180, 180], "area": 20_000.0, "iscrowd": 0, "num_keypoints": 17}
        truth.append(common | box | {"id": number, "keypoints": seen})
        score = np.exp(-noise / 12)
        guessed = np.c_[xy + rng.normal(size=(17, 2)) * noise[:, None], score].ravel().tolist()
        found.append(common | {"keypoints": guessed, "score": float(score.mean())})
    file = {
        "images": [{"id": number, "width": 200, "height": 200} for number in range(1, 13)],
        "annotations": truth,
        "categories": [{"id": 1, "name": "person"}],
    }
    return file, found


@pytest.fixture(scope="module")
def evaluation():
    file, found = coco_files()
    return evaluate_keypoints(file, {NAME: found}, bootstrap=50)


def test_page_holds_every_row_and_escapes_names(evaluation, tmp_path):
    path = write_coco_report(evaluation, tmp_path / "coco.html", {"command": "coco-eval"})
    text = path.read_text(encoding="utf-8")
    assert "<b>detector" not in text and "&lt;b&gt;detector &amp; co" in text
    given = evaluation["as given"]
    for value in (given.stats.AP, given.stats.AR, given.winnable):
        assert f"{100 * value:.1f}" in text
    block = text.split('id="data">')[1].split("</script>")[0]
    data = json.loads(block)
    assert set(data["rows"]) == {row.confidence_name for row in evaluation.rows}
    score = data["confidence"]["scores"]["as given"]
    assert given.keypoint is not None
    assert score["ece"] == pytest.approx(given.keypoint.ece, abs=1e-4)
    assert score["ause"] == pytest.approx(given.keypoint.ause, abs=1e-4)
    assert score["pearson"] == pytest.approx(given.keypoint.pearson, abs=1e-4)
    assert data["confidence"]["count"] == given.keypoint.count


def test_page_cannot_replace_a_folder(evaluation, tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        write_coco_report(evaluation, tmp_path)
