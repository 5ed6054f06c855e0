"""`tables`: the paper's tables with ours beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from calibration.experiments.options import TablesOptions


@dataclass(frozen=True)
class Tables:
    """Print the paper's tables with the paper's numbers and ours side by side."""

    options: Annotated[TablesOptions, tyro.conf.OmitArgPrefixes]
    """Which tables, and on which persons."""

    def run(self) -> None:
        """Fit, judge, print and write the tables."""
        from calibration.experiments.paper_tables import paper_tables
        from pose2d.tables import print_tables

        for table in paper_tables(self.options):
            print_tables([table])
