"""The parts of a review, as plain text: what the Markdown and the page have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from darkroom.commands.review.snapshots import Snapshot


@dataclass(frozen=True)
class Table:
    """A table; the first `text` columns are text, the others numbers."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: int = 1
    left_out: str = ""
    """What is not listed, in words."""


@dataclass(frozen=True)
class Thumbnail:
    """One image of a gallery."""

    snapshot: Snapshot
    """The revision that has it."""
    row: int
    """In its packed data."""
    cells: tuple[str, ...]
    """Its row of the table that stands for the gallery where no images can be shown; the first is its name."""


@dataclass(frozen=True)
class Gallery:
    """Images with captions."""

    title: str
    columns: tuple[str, ...]
    """Headings of the table that stands for it."""
    thumbnails: Sequence[Thumbnail]
    total: int
    """Number of images, of which the first are in `thumbnails`."""


@dataclass(frozen=True)
class SideBySide:
    """Two figures: titles and drawings, before and after."""

    figures: Sequence[tuple[str, Figure]]


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables, galleries and figures."""

    title: str
    blocks: list[str | Table | Gallery | SideBySide] = field(default_factory=list)
