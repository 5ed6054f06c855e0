"""Options of what runs a pose network over a data set and trains a CCNet on its features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from calibration.ccnet.hardware import Hardware
from pose2d.names import DatasetName
from pose2d.networks.options import NetworkOptions

Head = Literal["local", "conv", "linear", "scores"]
"""Forms of the branch (`calibration.ccnet.branches`)."""
ViewKind = Literal["cut", "patched"]
"""Kinds of altered views (`calibration.ccnet.altered_views`)."""

Kept = Literal["points", "coarse", "whole"]
"""How much of feature maps a cache keeps (`calibration.ccnet.feature_cache`)."""
KEPT: tuple[Kept, ...] = ("points", "coarse", "whole")
"""Each keeps what the one before it does, or what that can be computed from."""


@dataclass(frozen=True)
class FeatureOptions(NetworkOptions):
    """Persons of a data set as a pose network sees them, and where results go."""

    data: Path
    """Directory in the data set's layout; make-world writes one in COCO's."""
    out: Path
    """The CCNet to write (.safetensors), or the directory for the tables."""
    dataset: DatasetName = "coco"
    """Layout of --data and keypoints of the network: COCO's 17, MPII's 16 or COCO-WholeBody's 133."""
    cache: Path = Path("feature-cache")
    """Directory for features, which are computed once."""
    whole_maps: bool = False
    """Keep whole feature maps, where branches read little of them: 1.6 MB per person and view of SBL-R50, not 20 KB."""
    limit: int | None = None
    """Use the first persons of each split only."""
    views: tuple[ViewKind, ...] = ("cut", "patched")
    """Altered views of the same persons to learn from too: cut away in part, which teaches what is outside the picture;
    with a patch over a keypoint, which teaches doubt. In tables only the local form does. Each image is opened once."""
    hardware: Hardware = field(default_factory=Hardware)
    """Where the network runs and branches are trained."""

    @property
    def kept(self) -> Kept:
        """What of feature maps the branches to be trained read."""
        return "whole" if self.whole_maps else "coarse"


@dataclass(frozen=True)
class CalibrateOptions(FeatureOptions):
    """The pose network to train a CCNet for, and the splits to train on."""

    split: str = "calibration"
    """Split to train on; best one that the pose network has not seen."""
    validation_split: str | None = None
    """Split that decides when to stop; by default a share of --split's images is held out."""
    seen_split: str | None = None
    """A split that the pose network was trained on, to report how much better it is there."""
    head: Head = "local"
    """Form of the branch: local is this project's, conv and linear are the paper's, scores the control."""
    seed: int = 0
    """Of the branch's weights and the held-out images."""

    @property
    def kept(self) -> Kept:
        """As the branch's form reads it."""
        return "points" if self.head != "conv" and not self.whole_maps else super().kept
