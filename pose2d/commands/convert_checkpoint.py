"""The subcommand that copies a checkpoint's tensors into safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ConvertCheckpoint:
    """Copy the tensors of a torch checkpoint into safetensors, running nothing that lies in it."""

    source: Annotated[Path, tyro.conf.Positional]
    """Checkpoint as released (.pth, .pth.tar, .pt)."""
    target: Annotated[Path, tyro.conf.Positional]
    """File to write, ending in .safetensors."""

    def run(self) -> None:
        """Convert."""
        from pose2d.networks.checkpoints import convert_checkpoint

        count = convert_checkpoint(self.source, self.target)
        print(f"{count} tensors written to {self.target}")
