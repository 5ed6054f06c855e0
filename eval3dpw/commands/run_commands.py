"""The 3DPW track's subcommands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fitting.weightings import WeightingConfig

ProtocolName = Literal["spin", "pymaf", "vibe", "camerahmr", "wham", "official"]
WeightingName = Literal["uniform", "raw", "rescored", "ccnet", "precision", "oracle"]
MethodName = Literal["params", "network", "smplify"]
Split = Literal["train", "validation", "test"]

ALL_WEIGHTINGS: tuple[WeightingName, ...] = ("uniform", "raw", "rescored", "ccnet", "precision", "oracle")


@dataclass(frozen=True)
class FitOptions:
    """What `fit` and `compare` have in common."""

    root: Path
    """Folder that lies on disk as 3DPW does: imageFiles/ and sequenceFiles/{train,validation,test}/."""
    out: Path
    """Folder for summary.json, fits/<weighting>/<track>.npz, and keypoints/ and errors/ of each track."""
    split: Split = "test"
    """Which sequences."""
    sequences: tuple[str, ...] = ()
    """Only these sequences, by name; all when none is named."""
    limit: int | None = None
    """At most this many frames of each track, evenly spread."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol; it also says which frames count."""
    body_dir: Path | None = None
    """Folder of SMPL-format bodies and J_regressor_h36m.npy; the packaged open body by default."""
    regressor: Path | None = None
    """Checkpoint of the initial prediction's network (SPIN's layout or .safetensors); the packaged one by default."""
    initial: Path | None = None
    """Another method's bodies in place of the regressor's: an .npz, or a folder of <track>.npz."""
    network: str = "sbl-small"
    """2D pose network, by its name in the catalogue."""
    checkpoint: Path | None = None
    """Its checkpoint; the packaged one by default."""
    ccnet: Path | None = None
    """Calibration network trained for that checkpoint; the packaged one by default."""
    flip: bool = True
    """Average the 2D keypoints with those of the mirrored image."""
    rule: Annotated[WeightingConfig, tyro.conf.arg(name="")] = field(default_factory=WeightingConfig)
    """How confidences become weights."""
    method: MethodName = "params"
    """What moves: each person's parameters, the regressor's weights, or the parameters by SPIN's SMPLify (slow)."""
    temporal: bool = False
    """Fit the frames of a track together: one shape, even movement. Only with --method params."""
    constants: tuple[str, ...] = ()
    """Constants of the method to change, as name=value (fitting.refinement_config.RefinementConfig lists them), or
    finetune.name, smplify.name, temporal.name=value."""
    report: bool = False
    """Also write report.html, one page to look at; `report` writes it later."""
    fresh: bool = False
    """Start over; by default a run goes on where the one before it in --out was interrupted."""
    engine: Literal["local", "ray"] = "local"
    """Where sequences are fitted: in processes of this machine, or on a Ray cluster. The results are the same bytes."""
    workers: int = 1
    """Sequences fitted at the same time by the local engine, each on one core; 0 for as many as there are cores."""
    address: str | None = None
    """Of the Ray cluster, host:port; by default the one that this machine belongs to, else one is started here."""


@dataclass(frozen=True)
class Fit(FitOptions):
    """Fit bodies to sequences under one weighting, and evaluate them."""

    weighting: WeightingName = "ccnet"
    """Rule from confidence to weight."""

    def run(self) -> None:
        """Fit, evaluate, print and write."""
        from eval3dpw.run.fit import run_fits

        run_fits(self, (self.weighting,))


