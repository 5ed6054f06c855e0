"""The CCNets that come with this project, one for each small pose network."""

from __future__ import annotations

from pathlib import Path

from pose2d.errors import InputError

_WEIGHTS = Path(__file__).parents[1] / "weights"


def packaged_ccnet(network: str) -> Path:
    """File of the CCNet that was trained for a packaged pose network.

    Args:
        network: its name in the catalogue, such as "sbl-small".

    Raises:
        InputError: none comes with this project.
    """
    path = _WEIGHTS / f"ccnet-{network}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(file.stem.removeprefix("ccnet-") for file in _WEIGHTS.glob("ccnet-*.safetensors")))
        raise InputError(
            f"no CCNet for network {network} comes with this project (there are: {known}): train one with `calibrate` "
            "and name it by --ccnet"
        )
    return path
