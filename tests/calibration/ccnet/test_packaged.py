"""The weights that come with the project load, say how they were made, and fit each other."""

from __future__ import annotations

from pathlib import Path

import pytest

import calibration
from calibration.ccnet.files import load_ccnet
from calibration.ccnet.model import check_fits
from pose2d.errors import InputError
from pose2d.networks.packaged import checkpoint_metadata, load_network, packaged_checkpoint
from pose2d.skeletons import COCO17

NETWORKS = sorted(path.stem for path in packaged_checkpoint("sbl-small").parent.glob("*.safetensors"))


@pytest.mark.parametrize("name", NETWORKS)
def test_bundled_network_loads_and_says_how_it_was_made(name):
    network, path = load_network(name)
    about = checkpoint_metadata(path)
    assert about["network"] == name
    assert {"seed", "minutes", "command", "validation_ap"} <= about.keys()
    assert "/" not in about["config"]
    assert path.stat().st_size < 12e6
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_bundled_ccnet_is_for_the_bundled_network(name):
    network, _ = load_network(name)
    branch = load_ccnet(Path(calibration.__file__).parent / "weights" / f"ccnet-{name}.safetensors")
    check_fits(branch, network.identity, COCO17)
    assert branch.spec.network == name
    assert branch.num_parameters < 0.085e6


def test_other_networks_come_without_weights():
    with pytest.raises(InputError, match="comes without weights"):
        packaged_checkpoint("vitpose-b")
