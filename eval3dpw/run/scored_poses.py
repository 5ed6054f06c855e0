"""2D keypoints with the confidences of each calibration of a run, on their way from the networks to the weightings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from calibration.calibrated_poses import CalibratedPoses2D
from fitting.evidence import KeypointEvidence
from pose2d.poses import Poses2D


@dataclass(frozen=True)
class ScoredPoses2D:
    """2D poses of n persons, calibrated as far as the run's weightings need it."""

    seen: Poses2D | CalibratedPoses2D
    """With calibrated confidences where a weighting asks for them."""
    rescored: Float[np.ndarray, "n k"] | None = None
    """Expected OKS by the closed-form correction of the raw scores."""

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def poses(self) -> Poses2D:
        """Keypoints and raw scores as the pose network gave them."""
        return self.seen.poses if isinstance(self.seen, CalibratedPoses2D) else self.seen

    def select(self, rows: Int[np.ndarray, " m"] | slice) -> ScoredPoses2D:
        """The persons in `rows`, in that order."""
        return ScoredPoses2D(self.seen.select(rows), None if self.rescored is None else self.rescored[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[ScoredPoses2D]) -> ScoredPoses2D:
        """The persons of all parts, one part after the other.

        Raises:
            ValueError: no parts, or they are not scored alike.
        """
        calibrated = [part.seen for part in parts if isinstance(part.seen, CalibratedPoses2D)]
        plain = [part.seen for part in parts if isinstance(part.seen, Poses2D)]
        rescored = [part.rescored for part in parts if part.rescored is not None]
        if (calibrated and plain) or len(rescored) not in (0, len(parts)):
            raise ValueError("some of these poses are calibrated and some are not")
        seen = CalibratedPoses2D.concatenate(calibrated) if calibrated else Poses2D.concatenate(plain)
        return cls(seen, np.concatenate(rescored) if rescored else None)

    def evidence(self, oracle: Float[np.ndarray, "n k"] | None = None) -> KeypointEvidence:
        """What weightings may know, with the true OKS where it is given."""
        return KeypointEvidence.of(self.seen, self.rescored, oracle)
