"""The subcommands around CCNet: calibrate a network, compare confidences, draw the theory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from calibration.hardware import Hardware

_CACHE = Path("feature-cache")


@dataclass(frozen=True)
class Calibrate:
    """Train a CCNet for a pose network on images in COCO's layout that the network was not trained on."""

    data: Path
    """Directory in COCO's layout."""
    out: Path
    """The CCNet to write (.safetensors)."""
    network: str = "sbl-small"
    """Pose network."""
    checkpoint: Path | None = None
    """Its weights; by default the bundled ones."""
    split: str = "calibration"
    """Split to train on; best one that the pose network has not seen."""
    validation_split: str | None = None
    """Split that tells when to stop; by default a share of --split's images is held out."""
    seen_split: str | None = None
    """A split that the pose network was trained on, to report how much better it is there."""
    head: Literal["local", "conv", "linear", "scores"] = "local"
    """Form of the branch: local is this project's, conv and linear are the paper's, scores the control."""
    cache: Path = _CACHE
    """Directory for features, which are computed once."""
    views: tuple[Literal["cut", "patched"], ...] = ("cut", "patched")
    """Altered views of the same persons to learn from too: cut away in part, which teaches which keypoints are outside
    the picture; with a patch over a keypoint, which teaches doubt. Each costs another pass of the network."""
    hardware: Annotated[Hardware, tyro.conf.arg(name="")] = field(default_factory=Hardware)
    """Where the network runs and the branch is trained."""
    seed: int = 0
    """Of the branch's weights and the held-out images."""
    limit: int | None = None
    """Use the first persons only."""

    def run(self) -> None:
        """Cache features, train, report, write."""
        from calibration.calibrate import calibrate

        print("\n".join(calibrate(self)))


@dataclass(frozen=True)
class Ablate:
    """Compare confidences on a test split: the network's own, closed forms, calibrated scores, branches, the oracle."""

    data: Path
    """Directory in COCO's layout."""
    out: Path
    """Directory for the tables."""
    network: str = "sbl-small"
    """Pose network."""
    checkpoint: Path | None = None
    """Its weights; by default the bundled ones."""
    what: Literal["confidences", "losses", "aggregations", "all"] = "confidences"
    """confidences: all methods side by side. losses, aggregations: section 6.4's choices."""
    calibration_split: str = "calibration"
    """Split to fit on."""
    validation_split: str = "validation"
    """Split that tells when to stop."""
    test_split: str = "test"
    """Split to judge on."""
    cache: Path = _CACHE
    """Directory for features, which are computed once."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals."""
    limit: int | None = None
    """Use the first persons of each split only."""

    def run(self) -> None:
        """Fit, judge, print and write the tables."""
        from calibration.calibrate import ablate

        for lines in ablate(self):
            print("\n".join(lines), end="\n\n")


@dataclass(frozen=True)
class Tables:
    """Print the paper's tables with the paper's numbers and ours side by side."""

    data: Path
    """Directory in COCO's layout; make-world writes one."""
    out: Path
    """Directory for the tables."""
    only: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Which tables."""
    calibration_split: str = "calibration"
    """Split to fit on."""
    validation_split: str = "validation"
    """Split that tells when to stop."""
    test_split: str = "test"
    """Split to judge on."""
    cache: Path = _CACHE
    """Directory for features, which are computed once."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals."""
    limit: int | None = None
    """Use the first persons of each split only."""

    def run(self) -> None:
        """Fit, judge, print and write the tables."""
        from calibration.paper_tables import paper_tables

        for lines in paper_tables(self):
            print("\n".join(lines), end="\n\n")


@dataclass(frozen=True)
class FiguresTheory:
    """Draw expected OKS against the confidences of heatmap and regression networks: scaling gap and form gap."""

    out: Path
    """Directory for the figures."""

    def run(self) -> None:
        """Draw and write."""
        from calibration.theory_figures import draw_theory

        for path in draw_theory(self.out):
            print(f"wrote {path}")


@dataclass(frozen=True)
class FiguresOcclusion:
    """Draw OKS, raw score and confidence under a growing patch over a keypoint (the paper's figure 3)."""

    data: Path
    """Directory in COCO's layout."""
    out: Path
    """The figure to write (.png)."""
    ccnet: Path
    """CCNet of the network."""
    network: str = "sbl-small"
    """Pose network."""
    checkpoint: Path | None = None
    """Its weights; by default the bundled ones."""
    split: str = "test"
    """Split to take persons from."""
    keypoints: tuple[str, ...] = ("left_wrist", "left_knee", "nose")
    """Keypoints to cover."""
    persons: int = 100
    """Persons for each keypoint."""

    def run(self) -> None:
        """Run the network on covered images, draw, write."""
        from calibration.ccnet_files import load_ccnet
        from calibration.occlusion import draw_growing_patch, growing_patch
        from pose2d.bundled import load_network
        from pose2d.datasets.coco import read_coco
        from pose2d.errors import InputError

        network, _ = load_network(self.network, self.checkpoint)
        branch, dataset = load_ccnet(self.ccnet), read_coco(self.data, self.split)
        unknown = [name for name in self.keypoints if name not in dataset.skeleton]
        if unknown:
            raise InputError(f"--keypoints {unknown[0]}: known are {', '.join(dataset.skeleton.keypoints)}")
        curves = [growing_patch(network, branch, dataset, name, persons=self.persons) for name in self.keypoints]
        draw_growing_patch(curves, self.out)
        print(f"wrote {self.out}")
