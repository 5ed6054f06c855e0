"""The subcommands around CCNet: calibrate a network, compare confidences, draw the theory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from calibration.ccnet.hardware import Hardware
from pose2d.names import DatasetName

Views = tuple[Literal["cut", "patched"], ...]


@dataclass(frozen=True)
class _Features:
    """What all commands have in common that run a pose network over a data set."""

    data: Path
    """Directory in the data set's layout; make-world writes one in COCO's."""
    out: Path
    """The CCNet to write (.safetensors), or the directory for the tables."""
    dataset: DatasetName = "coco"
    """Layout of --data and keypoints of the network: COCO's 17, MPII's 16 or COCO-WholeBody's 133."""
    checkpoint: Path | None = None
    """The pose network's weights; by default the bundled ones."""
    input_size: tuple[int, int] | None = None
    """Width and height of its crops; the network's default otherwise."""
    cache: Path = Path("feature-cache")
    """Directory for features, which are computed once."""
    limit: int | None = None
    """Use the first persons of each split only."""
    views: Views = ("cut", "patched")
    """Altered views of the same persons to learn from too: cut away in part, which teaches what is outside the picture;
    with a patch over a keypoint, which teaches doubt. In tables only the local form does. Each is another pass."""
    hardware: Annotated[Hardware, tyro.conf.arg(name="")] = field(default_factory=Hardware)
    """Where the network runs and branches are trained."""


@dataclass(frozen=True)
class _OfNetwork(_Features):
    """Commands about one pose network."""

    network: str = "sbl-small"
    """Pose network."""


@dataclass(frozen=True)
class _Judged(_Features):
    """Commands that fit on one split, stop by a second and judge on a third."""

    calibration_split: str = "calibration"
    """Split to fit on."""
    validation_split: str | None = "validation"
    """Split that tells when to stop; None: a share of the images to fit on is held out."""
    test_split: str = "test"
    """Split to judge on."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals."""


@dataclass(frozen=True)
class Calibrate(_OfNetwork):
    """Train a CCNet for a pose network on images in COCO's layout that the network was not trained on."""

    split: str = "calibration"
    """Split to train on; best one that the pose network has not seen."""
    validation_split: str | None = None
    """Split that tells when to stop; by default a share of --split's images is held out."""
    seen_split: str | None = None
    """A split that the pose network was trained on, to report how much better it is there."""
    head: Literal["local", "conv", "linear", "scores"] = "local"
    """Form of the branch: local is this project's, conv and linear are the paper's, scores the control."""
    seed: int = 0
    """Of the branch's weights and the held-out images."""

    def run(self) -> None:
        """Cache features, train, report, write."""
        from calibration.ccnet.calibrate import calibrate

        print("\n".join(calibrate(self)))


@dataclass(frozen=True)
class Ablate(_Judged, _OfNetwork):
    """Compare confidences on a test split: the network's own, closed forms, calibrated scores, branches, the oracle."""

    what: Literal["confidences", "losses", "inputs", "aggregations", "targets", "presence", "all"] = "confidences"
    """confidences: all methods side by side. losses, inputs, aggregations, targets: the paper's choices. presence: what
    altered views teach."""
    pck: tuple[float, ...] = ()
    """Thresholds of --what targets; by default 0.1, and 0.5 too where heads are annotated."""
    fine_tune_minutes: float = 0.0
    """Of --what inputs: how long a copy of the network is fine-tuned, a pass at least; 0: none is."""

    def run(self) -> None:
        """Fit, judge, print and write the tables."""
        from calibration.experiments.ablations import ablate

        for lines in ablate(self):
            print("\n".join(lines), end="\n\n")


@dataclass(frozen=True)
class Tables(_Judged):
    """Print the paper's tables with the paper's numbers and ours side by side."""

    network: str | None = None
    """Pose network; by default the bundled SBL, RLE and IPR in turn."""
    only: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Which tables: 1, 2, 5 are of coco, 3 of wholebody, 4 of mpii; of the others a line says what they need."""

    def run(self) -> None:
        """Fit, judge, print and write the tables."""
        from calibration.experiments.paper_tables import paper_tables

        for lines in paper_tables(self):
            print("\n".join(lines), end="\n\n")


@dataclass(frozen=True)
class FiguresTheory:
    """Draw expected OKS against the confidences of heatmap and regression networks: scaling gap and form gap."""

    out: Path
    """Directory for the figures."""

    def run(self) -> None:
        """Draw and write."""
        from calibration.experiments.theory_figures import draw_theory

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
        from calibration.ccnet.files import load_ccnet
        from calibration.experiments.occlusion import draw_growing_patch, growing_patch
        from pose2d.datasets.coco import read_coco
        from pose2d.errors import InputError
        from pose2d.networks.packaged import load_network

        network, _ = load_network(self.network, self.checkpoint)
        branch, dataset = load_ccnet(self.ccnet), read_coco(self.data, self.split)
        unknown = [name for name in self.keypoints if name not in dataset.skeleton]
        if unknown:
            raise InputError(f"--keypoints {unknown[0]}: known are {', '.join(dataset.skeleton.keypoints)}")
        curves = [growing_patch(network, branch, dataset, name, persons=self.persons) for name in self.keypoints]
        draw_growing_patch(curves, self.out)
        print(f"wrote {self.out}")
