"""A live 3D viewer of a run's fits in the browser, by viser, reachable from this machine alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval3dpw.drawing.overlay import TRUTH_COLOUR, row_colours
from eval3dpw.report.bodies import TRUTH, fitted_mesh, true_mesh
from eval3dpw.report.run_data import Run
from eval3dpw.report.scene import MovingMesh
from pose2d.errors import InputError

HOST = "127.0.0.1"
_FRAMES_PER_S = 12.0
_TO_Y_UP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Shown:
    """What the controls ask for."""

    track: str
    row: str
    frame: int
    truth: bool
    together: bool


def meshes_of(run: Run, shown: Shown) -> dict[str, MovingMesh]:
    """The bodies to draw, one frame each, by name; those with a common pelvis have it at the origin."""
    fit = run.fits(shown.track)[shown.row]
    frame_ids = fit.frame_ids[min(shown.frame, len(fit.frame_ids) - 1)][None]
    meshes = {shown.row: fitted_mesh(run.find_body("neutral"), fit, frame_ids)}
    truth = true_mesh(run, shown.track, frame_ids) if shown.truth else None
    if truth is not None:
        meshes[TRUTH] = truth
    if not shown.together:
        return meshes
    return {
        name: MovingMesh(mesh.vertices - mesh.pelvis[:, None], 0 * mesh.pelvis, mesh.orientation)
        for name, mesh in meshes.items()
    }


class Viewer:
    """The server with its controls; `update` draws what they ask for."""

    def __init__(self, run: Run, port: int) -> None:
        """
        Raises:
            InputError: viser is not installed, or the run has no fits.
        """
        try:
            import viser
        except ImportError:
            raise InputError("the viewer needs the package viser: pip install 'calibrated-pose[viewer]'") from None
        tracks = [track["track"] for track in run.summary["tracks"] if run.fits(track["track"])]
        if not tracks:
            raise InputError(f"{run.folder} holds no fits to view: no fits/<weighting>/<track>.npz")
        self.run = run
        self.server = viser.ViserServer(host=HOST, port=port, label="calibrated-pose", verbose=False)
        self.server.scene.set_up_direction("+y")
        gui: Any = self.server.gui
        self.track = gui.add_dropdown("Track", tracks)
        self.row = gui.add_dropdown("Weighting", run.rows, initial_value=run.favourite)
        self.frame = gui.add_slider("Frame", 0, max(1, self._count() - 1), 1, 0)
        self.playing = gui.add_checkbox("Play", False)
        self.truth = gui.add_checkbox("Truth", True)
        self.together = gui.add_checkbox("Pelves together", True)
        for control in (self.row, self.frame, self.truth, self.together):
            control.on_update(lambda _: self.update())
        self.track.on_update(lambda _: self._choose())
        self.update()

    @property
    def port(self) -> int:
        """Where it listens; another than was asked for if that one was taken."""
        return int(self.server.get_port())

    def shown(self) -> Shown:
        """What the controls ask for now."""
        return Shown(
            self.track.value, self.row.value, int(self.frame.value), bool(self.truth.value), bool(self.together.value)
        )

    def update(self) -> None:
        """Draw the chosen bodies."""
        meshes = meshes_of(self.run, self.shown())
        faces = self.run.find_body("neutral").faces
        for name, mesh in meshes.items():
            self.server.scene.add_mesh_simple(
                "/truth" if name == TRUTH else "/fit",
                (mesh.vertices[0] @ _TO_Y_UP.T).astype(np.float32),
                faces.astype(np.uint32),
                color=TRUTH_COLOUR if name == TRUTH else row_colours(self.run.rows)[name],
                opacity=0.6 if name == TRUTH else None,
                side="double",
            )
        if TRUTH not in meshes:
            self.server.scene.remove_by_name("/truth")

    def serve(self) -> None:
        """Run until interrupted, moving on while Play is ticked."""
        while True:
            time.sleep(1 / _FRAMES_PER_S)
            if self.playing.value and (count := self._count()) > 1:
                self.frame.value = (int(self.frame.value) + 1) % count

    def stop(self) -> None:
        """End the server."""
        self.server.stop()

    def _count(self) -> int:
        return len(self.run.fits(self.track.value)[self.row.value].frame_ids)

    def _choose(self) -> None:
        self.frame.max = max(1, self._count() - 1)
        self.frame.value = 0
        self.update()
