"""`figures theory` and `figures occlusion`: what the paper draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pose2d.networks.options import NetworkOptions


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
class FiguresOcclusion(NetworkOptions):
    """Draw OKS, raw score and confidence under a growing patch over a keypoint (the paper's figure 3)."""

    data: Path
    """Directory in COCO's layout."""
    out: Path
    """The figure to write (.png)."""
    ccnet: Path
    """CCNet of the network."""
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
        from pose2d.networks.packaged import load_by_options

        branch, dataset = load_ccnet(self.ccnet), read_coco(self.data, self.split)
        network = load_by_options(self, dataset.skeleton, trainable=True).network
        unknown = [name for name in self.keypoints if name not in dataset.skeleton]
        if unknown:
            raise InputError(f"--keypoints {unknown[0]}: known are {', '.join(dataset.skeleton.keypoints)}")
        curves = [growing_patch(network, branch, dataset, name, persons=self.persons) for name in self.keypoints]
        draw_growing_patch(curves, self.out)
        print(f"wrote {self.out}")
