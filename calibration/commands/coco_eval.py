"""`coco-eval`: judge the confidences of results files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from calibration.coco.evaluation import KeypointEvaluation


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
        from calibration.coco.evaluation import evaluate_keypoints
        from calibration.coco.tables import print_evaluation
        from pose2d.files.storage import write_json

        evaluation = evaluate_keypoints(
            self.annotations,
            _named(self.results),
            dataset=self.dataset,
            bootstrap=self.bootstrap,
            seed=self.seed,
            use_area=self.use_area,
        )
        print_evaluation(evaluation)
        if self.json is not None:
            write_json(self.json, evaluation.as_dict())
            print(f"wrote {self.json}")
        if self.plots is not None:
            from calibration.coco.figures import draw_evaluation

            for path in draw_evaluation(evaluation, self.plots):
                print(f"wrote {path}")
        return evaluation


def _named(results: tuple[Path, ...]) -> dict[str, Path]:
    """Files by a short name: the stem, or the path where two files share it."""
    from pose2d.errors import InputError

    if not results:
        raise InputError("--results needs at least one file")
    stems = [path.stem for path in results]
    named = {path.stem if stems.count(path.stem) == 1 else str(path): path for path in results}
    if len(named) != len(results):
        raise InputError("--results names the same file twice")
    return named
