"""`calibrate-file`: calibrators of results files, without network or images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CalibrateFileFit:
    """Fit a calibrator to a results file and its truth; print what it wins on images that it has not seen."""

    annotations: Path
    """COCO annotation file (person_keypoints_*.json)."""
    results: Path
    """COCO keypoint results file of the same images; with bbox, or center and scale, most can be won."""
    out: Path
    """Calibrator to write: plain arrays (.npz) that can be opened safely."""
    method: Literal["isotonic", "temperature", "pose-aware"] = "pose-aware"
    """pose-aware: small networks that see all scores and the pose in its crop. isotonic: a monotone curve per keypoint.
    temperature: one scale and one shift of the log odds."""
    network: str = ""
    """Name of the pose network, kept with the calibrator."""
    json: Path | None = None
    """Write the cross-fitted numbers here."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals; 0 for none."""
    seed: int = 0
    """Of the folds, the training and the resamples."""

    def run(self) -> None:
        """Cross-fit to judge, fit on everything, write."""
        from calibration.coco.tables import print_evaluation
        from calibration.file_calibration.files import save_calibrator
        from calibration.file_calibration.judging import evaluate_calibrators
        from pose2d.files.storage import write_json

        judged = evaluate_calibrators(
            self.annotations,
            self.results,
            (self.method,),
            network=self.network,
            bootstrap=self.bootstrap,
            seed=self.seed,
        )
        print_evaluation(judged.evaluation)
        _print_notes(judged.notes)
        save_calibrator(self.out, judged.fits[self.method].calibrator)
        print(f"wrote {self.out}")
        if self.json is not None:
            write_json(self.json, judged.as_dict())
            print(f"wrote {self.json}")


@dataclass(frozen=True)
class CalibrateFileApply:
    """Write a results file with calibrated scores; coordinates, order and further fields stay as they are."""

    results: Path
    """COCO keypoint results file, with the box fields that the calibrator was fitted with."""
    calibrator: Path
    """What `calibrate-file fit` wrote, fitted on results of the same network."""
    out: Path
    """Results file to write; visibility, sigma and 90 % radius of each keypoint are added."""
    network: str = ""
    """Name of the pose network; refused where the calibrator is of another one."""

    def run(self) -> None:
        """Calibrate and write."""
        from calibration.coco.json_files import write_results
        from calibration.file_calibration.application import apply_to_file
        from calibration.file_calibration.files import load_calibrator

        entries, notes = apply_to_file(load_calibrator(self.calibrator), self.results, self.network)
        _print_notes(notes)
        write_results(self.out, entries)
        print(f"wrote {self.out}: {len(entries):,} detections with calibrated scores")


@dataclass(frozen=True)
class CalibrateFileShift:
    """Judge calibrators on results that they were not fitted to: other images, other boxes, another network."""

    annotations: Path
    """COCO annotation file of images that the calibrators have not seen."""
    results: tuple[Path, ...]
    """One or more results files of these images."""
    calibrators: tuple[Path, ...]
    """One or more files that `calibrate-file fit` wrote."""
    json: Path | None = None
    """Write the table here."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals; 0 for none."""
    seed: int = 0
    """Of the resamples."""

    def run(self) -> None:
        """Judge every calibrator on every file, and print a table."""
        from calibration.commands.coco_eval import named
        from calibration.file_calibration.files import load_calibrator
        from calibration.file_calibration.shift import judge_shift, shift_table
        from pose2d.files.storage import write_json
        from pose2d.tables import print_tables

        calibrators = {name: load_calibrator(path) for name, path in named(self.calibrators, "--calibrators").items()}
        table = shift_table(judge_shift(self.annotations, named(self.results), calibrators, self.bootstrap, self.seed))
        print_tables([table])
        if self.json is not None:
            write_json(self.json, table.as_json())
            print(f"wrote {self.json}")


def _print_notes(notes: Iterable[str]) -> None:
    from pose2d.tables import wide_console

    for note in notes:
        wide_console().print(f"note: {note}", style="yellow", highlight=False, markup=False)
