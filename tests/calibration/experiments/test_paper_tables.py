"""The paper's tables run on any folder in COCO's layout and name what is missing."""

import pytest

from calibration.commands.ccnet_commands import Tables
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
    options = Tables(root, tmp_path, only=(1, 2, 3, 4, 5), cache=tmp_path / "cache", bootstrap=10, views=())
    one, two, three, four, five = list(paper_tables(options))
    assert "72.4" in one[2] and one[2].startswith("SBL paper")
    assert one[3].startswith("SBL ours") and one[3].count("[") == 5
    assert two[2].split()[:5] == ["SBL", "Hm", "paper", "72.4", "73.3"]
    assert "coco_wholebody" in three[0] and "MPII" in four[0]
    assert five[0].startswith("Table 5")
    assert "8 persons of 8 images" in one[-2]
    assert (tmp_path / "table_2.txt").read_text().splitlines() == two


def test_table_2_shows_both_confidences_of_ipr(root, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.experiments.paper_tables.FAMILIES", {"IPR": FAMILIES["IPR"]})
    (lines,) = paper_tables(Tables(root, tmp_path, only=(2,), cache=tmp_path / "cache", bootstrap=10, views=()))
    assert [line.split()[1:4] for line in lines[2:6:2]] == [["const.", "paper", "65.6"], ["Hm", "paper", "69.5"]]
    constant, maximum = (line.split()[3] for line in lines[3:6:2])
    assert constant != maximum


def test_unknown_table_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="--only 7"):
        list(paper_tables(Tables(root, tmp_path, only=(7,))))


def test_no_weights_at_all(root, tmp_path, monkeypatch):
    monkeypatch.setattr("calibration.experiments.paper_tables.FAMILIES", {"SBL": "hrnet-w32"})
    with pytest.raises(InputError, match="train-pose"):
        list(paper_tables(Tables(root, tmp_path, only=(1,), cache=tmp_path)))


def test_a_network_of_the_users_is_shown_beside_the_papers(root, tmp_path):
    from pose2d.networks.packaged import packaged_checkpoint

    common = {"cache": tmp_path / "cache", "bootstrap": 5, "views": (), "checkpoint": packaged_checkpoint("rle-small")}
    (lines,) = paper_tables(Tables(root, tmp_path, only=(2,), network="rle-small", **common))
    assert lines[2].split()[:4] == ["RLE", "Reg", "paper", "72.2"] and len(lines) == 6
    assert lines[-2].startswith("ours: rle-small on 8 persons")


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
