"""Options of runs over sequences, below the work that they steer; the commands above show them as flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import tyro

from eval3dpw.dataset.catalogue import DATASETS, DEFAULT_DATASET
from eval3dpw.judging.protocols import PROTOCOLS
from fitting.weightings import WEIGHTINGS, WeightingConfig
from pose2d.networks.options import NetworkOptions

if TYPE_CHECKING:
    DatasetName: TypeAlias = str
    ProtocolName: TypeAlias = str
    WeightingName: TypeAlias = str
else:  # the command line offers exactly what the tables hold
    DatasetName = Literal[tuple(DATASETS)]
    ProtocolName = Literal[tuple(PROTOCOLS)]
    WeightingName = Literal[tuple(WEIGHTINGS)]


@dataclass(frozen=True)
class FitOptions(NetworkOptions):
    """What to fit, by what, and where: all of a run but its weightings."""

    root: Path
    """Folder of the dataset; 3DPW's holds imageFiles/ and sequenceFiles/{train,validation,test}/."""
    out: Path
    """Folder for summary.json, fits/<weighting>/<track>.npz, and keypoints/ and errors/ of each track."""
    dataset: DatasetName = DEFAULT_DATASET
    """How the folder is laid out."""
    split: str = "test"
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
    ccnet: Path | None = None
    """Calibration network trained for the pose network and its checkpoint; the packaged one by default."""
    rule: Annotated[WeightingConfig, tyro.conf.arg(name="")] = field(default_factory=WeightingConfig)
    """How confidences become weights."""
    method: str = "params"
    """What moves: each person's parameters (params), the regressor's weights (network), or the parameters by SPIN's
    SMPLify (smplify, slow)."""
    objective: Literal["paper", "probability"] = "paper"
    """What is minimised: the paper's robust error with tuned constants, or keypoints and start each in units of its own
    uncertainty."""
    start_prior: Literal["auto"] | Path | None = None
    """How uncertain the start is, under objective `probability`: a file of `calibrate-start`, or auto (by the evidence
    of the 2D keypoints). By default the packaged one for the packaged regressor, else auto."""
    temporal: bool = False
    """Fit the frames of a track together: one shape, even movement. Only with --method params."""
    constants: tuple[str, ...] = ()
    """Constants of the method to change, as name=value (fitting.refinement_config.RefinementConfig lists them), or
    finetune.name, smplify.name, temporal.name=value."""
    fresh: bool = False
    """Start over; by default a run goes on where the one before it in --out was interrupted."""
    engine: Literal["local", "ray"] = "local"
    """Where sequences are fitted: in processes of this machine, or on a Ray cluster. The results are the same bytes."""
    workers: int = 1
    """Sequences fitted at the same time by the local engine, each on one core; 0 for as many as there are cores."""
    address: str | None = None
    """Of the Ray cluster, host:port; by default the one that this machine belongs to, else one is started here."""

    @property
    def predicts_other_shapes(self) -> bool:
        """Whether the packaged regressor predicts shapes of the packaged body for bodies of another folder."""
        return self.body_dir is not None and self.regressor is None and self.initial is None


@dataclass(frozen=True)
class EvaluateOptions:
    """Which fits to judge, and against what."""

    root: Path
    """Folder of the dataset; images are not needed."""
    fits: Path
    """Result folder of `fit` or `compare`, or any folder with fits/<method>/<track>.npz."""
    out: Path | None = None
    """Folder for summary.json; nothing is written by default."""
    dataset: DatasetName = DEFAULT_DATASET
    """How the folder is laid out."""
    split: str = "test"
    """Which sequences."""
    sequences: tuple[str, ...] = ()
    """Only these sequences, by name; all when none is named."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol."""
    body_dir: Path | None = None
    """Folder of SMPL-format bodies and J_regressor_h36m.npy; the packaged open body by default."""
