"""Networks of users' own Python: the example of the docs is run, and what is wrong with a factory is one sentence."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from calibration.ccnet.files import load_ccnet
from run_fitting import main
from tests.stick_figures import write_stick_figures

EXAMPLE = Path(__file__).parents[3] / "docs" / "own_network.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("centroid", "broken"):
        sys.modules.pop(name, None)


def test_the_example_of_the_docs_goes_through_every_command(here, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)
    assert 35 <= len(code.splitlines()) <= 48
    (here / "centroid.py").write_text(code)
    for seed, (split, count) in enumerate((("calibration", 12), ("validation", 4), ("test", 6))):
        write_stick_figures(here, split, count, seed, first_id=100 * seed + 1)
    network = ["--network", "centroid:centroid", "--no-flip"]
    assert main(["detect", *network, "--images", "images/test", "--out", "found.json"]) == 0
    found = json.loads((here / "found.json").read_text())
    assert len(found) == 6 and len({tuple(entry["keypoints"]) for entry in found}) == 6
    assert json.loads((here / "found.json.run.json").read_text())["checkpoint"]["path"] == "centroid:centroid"

    data = ["--data", ".", "--cache", "cache", "--views", "cut"]
    assert main(["calibrate", *network, *data, "--out", "ccnet.safetensors"]) == 0
    spec = load_ccnet("ccnet.safetensors").spec
    assert spec.network == "centroid:centroid" and not spec.feature_is_map and spec.channels == 96
    capsys.readouterr()
    assert main(["ablate", *network, *data, "--bootstrap", "5", "--out", "ablation"]) == 0
    table = capsys.readouterr().out
    assert "CCNet local" in table and "isotonic" in table and "closed form" not in table
    assert main(["tables", *network, *data, "--bootstrap", "5", "--only", "1", "2", "--out", "tables"]) == 0
    assert "centroid:centroid" in (here / "tables" / "table_2.txt").read_text()


BROKEN = """
from pose2d.networks.base import InputSpec, NetworkOutput
from tests.function_network import FunctionNetwork
number = 3
def fails():
    raise KeyError("weights")
def another():
    return object()
def many():
    network = FunctionNetwork(b"x")
    network.num_keypoints = 14
    return network
class Wide(FunctionNetwork):
    def decode(self, raw):
        output = super().decode(raw)
        return NetworkOutput(output.xy_px[:, 1:], output.raw_score[:, 1:], None, output.feature, None)
def wide():
    return Wide(b"x")
class Crashing(FunctionNetwork):
    def __call__(self, images):
        return images @ images[0, 0, :3]
def crashing():
    return Crashing(b"x")
"""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("broken:fails", "broken:fails raised KeyError: 'weights'"),
        ("broken:another", "returned object, not a PoseNetwork"),
        ("broken:many", "has 14 keypoints and skeleton coco17 has 17"),
        ("broken:wide", r"xy_px has shape \(1, 16, 2\) for one crop where \(1, 17, 2\) is needed"),
        ("broken:crashing", "on a black crop of 64x96 raised RuntimeError"),
        ("broken:nowhere", "module broken has no nowhere"),
        ("broken:number", "number is int and cannot be called"),
        ("nowhere_at_all:x", "no module nowhere_at_all is found"),
        ("broken:", "is named package.module:factory"),
        ("sbl-smal", "there is no network 'sbl-smal'"),
    ],
)
def test_what_is_wrong_is_one_sentence(here, capsys, name, sentence):
    (here / "broken.py").write_text(BROKEN)
    write_stick_figures(here, "test", 1, 0)
    assert main(["detect", "--network", name, "--images", "images/test", "--out", "found.json"]) == 2
    message = capsys.readouterr().err.strip()
    assert re.search(sentence, message) and len(message.splitlines()) == 1
    assert not list(here.glob("found*"))
