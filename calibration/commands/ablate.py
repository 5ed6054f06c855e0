"""`ablate`: compare confidences, losses, inputs, aggregations and targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from calibration.experiments.options import AblateOptions


@dataclass(frozen=True)
class Ablate:
    """Compare confidences on a test split: the network's own, closed forms, calibrated scores, branches, the oracle."""

    options: Annotated[AblateOptions, tyro.conf.OmitArgPrefixes]
    """What to compare, and on which persons."""

    def run(self) -> None:
        """Fit, judge, print and write the tables."""
        from calibration.experiments.ablations import ablate
        from pose2d.tables import print_tables

        for tables in ablate(self.options):
            print_tables(tables)
