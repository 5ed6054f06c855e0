"""`start-study`: error after refinement against error before, for starts of many qualities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eval3dpw.run.options import DatasetName, ProtocolName, WeightingName


@dataclass(frozen=True)
class StartStudy:
    """Refine starts of many qualities and draw error after against error before: whether to refine at all."""

    root: Path
    """Folder of a dataset with 3D truth, to report on."""
    out: Path
    """Folder for study.json and study.png."""
    prior_root: Path | None = None
    """Another folder, whose split priors are fitted on; without it only `auto` is tried."""
    dataset: DatasetName = "3dpw"
    """How both folders are laid out."""
    split: str = "test"
    """Which sequences to report on."""
    prior_split: str = "validation"
    """Which sequences to fit priors on."""
    limit: int | None = 10
    """At most this many frames of each track, evenly spread."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol."""
    scales: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.5)
    """Of synthetic starts: 0.5 has a PA-MPJPE of about 37 mm, 1.0 about 71 mm."""
    initial: tuple[Path, ...] = ()
    """Folders with other methods' bodies of the tracks reported on."""
    prior_initial: tuple[Path, ...] = ()
    """The same methods' bodies of the tracks that priors are fitted on, in the same order."""
    weightings: tuple[WeightingName, ...] = ("raw", "ccnet")
    """Rules from confidence to weight."""
    network: str = "sbl-small"
    """2D pose network, by its name in the catalogue."""
    checkpoint: Path | None = None
    """Its checkpoint; the packaged one by default."""
    ccnet: Path | None = None
    """Calibration network trained for that checkpoint; the packaged one by default."""
    seed: int = 1
    """Of the synthetic starts' errors."""

    def run(self) -> None:
        """Study, write, print a line for each start."""
        from dataclasses import replace

        from eval3dpw.run.options import FitOptions
        from eval3dpw.start.study import StudyOptions, run_study
        from eval3dpw.start.study_figure import draw_study
        from pose2d.errors import InputError
        from pose2d.files.storage import write_json

        if self.prior_initial and len(self.prior_initial) != len(self.initial):
            raise InputError("--prior-initial must name a folder for each of --initial, in the same order")
        if any(not 0 < scale <= 3 for scale in self.scales):
            raise InputError(f"--scales must lie above 0 and up to 3, got {self.scales}")
        test = FitOptions(
            root=self.root,
            out=self.out,
            dataset=self.dataset,
            split=self.split,
            limit=self.limit,
            protocol=self.protocol,
            network=self.network,
            checkpoint=self.checkpoint,
            ccnet=self.ccnet,
            constants=("solver=compiled", "threads=1"),
        )
        validation = None
        if self.prior_root is not None:
            validation = replace(test, root=self.prior_root, split=self.prior_split)
        pairs = {
            folder.name: (folder, self.prior_initial[number] if self.prior_initial else None)
            for number, folder in enumerate(self.initial)
        }
        study = run_study(StudyOptions(test, validation, self.scales, pairs, self.weightings, self.seed))
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "study.json", study)
        draw_study(study, self.out / "study.png")
        for start in study["starts"]:
            print(start["start"])
            for row in start["rows"]:
                change = row.get("mpjpe_mm_minus_init")
                told = f"  {row['row']:14s} {row['mpjpe_mm']['value']:6.1f} / {row['pa_mpjpe_mm']['value']:5.1f} mm"
                if change is not None:
                    told += f"  {change['value']:+6.2f} [{change['low']:+.2f}, {change['high']:+.2f}]"
                print(told)
        print(f"Study: {self.out / 'study.json'}, {self.out / 'study.png'}")
