"""One self-contained page from a template: styles, scripts and data inside, nothing fetched from anywhere.

Charts are drawn as SVG and meshes by WebGL by the few scripts in `templates/`: plotly alone would add 4.5 MB to every
page and three.js 0.7 MB, for lines and a lit mesh; and SVG's text can be read, copied and zoomed. Everything that comes
from a file is escaped by jinja2, or lies in a JSON block in which no tag can end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval3dpw.drawing.overlay import Rgb
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path

TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("report_page.js", "report_charts.js", "report_viewer.js")


@runtime_checkable
class Page(Protocol):
    """What a template shows."""

    @property
    def record(self) -> Mapping[str, Any]:
        """How it was made."""


def write_page(template: str, page: Page, data: Mapping[str, Any], out_html: str | Path) -> Path:
    """Render a template and write it, whole or not at all; returns its path.

    Args:
        template: file in `templates/`.
        page: what the template shows; its `record` is printed as JSON.
        data: what the scripts read.
        out_html: the page to write.

    Raises:
        InputError: `out_html` is a directory.
    """
    out = Path(out_html)
    if out.is_dir():
        raise InputError(f"{out} is a directory: name the page to write, for example {out / 'report.html'}")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template(template).render(
        page=page,
        style=_file("report.css"),
        scripts=[_file(name) for name in _SCRIPTS],
        data=json_block(data),
        record=json.dumps(_finite(page.record), indent=1, ensure_ascii=False),
    )
    with atomic_path(out) as partial:
        partial.write_text(text, encoding="utf-8")
    return out


def json_block(value: Any) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element; NaN becomes null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # some number is not finite
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def hex_colour(colour: Rgb) -> str:
    """As CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _file(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
