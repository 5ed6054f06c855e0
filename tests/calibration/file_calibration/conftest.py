"""One calibrator for all tests."""

from __future__ import annotations

from typing import Any

import pytest

from calibration.coco.accuracy import accuracy_of
from calibration.coco.files import read_truth
from calibration.coco.matching import match
from calibration.file_calibration.fitting import FileFit, fit_calibrator
from calibration.file_calibration.judging import read_with_crops
from tests.calibration.file_calibration.made_results import made_files


@pytest.fixture(scope="session")
def files() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """120 images of two persons, with a duplicate of each."""
    return made_files(120, duplicates=1)


@pytest.fixture(scope="session")
def pose_aware(files: tuple[dict[str, Any], list[dict[str, Any]]]) -> FileFit:
    """Fitted to all of them."""
    truth = read_truth(files[0])
    detections, crops = read_with_crops(files[1], truth)
    matches = match(truth, detections)
    return fit_calibrator("pose-aware", matches, accuracy_of(matches), crops, network="made")
