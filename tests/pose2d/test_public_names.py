"""What the package exports, and at what cost."""

import subprocess
import sys

import pytest

import pose2d


def test_exported_names_can_be_imported() -> None:
    for name in pose2d.__all__:
        assert getattr(pose2d, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = pose2d.no_such_name


def test_errors_skeletons_and_options_do_not_wait_for_torch() -> None:
    program = (
        "import sys; from pose2d import InputError, SKELETONS;"
        "import pose2d.commands.detect, pose2d.commands.train_pose;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
