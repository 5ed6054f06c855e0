"""Device, precision and number of processes of feature passes and branch trainings, by Lightning Fabric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pose2d.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Device = Literal["cpu", "cuda"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Hardware:
    """Where frozen networks run and branches are trained."""

    device: Device = "cpu"
    """Kind of device."""
    precision: Precision = "32-true"
    """Of the arithmetic, as Lightning Fabric names it."""
    devices: int = 1
    """Processes that share the work, one a device; on the CPU they are mere processes."""

    def fabric(self) -> Fabric:
        """What `launch(function, ...)` runs a function with, in this process or in as many as there are devices.

        Raises:
            InputError: there are fewer devices.
        """
        # Not at the top: they take seconds to import, and only trainings need them.
        import torch
        from lightning_fabric import Fabric

        found = torch.cuda.device_count() if self.device == "cuda" else self.devices
        if not 1 <= self.devices <= found:
            raise InputError(f"--devices {self.devices} --device {self.device}: {found} of them are here")
        strategy = "auto" if self.devices == 1 else "ddp_spawn"
        return Fabric(accelerator=self.device, devices=self.devices, precision=self.precision, strategy=strategy)
