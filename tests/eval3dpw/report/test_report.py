import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import roma
import torch

from eval3dpw.drawing.overlay import photo_panel
from eval3dpw.report.bodies import fitted_mesh, moving_mesh, pose_rows
from eval3dpw.report.page import json_block
from eval3dpw.report.pictures import PANEL_PX, choose_frames
from eval3dpw.report.run_data import evenly, load_run
from eval3dpw.report.run_report import ReportLimits, command_line, error_series, write_report
from eval3dpw.report.scene import MovingMesh, pack, scene_record, unpack
from eval3dpw.results.frame_errors import FrameTable, tabulate_errors
from eval3dpw.results.layout import ERRORS_FOLDER
from fitting.bodies.body import load_body
from pose2d.errors import InputError
from tests.eval3dpw.small_runs import ROWS, write_run

HOSTILE = '<script>alert("é&1")<'  # no slash: it names files too


class Page(HTMLParser):
    """Elements, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if tag == "script" and dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "data":
            self.data += data
        elif self._inside not in ("script", "style"):
            self.text.append(data)

    def __contains__(self, words):
        return words in " ".join(" ".join(self.text).split())


@pytest.fixture
def make_run(tmp_path, write_sequence, make_sequence):
    def make(name="walk", frames=3, images=True, **more):
        path = write_sequence(tmp_path / "root", make_sequence(name, frames=frames), images=images)
        return write_run(tmp_path / "root", tmp_path / "out", [path], **more)

    return make


SMALL = ReportLimits(pictures=1)


def page_of(folder, limits=SMALL):
    return Page(write_report(folder, limits=limits).read_text(encoding="utf-8"))


def test_page_needs_nothing_from_outside(make_run):
    page = page_of(make_run())
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
    policy = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert policy and policy[0].startswith("default-src 'none'")


def test_page_holds_the_run(make_run):
    folder = make_run()
    page = page_of(folder)
    data = json.loads(page.data)
    assert data["rows"] == list(ROWS) and data["shown"] == "ccnet"
    summary = json.loads((folder / "summary.json").read_text())
    for row in summary["rows"]:
        assert f"{row['mpjpe_mm']:.1f}" in page
    assert len(data["series"][0]["errors"]["raw"]["pa_mpjpe_mm"]) == 3
    assert np.mean(data["series"][0]["errors"]["raw"]["mpjpe_mm"]) == pytest.approx(
        summary["rows"][1]["mpjpe_mm"], abs=0.1
    )
    assert set(data["confidence"]["scores"]) == {"raw", "ccnet"}
    assert {one["row"] for one in data["convergence"]} == {"raw", "ccnet"}
    assert data["convergence"][0]["ended"][-1] == 1
    assert data["scenes"][0]["rows"] == [*ROWS, "truth"]
    assert data["frames"] and all(set(frame["overlays"]) == set(ROWS) for frame in data["frames"])
    told = [f"{row['acceleration_error_mm']:.1f}" for row in summary["rows"]]
    assert "acceleration error" in page and all(number in page for number in told)
    assert "left wrist" in page and "run_fitting.py compare --root" in page


def test_hostile_names_are_escaped(make_run):
    folder = make_run(HOSTILE)
    text = write_report(folder, limits=SMALL).read_text(encoding="utf-8")
    assert HOSTILE not in text and 'alert("' not in text
    page = Page(text)
    assert HOSTILE in page  # as text
    assert json.loads(page.data)["series"][0]["track"] == f"{HOSTILE}_0"
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert len(scripts) == 4


def test_json_cannot_end_its_element():
    block = json_block({"a": "</script><!--\u2028&", "b": float("nan"), "c": [float("inf"), 1.5]})
    assert not set(block) & set("<>&\u2028")
    assert json.loads(block) == {"a": "</script><!--\u2028&", "b": None, "c": [None, 1.5]}


def test_without_images_the_numbers_stay(make_run):
    page = page_of(make_run(images=False))
    assert "image of this frame is not there" in page
    data = json.loads(page.data)
    assert data["series"] and data["frames"][0]["overlays"]["ccnet"].startswith("data:image/webp")


def test_beyond_the_images_border_it_is_hatched():
    image = np.full((100, 200, 3), 77, np.uint8)
    panel = photo_panel(image, np.array([[1.0, 0, 60], [0, 1.0, 50]]), PANEL_PX)  # the image's corner comes to (60, 50)
    assert (panel[50:150, 60:260] == 77).all()
    outside = np.concatenate([panel[:49].ravel(), panel[151:].ravel(), panel[:, :59].ravel(), panel[:, 261:].ravel()])
    assert outside.min() >= 200 and len(np.unique(outside)) == 2


def test_without_the_dataset_the_table_stays(make_run, tmp_path):
    folder = make_run()
    (tmp_path / "root").rename(tmp_path / "moved")
    page = page_of(folder)
    assert "dataset of this run is not there" in page
    data = json.loads(page.data)
    assert data["series"] == [] and data["scenes"][0]["rows"] == list(ROWS)
    assert "ccnet" in page
    again = Page(write_report(folder, root=tmp_path / "moved", limits=SMALL).read_text(encoding="utf-8"))
    assert json.loads(again.data)["series"]


def test_without_fits_the_table_stays(make_run):
    folder = make_run()
    (folder / "fits").rename(folder / "elsewhere")
    page = page_of(folder)
    assert "fits of this run are not there" in page and "ccnet" in page


def test_one_frame(make_run):
    data = json.loads(page_of(make_run(frames=1)).data)
    assert data["series"][0]["frame_ids"] == [0]
    assert data["scenes"][0]["frame_ids"] == [0]


def test_skeleton_that_nobody_knows(make_run):
    data = json.loads(page_of(make_run(skeleton="fingers", points=5)).data)
    assert data["frames"] and data["confidence"]["count"] == 15


def test_long_runs_are_sampled_and_the_page_says_so(make_run):
    limits = ReportLimits(error_frames=4, points=3, scene_frames=5, pictures=1)
    page = page_of(make_run(frames=12), limits)
    data = json.loads(page.data)
    assert data["series"][0]["frame_ids"] == [0, 7, 11] and len(data["scenes"][0]["frame_ids"]) == 5
    assert "4 frames spread evenly over 12" in page and "at most 3 frames" in page
    assert "has 5 of its 12 frames" in page


def test_frames_of_several_tracks_are_shown_before_two_of_one():
    def table(name, errors):
        errors_mm = {"mpjpe_mm": np.array([errors], float)}
        return FrameTable(name, name, np.arange(len(errors)), ("raw",), errors_mm, (), np.zeros((1, len(errors), 0)))

    tables = [table("a", [9, 8, 7]), table("b", [1, 2])]
    chosen = choose_frames(tables, {}, "raw", each=3)
    assert [(one.track, one.frame_id) for one in chosen] == [("a", 0), ("b", 1), ("a", 1)]
    assert chosen[0].reason == "worst: 9 mm by raw"


def test_ten_thousand_frames_are_sampled_evenly_and_the_page_says_so():
    chosen = evenly(10_000, 400)
    assert len(chosen) == 400 and chosen[0] == 0 and chosen[-1] == 9_999 and np.ptp(np.diff(chosen)) <= 1

    errors = np.random.default_rng(0).uniform(20, 200, (8, 10_000))
    rows = (*ROWS, *"abcde")
    by_metric = {"mpjpe_mm": errors, "pa_mpjpe_mm": errors / 2, "mve_mm": errors}
    table = FrameTable("t", "t", np.arange(10_000), rows, by_metric, (), np.zeros((8, 10_000, 0)))
    told = []
    series = error_series([table], ReportLimits(), told)
    assert series[0]["frame_ids"] == chosen.tolist()
    assert series[0]["errors"]["raw"]["mpjpe_mm"] == pytest.approx(errors[1, chosen], abs=0.051)
    assert told == ["Error against time shows at most 400 frames of a track (the longest has 10,000)."]
    assert len(json.dumps(series)) < 200_000


def test_errors_that_the_run_kept_are_taken(make_run):
    folder = make_run()
    run = load_run(folder)
    table = tabulate_errors(run.track("walk_0"), run.fits("walk_0"), run.protocol, run.find_body)
    other = replace(table, errors_mm={name: values + 1000 for name, values in table.errors_mm.items()})
    other.save(folder / ERRORS_FOLDER)
    assert FrameTable.load(folder / ERRORS_FOLDER / "walk_0.npz").rows == tuple(ROWS)
    assert min(json.loads(page_of(folder).data)["series"][0]["errors"]["raw"]["mpjpe_mm"]) > 1000


def test_packed_meshes_are_where_they_were(make_run):
    run = load_run(make_run())
    meshes = pose_rows(run, "walk_0", run.fits("walk_0"), np.arange(3))
    packed = pack(meshes, tolerance_m=0.001)
    worst = 0.0
    for number, mesh in enumerate(meshes.values()):
        for frame in range(3):
            local = unpack(packed, number, frame)
            placed = local @ mesh.orientation[frame].T + mesh.pelvis[frame]
            worst = max(worst, float(np.linalg.norm(placed - mesh.vertices[frame], axis=1).max()))
    assert worst < 0.001
    assert worst == pytest.approx(packed.error_m, abs=1e-5)


def test_hundred_frames_of_eight_rows_take_less_than_15_mb():
    rng = np.random.default_rng(0)
    body = load_body()
    vectors = np.cumsum(rng.normal(0, 0.02, (100, 24, 3)), axis=0)
    meshes = {}
    for row in range(8):  # init, six weightings, truth
        turn = roma.rotvec_to_rotmat(torch.tensor(vectors + rng.normal(0, 0.05, vectors.shape))).float()
        meshes[str(row)] = moving_mesh(body, turn, torch.zeros(100, 10), torch.zeros(100, 3))
    record = scene_record("t", np.arange(100), meshes, body.faces)
    assert len(json.dumps(record)) < 7e6  # of the 15 MB that a page may have, pictures and all
    assert record["error_mm"] < 20  # a walk of chance in 24 joints, far wilder than a person


def test_meshes_of_different_sizes_are_refused():
    def mesh(vertices):
        return MovingMesh(np.zeros((2, vertices, 3)), np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1)))

    with pytest.raises(InputError, match="2 different sizes"):
        pack({"a": mesh(5), "b": mesh(6)})


def test_command_is_spelt_out(make_run):
    run = load_run(make_run())
    assert command_line(run).startswith("run_fitting.py compare --root ")
    assert command_line(run).endswith("--split test --flip")


def test_what_is_no_run_is_told(tmp_path, make_run):
    with pytest.raises(InputError, match="no such directory"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no finished run"):
        load_run(tmp_path)
    (tmp_path / "summary.json").write_text("[1]")
    with pytest.raises(InputError, match="lacks protocol, rows, tracks"):
        load_run(tmp_path)


def test_page_cannot_replace_a_folder(make_run, tmp_path):
    with pytest.raises(InputError, match="is a directory: name the page"):
        write_report(make_run(), tmp_path)


def test_row_without_one_frames_body(make_run):
    folder = make_run()
    (folder / "fits" / "raw" / "walk_0.npz").unlink()
    data = json.loads(page_of(folder).data)
    assert set(data["series"][0]["errors"]) == {"init", "ccnet"}


def test_mesh_is_the_bodys(make_run):
    run = load_run(make_run())
    fit = run.fits("walk_0")["raw"]
    mesh = fitted_mesh(load_body(), fit, fit.frame_ids[:1])
    with torch.no_grad():
        posed = load_body()(
            *(torch.as_tensor(a[:1]).float() for a in (fit.fits.rotations, fit.fits.betas, fit.fits.translation))
        )
    assert np.array_equal(mesh.vertices, posed.vertices.numpy())
