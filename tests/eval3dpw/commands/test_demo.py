import json

import cv2
import pytest

import run_fitting
from fitting.regressor.model import PACKAGED_REGRESSOR
from tests.headless_browser import Browser, find_browser


def assert_opens(page, profile, num_tracks):
    """The page shows every track and nothing is wrong with it; only looked into where there is no browser."""
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,") >= 4 and "scene-canvas" in text
    if (path := find_browser()) is None:
        return
    with Browser(path, profile, 1440, 900) as browser:
        browser.open(page.as_uri())
        assert browser.run("document.querySelectorAll('[data-table=sequences] tbody tr').length") == num_tracks
        browser.run("document.getElementById('scene-canvas').scrollIntoView()")
        browser.wait_for("document.getElementById('scene-canvas').dataset.drawn === 'ccnet truth @0'")
        assert browser.problems == []


@pytest.mark.slow
def test_demo_makes_a_world_compares_and_draws(tmp_path, capsys):
    """The whole way with the packaged networks, on two frames of each track."""
    if not PACKAGED_REGRESSOR.is_file():
        pytest.skip("the packaged regressor is not in this checkout")
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--weightings", "raw", "ccnet", "--limit", "2", "--pictures", "3"]
    assert run_fitting.main(arguments) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert [row["weighting"] for row in summary["rows"]] == ["init", "raw", "ccnet"]
    assert summary["num_tracks"] >= 6
    assert summary["num_frames"] == 2 * summary["num_tracks"]
    pictures = sorted((out / "pictures").glob("*.png"))
    assert len(pictures) == 3
    assert cv2.imread(str(pictures[0])).shape == (344, 1600, 3)
    printed = capsys.readouterr().out.replace("\n", "")
    assert str(out / "pictures") in printed and str(out / "report.html") in printed
    assert_opens(out / "report.html", tmp_path / "profile", len(summary["tracks"]))

    again = (out / "summary.json").stat().st_mtime
    world = (out / "world-0" / "world.json").stat().st_mtime
    assert run_fitting.main(arguments) == 0
    assert (out / "world-0" / "world.json").stat().st_mtime == world
    assert (out / "summary.json").stat().st_mtime > again
    assert json.loads((out / "summary.json").read_text())["rows"] == summary["rows"]


def test_a_folder_that_is_no_finished_world_is_not_touched(tmp_path, capsys):
    (tmp_path / "world-0").mkdir()
    (tmp_path / "world-0" / "mine.txt").write_text("keep")
    assert run_fitting.main(["demo", "--out", str(tmp_path)]) == 2
    assert "no finished world" in capsys.readouterr().err
    assert (tmp_path / "world-0" / "mine.txt").read_text() == "keep"
