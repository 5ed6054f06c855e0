"""`coco-eval`: judge the confidences of results files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from calibration.coco.evaluation import KeypointEvaluation
    from pose2d.tables import Number


@dataclass(frozen=True)
class CocoEval:
    """Judge the confidences of results files: AP as pycocotools gives it, calibration, and what is still to be won."""

    annotations: Path
    """COCO annotation file (person_keypoints_*.json, or COCO-WholeBody's)."""
    results: tuple[Path, ...]
    """One or more COCO keypoint results files of the same images."""
    dataset: Literal["coco", "wholebody"] = "coco"
    """coco: 17 keypoints. wholebody: the six evaluations of COCO-WholeBody."""
    json: Path | None = None
    """Write every number here."""
    details: bool = False
    """Print every confidence of each file also where there are several files or parts."""
    calibrators: tuple[Literal["isotonic", "temperature", "pose-aware"], ...] = ()
    """Fit these to each file and print the AP that they win on unseen images (COCO's 17 keypoints)."""
    precision: tuple[float, ...] = (0.9,)
    """Find the scores from which keypoints and persons are right with these precisions."""
    plots: Path | None = None
    """Write precision-recall, reliability, sparsification and per-keypoint figures into this directory."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals; 0 for none."""
    seed: int = 0
    """Of the random confidence and of the resamples."""
    use_area: bool = True
    """Judge by the annotations' area; --no-use-area takes 0.53 of the box."""

    def run(self) -> None:
        """Evaluate, print, and write what was asked for."""
        self.evaluate()

    def evaluate(self) -> KeypointEvaluation:
        """As `run`; returns what was found, for a page of it."""
        from calibration.coco.evaluation import COCO_PART, evaluate_keypoints
        from calibration.coco.tables import print_evaluation, threshold_table, zoo_table
        from calibration.coco.thresholds import thresholds_of
        from pose2d.errors import InputError
        from pose2d.files.storage import write_json
        from pose2d.tables import print_tables

        if not all(0 < wanted < 1 for wanted in self.precision):
            raise InputError(f"--precision wants shares between 0 and 1, not {' '.join(map(str, self.precision))}")
        if self.calibrators and self.dataset != "coco":
            raise InputError("--calibrators are of COCO's 17 keypoints; leave them out with --dataset wholebody")

        evaluation = evaluate_keypoints(
            self.annotations,
            named(self.results),
            dataset=self.dataset,
            bootstrap=self.bootstrap,
            seed=self.seed,
            use_area=self.use_area,
        )
        thresholds = [
            (row.name, found)
            for row in evaluation.rows
            if row.confidence_name == "as given" and row.part == COCO_PART
            for found in thresholds_of(
                (row.confidence.instance, row.confidence.keypoint), row.accuracy, row.image, self.precision
            )
        ]
        won_back = {name: self._won_back(path) for name, path in named(self.results).items()}
        several = len({(row.source, row.part) for row in evaluation.rows}) > 1
        if self.details or not several:
            print_evaluation(evaluation)
            if thresholds:
                print_tables([threshold_table(thresholds)])
        else:
            print(f"{len(evaluation.notes)} notes, every confidence and thresholds: --details")
        if several or self.calibrators:
            print_tables([zoo_table(evaluation, won_back)])
        if self.json is not None:
            found = evaluation.as_dict() | {"thresholds": [t.as_dict() | {"name": name} for name, t in thresholds]}
            gains = {name: {method: gain.as_json() for method, gain in g.items()} for name, g in won_back.items()}
            write_json(self.json, found | {"won_back": gains})
            print(f"wrote {self.json}")
        if self.plots is not None:
            from calibration.coco.figures import draw_evaluation

            for path in draw_evaluation(evaluation, self.plots):
                print(f"wrote {path}")
        return evaluation

    def _won_back(self, results: Path) -> dict[str, Number]:
        """AP that each calibrator wins on unseen images."""
        from calibration.file_calibration.judging import evaluate_calibrators
        from pose2d.tables import Number

        if not self.calibrators:
            return {}
        judged = evaluate_calibrators(
            self.annotations, results, self.calibrators, bootstrap=self.bootstrap, seed=self.seed
        )
        gains = {method: fit.calibrator.provenance.ap_gain for method, fit in judged.fits.items()}
        return {method: Number(*gain, digits=1, factor=100.0, signed=True) for method, gain in gains.items()}


def named(results: tuple[Path, ...], option: str = "--results") -> dict[str, Path]:
    """Files by a short name: the stem, or the path where two files share it."""
    from pose2d.errors import InputError

    if not results:
        raise InputError(f"{option} needs at least one file")
    stems = [path.stem for path in results]
    named = {path.stem if stems.count(path.stem) == 1 else str(path): path for path in results}
    if len(named) != len(results):
        raise InputError(f"{option} names the same file twice")
    return named
