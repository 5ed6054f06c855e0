"""`fit`: bodies of sequences under one weighting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from eval3dpw.run.options import FitOptions, WeightingName


@dataclass(frozen=True)
class FitCommand:
    """What `fit` and `compare` have in common."""

    options: Annotated[FitOptions, tyro.conf.arg(name="")]
    report: bool = False
    """Also write report.html, one page to look at; `report` writes it later."""

    def fit(self, command: str, weightings: Sequence[str], chosen: dict[str, Any]) -> None:
        """Fit, evaluate, print and write.

        Args:
            command: its name, for the record.
            weightings: rules from confidence to weight.
            chosen: the options of the command itself, for the record.
        """
        from eval3dpw.commands.presentation import present_fits
        from eval3dpw.report.table import report_console
        from eval3dpw.run.fit import run_fits

        if self.options.predicts_other_shapes:
            told = "Note: the packaged regressor predicts shapes of the packaged body, not of --body-dir's."
            report_console().print(told)
        present_fits(run_fits(self.options, weightings, command, chosen | {"report": self.report}), self.report)


@dataclass(frozen=True)
class Fit(FitCommand):
    """Fit bodies to sequences under one weighting, and evaluate them."""

    weighting: WeightingName = "ccnet"
    """Rule from confidence to weight."""

    def run(self) -> None:
        """Fit, evaluate, print and write."""
        self.fit("fit", (self.weighting,), {"weighting": self.weighting})
