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
    inspect: Path | None = None
    """List inputs, outputs and candidate features of this ONNX file instead."""

    def run(self) -> None:
        """Measure and print."""
        if self.inspect is not None:
            print("\n".join(describe_onnx(self.inspect)))
            return
        from pose2d.files.storage import write_json
        from pose2d.networks.catalogue import NETWORKS
        from pose2d.networks.measure import measure_network
        from pose2d.tables import Cell, Number, ResultTable, Section, print_tables

        rows = [measure_network(name) for name in self.names or NETWORKS]
        further = {row.name: self.further(row.name) for row in rows}
        cells: list[list[Cell]] = []
        for row in rows:
            paper: list[Cell] = [None] * 3
            if row.paper is not None:
                paper = [row.paper.input, Number(row.paper.params_m, digits=2), Number(row.paper.gflops, digits=2)]
            own = [Number(row.params_m, digits=2), Number(row.gmacs, digits=2)]
            added = [Number(value, digits=4) for value in further[row.name].values()]
            cells.append([row.name, row.family, row.input, *own, *added, *paper])
        measured = ("params M", "GMACs", *further[rows[0].name])
        columns = ("name", "family", "input", *measured, "paper's input", "params M", "GFLOPs")
        title = "Pose networks (17 keypoints), and the paper's table 2"
        print_tables([ResultTable(title, columns, (Section(None, cells),), texts=3)])
        if self.json is not None:
            write_json(self.json, {"rows": [row.as_dict() | further[row.name] for row in rows]})

    def further(self, name: str) -> dict[str, float]:  # for those that override it
        """Further figures of a network by the title of their column; none here, CCNet's on the command line."""
        del name  # for the class that adds them
        return {}


def describe_onnx(path: Path) -> list[str]:
    """Lines on an ONNX file: what goes in, what comes out, and which inner tensors a CCNet could read."""
    from pose2d.networks.onnx_config import told
    from pose2d.networks.onnx_files import feature_candidates, read_onnx

    file = read_onnx(path)

    def listed(names: list[str]) -> list[str]:
        return [f"  {name}  {told(file.shapes.get(name, ()))}" for name in names]

    candidates = feature_candidates(file)
    return [
        f"inputs of {path}",
        *listed(file.inputs),
        "outputs",
        *listed(file.outputs),
        "candidate features (feature = NAME in a TOML), nearest to the outputs first",
        *(f"  {name}  {told(shape)}" for name, shape in candidates),
    ]
