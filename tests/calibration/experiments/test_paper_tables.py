"""The paper's tables run on any folder in COCO's layout and name what is missing."""

from __future__ import annotations

import json

import pytest

from calibration.experiments.options import TablesOptions
from calibration.experiments.paper_tables import FAMILIES, TABLE_1, TABLE_2, TABLE_3, TABLE_4, paper_tables
from pose2d.errors import InputError
from pose2d.networks.catalogue import NETWORKS
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stick")
    for seed, split in enumerate(("calibration", "validation", "test")):
        write_stick_figures(root, split, 8, seed, first_id=100 * seed + 1)
    return root


def test_tables_show_the_papers_numbers_beside_ours(root, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.experiments.paper_tables.FAMILIES", {"SBL": FAMILIES["SBL"]})
    options = TablesOptions(root, tmp_path, only=(1, 2, 3, 4, 5), cache=tmp_path / "cache", bootstrap=10, views=())
    one, two, three, four, five = list(paper_tables(options))
    published, ours = one.rows
    assert list(map(str, published[:2])) == ["SBL paper", "72.4"]
    assert ours[0] == "SBL ours" and "".join(map(str, ours)).count("[") == 5
    assert list(map(str, two.rows[0])) == ["SBL Hm paper", "72.4", "73.3", "+0.9", "75.6"]
    assert "coco_wholebody" in three.notes[0] and "MPII" in four.notes[0]
    assert five.title.startswith("Table 5")
    assert "8 persons of 8 images" in one.notes[-2]
    assert (tmp_path / "table_2.txt").read_text().startswith(two.title)
    (written,) = json.loads((tmp_path / "table_2.json").read_text())["tables"]
    assert written["rows"][0]["+ CCNet"] == pytest.approx(0.733) and written["rows"][1]["gain"].keys() >= {"low"}


def test_table_2_shows_both_confidences_of_ipr(root, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.experiments.paper_tables.FAMILIES", {"IPR": FAMILIES["IPR"]})
    (table,) = paper_tables(TablesOptions(root, tmp_path, only=(2,), cache=tmp_path / "cache", bootstrap=10, views=()))
    assert [list(map(str, row[:2])) for row in table.rows[::2]] == [
        ["IPR const. paper", "65.6"],
        ["IPR Hm paper", "69.5"],
    ]
    constant, maximum = (row[1].value for row in table.rows[1::2])
    assert constant != maximum


def test_unknown_table_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="--only 7"):
        list(paper_tables(TablesOptions(root, tmp_path, only=(7,))))


def test_no_weights_at_all(root, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.experiments.paper_tables.FAMILIES", {"SBL": "hrnet-w32"})
    with pytest.raises(InputError, match="train-pose"):
        list(paper_tables(TablesOptions(root, tmp_path, only=(1,), cache=tmp_path)))


def test_a_network_of_the_users_is_shown_beside_the_papers(root, tmp_path):
    from pose2d.networks.packaged import packaged_checkpoint

    common = {"cache": tmp_path / "cache", "bootstrap": 5, "views": (), "checkpoint": packaged_checkpoint("rle-small")}
    (table,) = paper_tables(TablesOptions(root, tmp_path, only=(2,), network="rle-small", **common))
    assert list(map(str, table.rows[0][:2])) == ["RLE Reg paper", "72.2"] and len(table.rows) == 2
    assert table.notes[-2].startswith("ours: rle-small on 8 persons")


def test_the_papers_numbers_belong_to_networks_of_the_catalogue():
    assert set(TABLE_1) < set(TABLE_2) < set(NETWORKS)
    # What CCNet gains in tables 2, 3 and 4 as the text gives it.
    gains = {(name, row): round(ccnet - own, 1) for name, rows in TABLE_2.items() for row, own, ccnet, _ in rows}
    assert gains["rle-r50", "Reg"] == 1.4 and gains["hrnet-w48", "Hm"] == 0.9 and gains["ipr-r50", "Hm"] == 1.3
    assert round(TABLE_3["+CCNet"][-1] - TABLE_3["Part"][-1], 1) == 2.3
    assert round(TABLE_3["Part"][1] - TABLE_3["Whole"][1], 1) == 5.3
    assert {family: round(rows["+CCNet"][2] - rows[""][2], 1) for family, rows in TABLE_4.items()} == {
        "RLE": 1.2,
        "SBL": 0.4,
    }
