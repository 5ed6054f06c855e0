"""`evaluate`: fits that lie on disk, under any protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from eval3dpw.run.options import EvaluateOptions


@dataclass(frozen=True)
class Evaluate:
    """Evaluate fits that lie on disk, under any protocol."""

    options: Annotated[EvaluateOptions, tyro.conf.arg(name="")]
    report: bool = False
    """Also write report.html, one page to look at, into --out."""

    def run(self) -> None:
        """Evaluate, print, and write what was asked for."""
        from eval3dpw.report.run_report import write_report
        from eval3dpw.report.table import print_summary, report_console
        from eval3dpw.run.evaluate import run_evaluation
        from pose2d.errors import InputError

        out = self.options.out
        if self.report and out is None:
            raise InputError("--report needs --out, the folder to write the page to")
        comparison, log = run_evaluation(self.options, {"report": self.report})
        print_summary(comparison.summary(), report_console())
        if self.report and out is not None:
            print(f"Report: {write_report(out)}")
        log.raise_if_some_failed(out or self.options.fits)
