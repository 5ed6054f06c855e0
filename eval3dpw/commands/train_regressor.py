"""`train-regressor`: the network of the first guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from eval3dpw.training.options import TrainRegressorConfig


@dataclass(frozen=True)
class TrainRegressor:
    """Train the small regressor on the open world's crops."""

    config: Annotated[TrainRegressorConfig, tyro.conf.arg(name="")]

    def run(self) -> None:
        """Train and print how good the network became."""
        from eval3dpw.training.regressor_trainer import train_regressor

        print(train_regressor(self.config))