@dataclass(frozen=True)
class Compare(FitOptions):
    """Fit bodies to sequences under several weightings and compare them; the 2D stage runs once."""

    weightings: tuple[WeightingName, ...] = ALL_WEIGHTINGS
    """Rules from confidence to weight."""

    def run(self) -> None:
        """Fit, evaluate, print and write."""
        from eval3dpw.run.fit import run_fits

        run_fits(self, self.weightings)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate fits that lie on disk, under any protocol."""

    root: Path
    """Folder that lies on disk as 3DPW does; images are not needed."""
    fits: Path
    """Result folder of `fit` or `compare`, or any folder with fits/<method>/<track>.npz."""
    out: Path | None = None
    """Folder for summary.json; nothing is written by default."""
    split: Split = "test"
    """Which sequences."""
    sequences: tuple[str, ...] = ()
    """Only these sequences, by name; all when none is named."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol."""
    body_dir: Path | None = None
    """Folder of SMPL-format bodies and J_regressor_h36m.npy; the packaged open body by default."""
    report: bool = False
    """Also write report.html, one page to look at, into --out."""

    def run(self) -> None:
        """Evaluate, print, and write what was asked for."""
        from eval3dpw.run.fit import run_evaluation

        run_evaluation(self)


@dataclass(frozen=True)
class Demo:
    """The whole way on a small open world: make it, compare all weightings, draw pictures."""

    out: Path = Path("demo")
    """Folder for the world, the results (summary.json, fits, ...) and the pictures; a world that is there is kept."""
    seed: int = 0
    """Of the world."""
    weightings: tuple[WeightingName, ...] = ALL_WEIGHTINGS
    """Rules from confidence to weight."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol."""
    limit: int | None = None
    """At most this many frames of each track, evenly spread."""
    pictures: int = 8
    """How many frames to draw."""
    report: bool = True
    """Write report.html, one page to look at."""
    fresh: bool = False
    """Fit again from the start; by default what an interrupted run has finished is kept."""
    workers: int = 0
    """Sequences fitted at the same time; 0 for as many as there are cores."""

    def run(self) -> None:
        """Make the world, compare, draw."""
        from eval3dpw.commands.demo import run_demo

        run_demo(self)


@dataclass(frozen=True)
class MakeWorld:
    """Make an open world: sequences as 3DPW lies on disk, and crops as COCO lies on disk."""

    out: Path
    """Folder to make; it appears when everything in it is whole. Holds 3dpw/ and coco/."""
    size: Literal["small", "full"] = "small"
    """small: for a demonstration. full: for training and tables."""
    seed: int = 0
    """The same seed gives the same bytes."""
    parts: tuple[Literal["3dpw", "coco"], ...] = ("3dpw", "coco")
    """What to make."""
    workers: int = 0
    """Processes; 0 for one on each core."""
    overwrite: bool = False
    """Replace the folder if it exists."""

    def run(self) -> None:
        """Make the world and say where it lies."""
        from eval3dpw.openworld.world.make import MakeWorldConfig, make_world

        made = make_world(MakeWorldConfig(self.out, self.size, self.seed, self.parts, self.workers, self.overwrite))
        print(f"World: {made}")


@dataclass(frozen=True)
class TrainRegressor:
    """Train the small regressor on the open world's crops."""

    data: Path
    """Folder in COCO's layout with annotations/person_smpl_<split>.json (make-world's coco/)."""
    out: Path
    """Folder for checkpoints and the log."""
    minutes: float = 60.0
    """Budget of time, which the learning rate's schedule spans."""
    seed: int = 0
    """Of initial weights, order and views."""
    backbone: Path | None = None
    """Checkpoint of a pose network with the same ResNet, to start from."""
    frozen_stages: int = 0
    """How many of its ResNet's stages (and what precedes them) keep the backbone's weights."""
    early_share: float = 0.55
    """Share of the budget that is spent on smaller crops first."""
    batch: int = 24
    """Crops a step."""
    lr: float = 1e-3
    """Peak learning rate."""
    limit: int | None = None
    """Train on the first persons only."""
    resume: bool = False
    """Go on from the checkpoint in the folder."""

    def run(self) -> None:
        """Train and say how good the network became."""
        from dataclasses import asdict

        from eval3dpw.training.regressor_trainer import TrainRegressorConfig, train_regressor

        result = train_regressor(TrainRegressorConfig(**asdict(self)))
        print(result)
