"""Tables of results: described once, shown by rich on the terminal, as text in files, and as JSON for machines."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pose2d.files.storage import atomic_path, write_json

UNDEFINED = "–"
_FILE_WIDTH = 1000
"""Of text files: wider than any table, so that nothing is wrapped."""


@dataclass(frozen=True)
class Number:
    """A number and how a table shows it.

    Attributes:
        value: as it is computed with, a share for example; NaN where it is undefined.
        low, high: bounds of its interval; None without one, or where that is undefined.
        digits: decimals that are shown.
        factor: between the value and what is shown; 100 shows a share in per cent.
        signed: whether a plus is shown.
    """

    value: float
    low: float | None = None
    high: float | None = None
    digits: int = 3
    factor: float = 1.0
    signed: bool = False

    def __str__(self) -> str:
        if math.isnan(self.value):
            return UNDEFINED
        if self.low is None or self.high is None or math.isnan(self.low):
            return self._shown(self.value)
        return f"{self._shown(self.value)} [{self._shown(self.low)}, {self._shown(self.high)}]"

    def _shown(self, value: float) -> str:
        return f"{self.factor * value:{'+' if self.signed else ''}.{self.digits}f}"

    def as_json(self) -> float | dict[str, float | None] | None:
        """The value, null where undefined; with an interval an object of `value`, `low` and `high`."""
        value = None if math.isnan(self.value) else self.value
        if self.low is None or self.high is None:
            return value
        low, high = (None if math.isnan(bound) else bound for bound in (self.low, self.high))
        return {"value": value, "low": low, "high": high}


Cell = Number | str | None | tuple[Number, ...]
"""One number, a text, nothing, or several numbers that are shown with slashes between."""


@dataclass(frozen=True)
class Section:
    """Rows under a heading of their own; None for no heading."""

    heading: str | None
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class ResultTable:
    """A table of results.

    Attributes:
        title: a line above.
        columns: names of the columns; names that occur twice are numbered in JSON.
        sections: its rows, one cell for each column.
        notes: lines below, of what a reader must know.
        texts: number of leading columns that hold texts, not numbers.
    """

    title: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    texts: int = 1

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """The rows of all sections."""
        return [row for section in self.sections for row in section.rows]

    def as_json(self) -> dict[str, Any]:
        """`title`, `rows` (objects by column, with `section` where there are headings) and `notes`."""
        names = list(_numbered(self.columns))
        rows: list[dict[str, Any]] = []
        for section in self.sections:
            heading = {} if section.heading is None else {"section": section.heading}
            for row in section.rows:
                rows.append(heading | {name: _json(cell) for name, cell in zip(names, row, strict=True)})
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}


def print_tables(tables: Sequence[ResultTable], console: Console | None = None) -> None:
    """Print tables, each under its title and above its notes."""
    console = console or wide_console()
    for table in tables:
        if table.title:
            console.print(Text(table.title, style="italic"))
        if table.columns:
            console.print(_rich(table))
        for note in table.notes:
            console.print(Text(note, style="dim"))


def write_tables(path: Path, tables: Sequence[ResultTable]) -> None:
    """Write tables as text, and as JSON into a file of the same name that ends in .json; each whole or not at all."""
    text = io.StringIO()
    print_tables(tables, Console(file=text, width=_FILE_WIDTH))
    with atomic_path(path) as partial:
        partial.write_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n", encoding="utf-8")
    write_json(path.with_suffix(".json"), {"tables": [table.as_json() for table in tables]})


def wide_console() -> Console:
    """The terminal, or a page wide enough for the tables where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)


def _rich(table: ResultTable) -> Table:
    shown = Table()
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        # What has an interval may be wrapped before it; other numbers stay whole on a narrow terminal.
        breaks = place < table.texts or any(isinstance(cell, Number) and cell.low is not None for cell in cells)
        shown.add_column(
            Text(name), justify="left" if place < table.texts else "right", no_wrap=not breaks, overflow="fold"
        )
    for section in table.sections:
        if section.heading is not None:
            shown.add_section()
            shown.add_row(Text(section.heading, style="bold"))
        for row in section.rows:
            shown.add_row(*(Text(_text(cell)) for cell in row))
    return shown


def _text(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return " / ".join(map(str, cell))
    return "" if cell is None else str(cell)


def _json(cell: Cell) -> Any:
    if isinstance(cell, tuple):
        return [number.as_json() for number in cell]
    return cell.as_json() if isinstance(cell, Number) else cell


def _numbered(names: Sequence[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        before = names[:place].count(name)
        yield f"{name} {before + 1}" if before else name
