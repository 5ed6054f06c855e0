"""Work spread over processes."""

from __future__ import annotations

import functools
import math
import operator
import os
from typing import Any

import pytest

from pose2d.errors import InputError
from pose2d.parallel import parallel_map


def test_results_come_in_order_whatever_the_number_of_workers() -> None:
    items = list(range(7))
    expected = [math.factorial(item) for item in items]
    assert parallel_map(math.factorial, items, 1, "test") == expected
    assert parallel_map(math.factorial, items, 2, "test", chunk=2) == expected
    assert parallel_map(math.factorial, [], 2, "test") == []


def test_a_failing_item_fails_the_whole() -> None:
    with pytest.raises(ValueError, match="negative"):
        parallel_map(math.factorial, [1, 2, -1], 2, "test")


def test_a_killed_worker_is_told() -> None:
    # The first item runs in this process, the others in processes that they end.
    ends: Any = functools.partial(os._exit, 1)
    with pytest.raises(InputError, match="a worker process was killed"):
        parallel_map(operator.call, [int, ends, ends], 2, "test")
