"""`coco-eval` with a page of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calibration.commands.coco_eval import CocoEval


@dataclass(frozen=True)
class CocoEvalWithReport(CocoEval):
    """Judge the confidences of results files: AP as pycocotools gives it, calibration, and what is still to be won."""

    report: Path | None = None
    """Write one self-contained page of it here."""

    def run(self) -> None:
        """Evaluate, print, and write what was asked for."""
        evaluation = self.evaluate()
        if self.report is not None:
            from eval3dpw.report.coco_report import write_coco_report
            from eval3dpw.run.provenance import configuration, versions

            record = {"command": "coco-eval", "configuration": configuration(self), "versions": versions()}
            print(f"wrote {write_coco_report(evaluation, self.report, record)}")
