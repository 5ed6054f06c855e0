"""What CCNet adds to a network, as `networks` prints it."""

from __future__ import annotations

import json

import pytest

from calibration.ccnet.cost import measure_ccnet
from calibration.commands.networks import NetworksWithCCNet
from pose2d.skeletons import MPII16


@pytest.mark.parametrize(
    ("name", "channels", "cells"), [("sbl-r50", 256, 64 * 48), ("hrnet-w32", 32, 64 * 48), ("rle-r50", 2048, 8 * 6)]
)
def test_convolutional_branch_counted_by_hand(name, channels, cells):
    """Pooled to half the size: 1x1 to 16, 1x1 to 64, two 3x3 of 64, and a layer of 6 numbers for 17 keypoints."""
    cost = measure_ccnet(name, "conv")
    weights = channels * 16 + 16 * 64 + 2 * 9 * 64 * 64
    assert cost.parameters == weights + 16 + 3 * 64 + (64 + 1) * 6 * 17
    pooled = cells // 4
    assert cost.macs == pytest.approx(weights * pooled + 64 * 6 * 17, abs=1)
    # Table 2 of the paper: + 0.08 M and + 0.06 GFLOPs for SBL, HRNet and ViTPose alike.
    assert name == "rle-r50" or cost.macs / 1e9 == pytest.approx(0.06, abs=0.005)


@pytest.mark.parametrize("name", ["sbl-r50", "hrnet-w32", "rle-r50", "poseur-r50", "sbl-small"])
def test_local_branch_stays_within_the_papers_cost(name):
    cost = measure_ccnet(name, "local")
    assert cost.parameters < 0.085e6
    assert cost.macs < 0.06e9


def test_other_keypoints_and_inputs():
    wide = measure_ccnet("sbl-r50", "conv", MPII16, (256, 256))
    usual = measure_ccnet("sbl-r50", "conv")
    assert usual.parameters - wide.parameters == (64 + 1) * 6
    assert (wide.macs - 64 * 6 * 16) / (usual.macs - 64 * 6 * 17) == pytest.approx(256 / 192)


def test_networks_shows_it_beside_each(tmp_path, capsys):
    NetworksWithCCNet(tmp_path / "n.json", ("sbl-small",), head="conv").run()
    (row,) = json.loads((tmp_path / "n.json").read_text())["rows"]
    cost = measure_ccnet("sbl-small", "conv")
    assert row["+ CCNet M"] == pytest.approx(cost.parameters / 1e6, abs=1e-4) and row["params_m"] > 3
    assert "+ CCNet M" in capsys.readouterr().out
