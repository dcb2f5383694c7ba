"""Self-contained HTML pages: nothing fetched, no script but our own.

Owns the templates' environment (every value is escaped) and the pieces all pages share. A browser
is told to run nothing but the page's own script, known by its hash, and to fetch nothing: what a
model wrote cannot do either. What a page says: `log.report` for one run,
`commands.reproduce.report` for a whole reproduction.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reft_megatron.files import write_whole
from reft_megatron.log.curves import draw_picture
from reft_megatron.log.pictures import Picture
from reft_megatron.log.records import Series

__all__ = ["Image", "Table", "images", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A small table of a page."""

    title: str
    """Heading."""
    header: Sequence[str]
    """Column names."""
    rows: Sequence[Sequence[str]]
    """Cells as text; columns after the first are aligned as numbers."""
    note: str = ""
    """A line below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture of a page."""

    key: str
    """Anchor in the page and name of the file."""
    title: str
    """Heading."""
    caption: str
    """How to read it."""
    png: bytes
    """The picture."""
    alt: str = ""
    """What it shows, for those who do not see it; empty for its title."""

    @property
    def uri(self) -> str:
        """The picture as a `data:` address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header: a page keeps the room free."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])


def images(pictures: Iterable[Picture], series: Series) -> list[Image]:
    """Draw those of `pictures` for which the run has data."""
    drawn = ((picture, draw_picture(picture, series)) for picture in pictures)
    return [
        Image(key=picture.key, title=picture.title, caption=picture.caption, png=png)
        for picture, png in drawn
        if png is not None
    ]


def write_page(
    path: Path,
    template: str,
    values: dict[str, object],
    *,
    folder: Path = _TEMPLATES,
    script: str = "",
) -> None:
    """Fill a template with `values` and write it to `path`, all or nothing.

    template: its name in `folder`, or among the pieces here, which it may extend.
    script: file in `folder`, which ends the page and alone may run in it.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    policy, code = "default-src 'none'; img-src data:; style-src 'unsafe-inline'", ""
    if script:
        code = (folder / script).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
    own = {"policy": Markup(policy), "script": Markup(code)}
    text = environment.get_template(template).render(values | own)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
