"""Posed meshes of a run's fits and of the truth, in the frame of the camera that saw them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.report.run_data import Run
from eval3dpw.report.scene import MovingMesh
from eval3dpw.results.fits import TrackFits
from fitting.bodies.body import Body

TRUTH = "truth"
_BATCH = 128


def pose_rows(run: Run, name: str, fits: dict[str, TrackFits], frame_ids: np.ndarray) -> dict[str, MovingMesh]:
    """The meshes of some frames of a track: every row's, and the truth's where it is there and has the same topology.

    Raises:
        InputError: a row has no body for one of the frames.
    """
    body = run.find_body("neutral")
    chosen = [fit.at(frame_ids) for fit in fits.values()]
    together = moving_mesh(  # all rows at once: posing a few bodies costs hardly more than posing one
        body,
        *(
            torch.as_tensor(np.concatenate([getattr(one, name) for one in chosen])).float()
            for name in ("rotations", "betas", "translation")
        ),
    )
    parts = [slice(start, start + len(frame_ids)) for start in range(0, len(together.pelvis), len(frame_ids))]
    meshes = {
        row: MovingMesh(together.vertices[part], together.pelvis[part], together.orientation[part])
        for row, part in zip(fits, parts, strict=True)
    }
    truth = true_mesh(run, name, frame_ids)
    if truth is not None and truth.vertices.shape[1] == len(body.v_template):
        meshes[TRUTH] = truth
    return meshes


def fitted_mesh(body: Body, fit: TrackFits, frame_ids: np.ndarray) -> MovingMesh:
    """The meshes of one row's fits."""
    chosen = fit.at(frame_ids)
    return moving_mesh(
        body,
        torch.as_tensor(chosen.rotations).float(),
        torch.as_tensor(chosen.betas).float(),
        torch.as_tensor(chosen.translation).float(),
    )


def true_mesh(run: Run, name: str, frame_ids: np.ndarray) -> MovingMesh | None:
    """The meshes of the truth; None where the dataset is not there or lacks a frame."""
    track = run.track(name)
    if track is None or track.truth is None or not np.isin(frame_ids, track.frame_ids).all():
        return None
    body = run.find_body(track.truth.gender)
    truth = camera_truth(track.select(np.searchsorted(track.frame_ids, frame_ids)), body)
    return moving_mesh(body, truth.rotations, truth.betas, truth.translation)


def moving_mesh(
    body: Body,
    rotations: Float[Tensor, "n 24 3 3"],
    betas: Float[Tensor, "n 10"],
    translation: Float[Tensor, "n 3"],
) -> MovingMesh:
    """Pose a body frame by frame, in batches."""
    vertices, pelvis = [], []
    with torch.no_grad():
        for start in range(0, len(rotations), _BATCH):
            part = slice(start, start + _BATCH)
            output = body(rotations[part], betas[part], translation[part])
            vertices.append(output.vertices.numpy())
            pelvis.append(output.joints[:, 0].numpy())
    return MovingMesh(np.concatenate(vertices), np.concatenate(pelvis), rotations[:, 0].numpy())
