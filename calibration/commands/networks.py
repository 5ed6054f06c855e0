"""The list of pose networks with what CCNet adds to each."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.ccnet.options import Head
from pose2d.commands.networks import Networks


@dataclass(frozen=True)
class NetworksWithCCNet(Networks):
    """List the pose networks: parameters, multiply-accumulates and inputs, measured, beside the paper's table 2.

    Beside each stands what CCNet adds to it; table 2 adds 0.08 M parameters and 0.06 GFLOPs at most.
    """

    head: Head = "local"
    """Form of CCNet: local is this project's, conv and linear are the paper's, scores the control."""

    def further(self, name: str) -> dict[str, float]:
        """CCNet's parameters and multiply-accumulates."""
        from calibration.ccnet.cost import measure_ccnet

        cost = measure_ccnet(name, self.head)
        return {"+ CCNet M": round(cost.parameters / 1e6, 4), "+ GMACs": round(cost.macs / 1e9, 4)}
