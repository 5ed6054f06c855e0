"""`make-world`: the open world on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class MakeWorld:
    """Make an open world: sequences as 3DPW lies on disk, and crops as COCO lies on disk."""

    out: Path
    """Folder to make; it appears when everything in it is whole. Holds 3dpw/ and coco/."""
    size: Literal["small", "full"] = "small"
    """small: for a demonstration. full: for training and tables."""
    seed: int = 0
    """The same seed gives the same bytes."""
    parts: tuple[Literal["3dpw", "coco"], ...] = ("3dpw", "coco")
    """What to make."""
    workers: int = 0
    """Processes; 0 for one on each core."""
    overwrite: bool = False
    """Replace the folder if it exists."""

    def run(self) -> None:
        """Make the world and say where it lies."""
        from eval3dpw.openworld.world.make import MakeWorldConfig, make_world

        made = make_world(MakeWorldConfig(self.out, self.size, self.seed, self.parts, self.workers, self.overwrite))
        print(f"World: {made}")
