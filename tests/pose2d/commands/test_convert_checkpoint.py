"""`convert-checkpoint` writes what can be loaded."""

from pathlib import Path

import pytest
import torch

from pose2d.commands.convert_checkpoint import ConvertCheckpoint
from pose2d.networks.catalogue import build_network
from pose2d.networks.checkpoints import load_checkpoint


def test_convert_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = build_network("sbl-small").state_dict()
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    ConvertCheckpoint(tmp_path / "a.pth", tmp_path / "b.safetensors").run()
    assert f"{len(state)} tensors" in capsys.readouterr().out
    load_checkpoint(tmp_path / "b.safetensors", build_network("sbl-small"))
