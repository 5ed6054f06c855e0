"""`compare`: bodies of sequences under several weightings."""

from __future__ import annotations

from dataclasses import dataclass

from eval3dpw.commands.fit import FitCommand
from eval3dpw.run.options import WeightingName
from fitting.weightings import WEIGHTINGS


@dataclass(frozen=True)
class Compare(FitCommand):
    """Fit bodies to sequences under several weightings and compare them; the 2D stage runs once."""

    weightings: tuple[WeightingName, ...] = tuple(WEIGHTINGS)
    """Rules from confidence to weight."""

    def run(self) -> None:
        """Fit, evaluate, print and write."""
        self.fit("compare", self.weightings, {"weightings": list(self.weightings)})
