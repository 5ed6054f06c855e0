"""The subcommand that lists the pose networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Networks:
    """List the pose networks: parameters, multiply-accumulates and inputs, measured, beside the paper's table 2."""

    json: Path | None = None
    """Also write the rows here."""
    names: tuple[str, ...] = ()
    """Only these networks; all when none is named."""

    def run(self) -> None:
        """Measure and print."""
        from rich.console import Console
        from rich.table import Table

        from pose2d.files.storage import write_json
        from pose2d.networks.catalogue import NETWORKS
        from pose2d.networks.measure import measure_network

        rows = [measure_network(name) for name in self.names or NETWORKS]
        further = {row.name: self.further(row.name) for row in rows}
        table = Table(title="Pose networks (17 keypoints), and the paper's table 2")
        for title in ("name", "family", "input"):
            table.add_column(title, no_wrap=True)
        for title in ("params M", "GMACs", *further[rows[0].name], "paper's input", "params M", "GFLOPs"):
            table.add_column(title, justify="right")
        for row in rows:
            paper = ("", "", "")
            if row.paper is not None:
                paper = (row.paper.input, f"{row.paper.params_m:.2f}", f"{row.paper.gflops:.2f}")
            own = (f"{row.params_m:.2f}", f"{row.gmacs:.2f}", *(f"{value:.4f}" for value in further[row.name].values()))
            table.add_row(row.name, row.family, row.input, *own, *paper)
        console = Console()
        (console if console.is_terminal else Console(width=120)).print(table)
        if self.json is not None:
            write_json(self.json, {"rows": [row.as_dict() | further[row.name] for row in rows]})

    def further(self, name: str) -> dict[str, float]:  # for those that override it
        """Further figures of a network by the title of their column; none here, CCNet's on the command line."""
        del name  # for the class that adds them
        return {}
