"""`view`: a run's bodies in 3D, live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class View:
    """Look at fits in 3D, live in a browser on this machine."""

    fits: Path
    """Folder that `demo`, `compare` or `fit` was given as --out."""
    root: Path | None = None
    """The dataset, if it lies elsewhere than when the run was made."""
    port: int = 8080
    """On localhost; the next free one if it is taken."""

    def run(self) -> None:
        """Serve until interrupted."""
        from eval3dpw.report.run_data import load_run
        from eval3dpw.report.viewer import HOST, Viewer
        from pose2d.errors import InputError

        if not 1 <= self.port <= 65535:
            raise InputError(f"--port is {self.port}: ports are 1 to 65535")
        viewer = Viewer(load_run(self.fits, self.root), self.port)
        print(f"Open http://{HOST}:{viewer.port} (this machine only); Ctrl-C ends it", flush=True)
        try:
            viewer.serve()
        finally:
            viewer.stop()
