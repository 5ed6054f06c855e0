"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pose2d.console.progress import set_quiet

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Directory of numbers that outside code gave, each with a sidecar that says how."""
    return GOLDEN


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of real COCO annotations and detections, which do not travel with the project."""
    directory = Path(__file__).parents[2] / "shared" / "data"
    if not directory.is_dir():
        pytest.skip("the real COCO annotation files are not on this machine")
    return directory


@pytest.fixture(autouse=True)
def _quiet_and_seeded() -> None:
    set_quiet(True)
    torch.manual_seed(0)
