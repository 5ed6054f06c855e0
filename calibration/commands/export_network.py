"""`export-network`: a pose network and its CCNet as one ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from calibration.ccnet.export import ExportOptions


@dataclass(frozen=True)
class ExportNetwork:
    """Write a pose network and its CCNet as one ONNX file that needs neither torch nor this project.

    Its outputs are xy_px, raw_score, confidence, visibility, presence and sigma_px; its metadata say how it is fed.
    """

    options: Annotated[ExportOptions, tyro.conf.OmitArgPrefixes]
    """What to export."""

    def run(self) -> None:
        """Export."""
        from calibration.ccnet.export import export_network

        print(f"wrote {export_network(self.options)}")
