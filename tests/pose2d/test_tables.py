"""One table, three ways to show it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pose2d.tables import Number, ResultTable, Section, print_tables, write_tables

NAN = float("nan")


@pytest.mark.parametrize(
    ("number", "text", "as_json"),
    [
        (Number(0.7244, digits=1, factor=100.0), "72.4", 0.7244),
        (Number(0.5, 0.4, 0.6, digits=1, factor=100.0), "50.0 [40.0, 60.0]", {"value": 0.5, "low": 0.4, "high": 0.6}),
        (Number(-0.001, -0.02, 0.03, 2, 100.0, signed=True), "-0.10 [-2.00, +3.00]", None),
        (Number(NAN), "–", None),
        (Number(0.25, NAN, NAN), "0.250", {"value": 0.25, "low": None, "high": None}),
    ],
)
def test_numbers(number: Number, text: str, as_json: object) -> None:
    assert str(number) == text
    if as_json is not None or text == "–":
        assert number.as_json() == as_json


def table() -> ResultTable:
    rows: list[Any] = [["[a]", Number(0.5), (Number(1.0), Number(NAN)), None], ["b" * 30, Number(NAN), (), "text"]]
    return ResultTable(
        "A title", ("name", "x", "both", "x"), (Section("first", rows), Section(None, rows[:1])), ("Note.",)
    )


def test_text_and_json_files(tmp_path: Path) -> None:
    write_tables(tmp_path / "t.txt", [table(), ResultTable("", (), (), ("only a note",))])
    text = (tmp_path / "t.txt").read_text()
    assert text.startswith("A title\n") and "[a]" in text and "1.000 / –" in text and text.endswith("only a note\n")
    assert not any(line != line.rstrip() for line in text.splitlines())
    first, second = json.loads((tmp_path / "t.json").read_text())["tables"]
    assert first["rows"][0] == {"section": "first", "name": "[a]", "x": 0.5, "both": [1.0, None], "x 2": None}
    assert "section" not in first["rows"][2] and len(first["rows"]) == 3
    assert second == {"title": "", "rows": [], "notes": ["only a note"]}


def test_a_narrow_terminal_cuts_no_number_off() -> None:
    out = io.StringIO()
    print_tables([table()], Console(file=out, width=44))
    assert "0.500" in out.getvalue() and "1.000 / –" in out.getvalue()
    assert out.getvalue().count("b") >= 30


def test_rows_of_another_length_are_refused() -> None:
    wrong = ResultTable("", ("a", "b"), (Section(None, [["one"]]),))
    with pytest.raises(ValueError, match="shorter"):
        wrong.as_json()
