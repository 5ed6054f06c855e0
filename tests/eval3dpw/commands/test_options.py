"""The command line offers what the tables hold."""

import pytest
import tyro

from eval3dpw.commands.compare import Compare
from eval3dpw.commands.fit import Fit
from fitting.weightings import WEIGHTINGS


def test_compare_takes_every_weighting_by_default():
    assert tyro.cli(Compare, args=["--root", "r", "--out", "o"]).weightings == tuple(WEIGHTINGS)


@pytest.mark.parametrize("flag", ["--weighting", "--protocol", "--dataset"])
def test_a_name_that_no_table_has_is_refused(flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(Fit, args=["--root", "r", "--out", "o", flag, "none"])
    assert stopped.value.code == 2
    assert "none" in capsys.readouterr().err
