"""Names on the command line are those of the tables."""

from typing import Any, get_args

import pytest

from pose2d.datasets.kinds import DATASETS
from pose2d.decoding import HEATMAP_DECODERS
from pose2d.detection.oks_nms import INSTANCE_SCORES
from pose2d.names import DatasetName, Decoding, InstanceScoreName, SkeletonName
from pose2d.skeletons import SKELETONS


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (SkeletonName, [*SKELETONS]),
        (DatasetName, [*DATASETS]),
        (InstanceScoreName, [*INSTANCE_SCORES]),
        (Decoding, [*HEATMAP_DECODERS, "expected-oks"]),
    ],
)
def test_names_on_the_command_line_are_those_of_the_tables(names: Any, table: list[str]) -> None:
    assert sorted(get_args(names)) == sorted(table)
