"""`calibrate`: train a CCNet for a pose network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from calibration.ccnet.options import CalibrateOptions


@dataclass(frozen=True)
class Calibrate:
    """Train a CCNet for a pose network on images in COCO's layout that the network was not trained on."""

    options: Annotated[CalibrateOptions, tyro.conf.OmitArgPrefixes]
    """What to train on, and how."""

    def run(self) -> None:
        """Cache features, train, report, write."""
        from calibration.ccnet.calibrate import calibrate

        print("\n".join(calibrate(self.options)))
