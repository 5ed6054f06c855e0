"""Options of the experiments that fit confidences on one split and judge them on another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from calibration.ccnet.options import FeatureOptions


@dataclass(frozen=True)
class JudgedOptions(FeatureOptions):
    """Splits to fit on, to stop by and to judge on."""

    calibration_split: str = "calibration"
    """Split to fit on."""
    validation_split: str | None = "validation"
    """Split that decides when to stop; None: a share of the images to fit on is held out."""
    test_split: str = "test"
    """Split to judge on."""
    bootstrap: int = 1000
    """Resamples of the images for the intervals."""


@dataclass(frozen=True)
class AblateOptions(JudgedOptions):
    """Which comparison of which network."""

    what: Literal["confidences", "losses", "inputs", "aggregations", "targets", "presence", "all"] = "confidences"
    """confidences: all methods side by side. losses, inputs, aggregations, targets: the paper's choices. presence: what
    altered views teach."""
    pck: tuple[float, ...] = ()
    """Thresholds of --what targets; by default 0.1, and 0.5 too where heads are annotated."""
    fine_tune_minutes: float = 0.0
    """Of --what inputs: how long a copy of the network is fine-tuned, a pass at least; 0: none is."""


@dataclass(frozen=True)
class TablesOptions(JudgedOptions):
    """Which of the paper's tables, of which networks."""

    network: str = field(default="", kw_only=True)
    """Pose network as of the other commands; by default the packaged SBL, RLE and IPR in turn."""
    only: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Which tables: 1, 2, 5 are of coco, 3 of wholebody, 4 of mpii; of the others a line says what they need."""
