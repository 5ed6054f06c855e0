"""The published 3DPW evaluation protocols, by name.

They differ in the body that makes the ground truth, in the point that stands for the pelvis, in the joints and in
whether vertices are brought to the pelvis before they are compared. A number without its protocol's name says little:
the same predictions differ by 5 mm and more between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from eval3dpw.dataset.sequences import Track
from eval3dpw.dataset.validity import VALIDITY
from pose2d.errors import InputError
from pose2d.skeletons import LSP14, SMPL24, Skeleton


@dataclass(frozen=True)
class Protocol:
    """How one public evaluation code compares a predicted body with the ground truth."""

    name: str
    truth_body: Literal["actor", "neutral"]
    """Which body turns the file's parameters into ground truth: the actor's own gender, or neutral for everyone."""
    joints: Skeleton
    """LSP14: regressed from the vertices by the evaluation regressor; SMPL24: the model's own joints."""
    pelvis: tuple[str, ...]
    """The points whose mean is the origin; of H36M17 for LSP14 joints, else of `joints` itself."""
    vertices_to_pelvis: bool
    """Whether vertices are brought to the pelvis. If not, each body's root rests where its model file puts it."""
    validity: str
    """Name of the rule (`eval3dpw.dataset.validity.VALIDITY`) by which frames count."""
    source: str
    """The public code it follows."""
    publishes_mve: bool = True
    """False: the public code has no vertex error; ours is then taken after alignment to the same pelvis."""
    details: bool = False
    """Whether the metrics of kind 'detail' (PCK, AUC and the two angle errors) are reported too."""

    def valid_frames(self, track: Track) -> Bool[np.ndarray, " n"]:
        """Mask of the track's frames that count."""
        return VALIDITY[self.validity](track)


_ROOT, _HIPS = ("pelvis",), ("left_hip", "right_hip")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("spin", "actor", LSP14, _ROOT, True, "spin", "nkolot/SPIN eval.py", publishes_mve=False),
        Protocol("pymaf", "actor", LSP14, _ROOT, False, "spin", "HongwenZhang/PyMAF eval.py"),
        Protocol("vibe", "neutral", LSP14, _HIPS, False, "vibe", "mkocabas/VIBE lib/core/evaluate.py"),
        Protocol("camerahmr", "actor", LSP14, _ROOT, True, "spin", "pixelite1201/CameraHMR"),
        Protocol("wham", "actor", LSP14, _HIPS, True, "vibe", "yohanshin/WHAM lib/eval/evaluate_3dpw.py"),
        Protocol(
            "official",
            "actor",
            SMPL24,
            _ROOT,
            True,
            "official",
            "aymenmir1/3dpw-eval evaluate.py",
            publishes_mve=False,
            details=True,
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is unknown: take one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
