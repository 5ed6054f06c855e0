"""`demo`: the whole way on a small open world."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from eval3dpw.run.options import FitOptions, ProtocolName, WeightingName
from fitting.weightings import WEIGHTINGS


@dataclass(frozen=True)
class Demo:
    """The whole way on a small open world: make it, compare all weightings, draw pictures."""

    out: Path = Path("demo")
    """Folder for the world, the results (summary.json, fits, ...) and the pictures; a world that is there is kept."""
    seed: int = 0
    """Of the world."""
    weightings: tuple[WeightingName, ...] = tuple(WEIGHTINGS)
    """Rules from confidence to weight."""
    protocol: ProtocolName = "camerahmr"
    """Evaluation protocol."""
    limit: int | None = None
    """At most this many frames of each track, evenly spread."""
    pictures: int = 8
    """How many frames to draw."""
    report: bool = True
    """Write report.html, one page to look at."""
    fresh: bool = False
    """Fit again from the start; by default what an interrupted run has finished is kept."""
    workers: int = 0
    """Sequences fitted at the same time; 0 for as many as there are cores."""

    def run(self) -> None:
        """Make (or find) the world, compare the weightings on its test split, draw pictures."""
        from eval3dpw.commands.presentation import present_fits
        from eval3dpw.report.frame_pictures import draw_pictures
        from eval3dpw.report.run_report import write_report
        from eval3dpw.report.table import report_console
        from eval3dpw.run.fit import run_fits

        console = report_console()
        start = time.perf_counter()
        root = self._world(console) / "3dpw"
        options = FitOptions(
            root, self.out, protocol=self.protocol, limit=self.limit, fresh=self.fresh, workers=self.workers
        )
        finished = run_fits(options, self.weightings, "compare", {"weightings": list(self.weightings), "report": False})
        present_fits(finished, report=False)
        shown = "ccnet" if "ccnet" in self.weightings else self.weightings[-1]
        folder = self.out / "pictures"
        count = draw_pictures(self.out, shown, self.pictures, folder)
        console.print(f"Pictures of {count} frames (init and {shown}): {folder}", highlight=False)
        if self.report:
            console.print(f"Report: {write_report(self.out)}", highlight=False)
        console.print(f"Done in {time.perf_counter() - start:.0f} s", highlight=False)

    def _world(self, console: Console) -> Path:
        """The world's folder, made where it is not there.

        Raises:
            InputError: the folder holds something else.
        """
        from eval3dpw.openworld.world.make import WORLD_FILE, MakeWorldConfig, make_world
        from pose2d.errors import InputError

        world = self.out / f"world-{self.seed}"
        if (world / WORLD_FILE).is_file():
            console.print(f"World: {world} (made before)", highlight=False)
            return world
        if world.exists():
            raise InputError(f"{world} exists but is no finished world: remove it or choose another --out")
        make_world(MakeWorldConfig(world, seed=self.seed, parts=("3dpw",)))
        console.print(f"World: {world}", highlight=False)
        return world
