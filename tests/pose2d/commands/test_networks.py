"""`networks` measures what table 2 of the paper lists."""

import json
from pathlib import Path

import pytest
import torch

from pose2d.commands.networks import Networks
from pose2d.networks.catalogue import build_network


def test_networks_command_measures_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("sbl-r50", "rle-r50")
    Networks(tmp_path / "n.json", names).run()
    rows = {row["name"]: row for row in json.loads((tmp_path / "n.json").read_text())["rows"]}
    assert tuple(rows) == names and rows["sbl-r50"]["input"] == "256x192"
    # Table 2 of the paper.
    for name, millions, macs in (("sbl-r50", 34.00, 5.46), ("rle-r50", 23.6, 4.0)):
        assert rows[name]["params_m"] == pytest.approx(millions, abs=0.06)
        assert rows[name]["gmacs"] == pytest.approx(macs, rel=0.01)
        assert rows[name]["paper"] == {"input": "256x192", "params_m": millions, "gflops": macs}
    assert "rle-r50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("sbl-r152", 68.64),
        ("hrnet-w32", 28.54),
        ("hrnet-w48", 63.62),
        ("vitpose-b", 89.99),
        ("rle-hrnet-w32", 39.3),
        ("rle-hrnet-w48", 75.6),
        ("poseur-r50", 33.1),
    ],
)
def test_parameters_equal_table_2(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = build_network(name)
    training_only = sum(p.numel() for n, p in network.named_parameters() if "flow" in n)
    count = sum(p.numel() for p in network.parameters()) - training_only
    assert count / 1e6 == pytest.approx(millions, abs=0.06)
