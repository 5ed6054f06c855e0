"""Subcommands that bring the user's own model files into the project's formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class ConvertBody:
    """Convert an official SMPL .pkl once into the .npz that every command reads. Nothing in the pickle is run."""

    source: Annotated[Path, tyro.conf.Positional]
    """The .pkl, for example basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl."""
    target: Annotated[Path, tyro.conf.Positional]
    """The .npz to write, named for its gender: SMPL_NEUTRAL.npz, SMPL_MALE.npz or SMPL_FEMALE.npz."""

    def run(self) -> None:
        """Convert, and say what was written."""
        from fitting.bodies.body import GENDERS, convert_body
        from pose2d.errors import InputError

        if not any(self.target.name.endswith(f"_{gender.upper()}.npz") for gender in GENDERS):
            raise InputError(
                f"{self.target} would not be found: name it SMPL_NEUTRAL.npz, SMPL_MALE.npz or SMPL_FEMALE.npz"
            )
        convert_body(self.source, self.target)
        print(f"wrote {self.target}; use its folder as --body-dir")


@dataclass(frozen=True)
class ConvertRegressor:
    """Convert SPIN's released checkpoint once into .safetensors. Nothing in the file is run."""

    source: Annotated[Path, tyro.conf.Positional]
    """The released checkpoint, model_checkpoint.pt."""
    target: Annotated[Path, tyro.conf.Positional]
    """The .safetensors to write."""

    def run(self) -> None:
        """Convert, and say what was written."""
        from fitting.regressor.files import convert_regressor

        convert_regressor(self.source, self.target)
        print(f"wrote {self.target}; use it as --regressor")
