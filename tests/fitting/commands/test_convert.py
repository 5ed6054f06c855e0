"""The conversion subcommands."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fitting.bodies.body import OPEN_BODY_DIR, load_body
from fitting.commands.convert import ConvertBody
from pose2d.errors import InputError


def test_a_converted_body_is_the_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(OPEN_BODY_DIR / "OPENBODY_NEUTRAL.npz") as arrays:
        source = tmp_path / "basicmodel_neutral.pkl"
        source.write_bytes(
            pickle.dumps({name: arrays[name] for name in arrays.files if arrays[name].dtype.kind != "U"})
        )
    ConvertBody(source, tmp_path / "SMPL_NEUTRAL.npz").run()
    assert "--body-dir" in capsys.readouterr().out
    assert torch.equal(load_body(tmp_path).v_template, load_body().v_template)


def test_a_name_that_would_not_be_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name it SMPL_NEUTRAL"):
        ConvertBody(tmp_path / "a.pkl", tmp_path / "body.npz").run()
