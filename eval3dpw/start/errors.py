"""Errors of initial bodies against the truth, as a start prior measures them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import roma
import torch

from eval3dpw.dataset.ground_truth import CameraTruth
from fitting.body_fits import BodyFits
from fitting.start_prior import StartErrors


def start_errors(starts: Sequence[BodyFits], truths: Sequence[CameraTruth]) -> StartErrors:
    """Errors of the frames of some tracks; both sequences have an entry for each track."""
    rotations, betas, translation = [], [], []
    for start, truth in zip(starts, truths, strict=True):
        turned = torch.tensor(start.rotations).double().mT @ truth.rotations.double()
        rotations.append(roma.rotmat_to_rotvec(turned).numpy())
        betas.append(truth.betas.double().numpy() - start.betas)
        translation.append((truth.translation.double().numpy() - start.translation) / start.translation[:, 2:])
    return StartErrors(
        np.concatenate(rotations) if rotations else np.zeros((0, 24, 3)),
        np.concatenate(betas).astype(float) if betas else np.zeros((0, 10)),
        np.concatenate(translation).astype(float) if translation else np.zeros((0, 3)),
        len(rotations),
    )
