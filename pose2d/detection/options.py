"""How a detection run scores persons; below the work and free of torch, so that the command line has it at once."""

from __future__ import annotations

from dataclasses import dataclass

from pose2d.names import InstanceScoreName


@dataclass(frozen=True)
class DetectOptions:
    """How persons are run, scored and freed of duplicates."""

    instance_score: InstanceScoreName | None = None
    """How keypoint scores become the instance's; the family's own way by default."""
    oks_threshold: float = 0.9
    """Of two poses of detected boxes more alike than this the lower scored is left out; 1 keeps all."""
    batch: int = 32
    """Persons per step."""
