"""The options of a pose network that all commands share which run one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pose2d.names import Decoding


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which pose network, with which weights, and how it is run."""

    network: str = "sbl-small"
    """A name of the catalogue (`networks` lists them), or model.onnx, or package.module:factory, a Python function that
    returns a PoseNetwork."""
    network_config: Path | None = None
    """TOML that says what an ONNX file does not; by default the one of its name beside it, where there is one."""
    checkpoint: Path | None = None
    """Its checkpoint; the packaged one of the small networks by default. A factory gets it as its argument."""
    input_size: tuple[int, int] | None = None
    """Width and height of the crop; the network's default otherwise."""
    flip: bool = True
    """Average with the mirrored image's prediction, where the network has a flip test."""
    decoding: Decoding | None = None
    """How heatmaps become coordinates; the family's own way by default."""
    expert: int = 0
    """Data set of a ViTPose+ checkpoint; 0 is COCO."""
    threads: int = 0
    """Threads of the network; 0 for torch's own choice."""
