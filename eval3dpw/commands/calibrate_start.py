"""`calibrate-start`: how wrong a method's bodies are, fitted on a split with truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eval3dpw.run.options import DatasetName, ProtocolName, WeightingName


@dataclass(frozen=True)
class CalibrateStart:
    """Fit the distribution of a method's errors, for --start-prior of `fit` and `compare`."""

    root: Path
    """Folder of a dataset with 3D truth."""
    out: Path
    """File to write (.json)."""
    dataset: DatasetName = "3dpw"
    """How the folder is laid out."""
    split: str = "validation"
    """Which sequences. Never those that results are reported on."""
    sequences: tuple[str, ...] = ()
    """Only these sequences, by name; all when none is named."""
    limit: int | None = 20
    """At most this many frames of each track, evenly spread."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol; it says which frames count."""
    body_dir: Path | None = None
    """Folder of SMPL-format bodies; the packaged open body by default."""
    regressor: Path | None = None
    """Checkpoint of the method, where it is a network of SPIN's layout; the packaged one by default."""
    initial: Path | None = None
    """The method's bodies on this split, where it is another: an .npz, or a folder of <track>.npz."""
    network: str = "sbl-small"
    """2D pose network, by its name in the catalogue; the posterior's scale is found with its keypoints."""
    checkpoint: Path | None = None
    """Its checkpoint; the packaged one by default."""
    ccnet: Path | None = None
    """Calibration network trained for that checkpoint; the packaged one by default."""
    weighting: WeightingName = "ccnet"
    """What the keypoints' precision comes from."""

    def run(self) -> None:
        """Fit, write, and tell the largest errors."""
        from dataclasses import asdict

        from eval3dpw.run.options import FitOptions
        from eval3dpw.start.calibration import calibrate_start
        from pose2d.errors import InputError

        if self.out.suffix != ".json":
            raise InputError(f"{self.out}: a start prior's name ends in .json")
        chosen = {name: value for name, value in asdict(self).items() if name != "weighting"}
        prior = calibrate_start(FitOptions(**chosen, constants=("solver=compiled", "threads=1")), self.weighting)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        prior.save(self.out)
        print(f"Start prior of {prior.method}: {prior.num_frames} frames of {prior.num_tracks} tracks, in {self.out}")
        if prior.floored:
            print(f"Raised to the floor, since the split shows hardly any error there: {', '.join(prior.floored)}")
