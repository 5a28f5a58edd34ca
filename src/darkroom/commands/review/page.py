"""A review as one HTML file with its images inside."""

import base64
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from darkroom import plotting
from darkroom.commands.review.blocks import Gallery, Section, SideBySide, Table, Thumbnail
from darkroom.foundations import files
from darkroom.reporting import rendering

TEMPLATES = Path(__file__).parent / "templates"
LARGEST = 128
"""Side in pixels to which larger images are reduced."""
PIXELATED = 64
"""Images of up to this side are shown with sharp pixels."""


def write(path: Path, title: str, outcome: str, lead: Sequence[str], sections: Sequence[Section]) -> None:
    """Write a review as one self-contained page, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True
    )
    environment.tests |= {
        "table": lambda block: isinstance(block, Table),
        "gallery": lambda block: isinstance(block, Gallery),
        "side_by_side": lambda block: isinstance(block, SideBySide),
    }
    environment.filters |= {"thumbnail": _thumbnail, "drawing": _drawing}
    styles = [rendering.TEMPLATES / "report.css", TEMPLATES / "review.css"]
    page = environment.get_template("review.html.j2").render(
        title=title,
        outcome=outcome,
        lead=lead,
        sections=sections,
        style="\n".join(style.read_text(encoding="utf-8") for style in styles),
        pixelated=lambda shown: _side(shown) <= PIXELATED,
    )
    files.write_text(path, page)


def _pixels(shown: Thumbnail) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert shown.snapshot.pixels is not None, "the pixels are located where a page is asked for"
    images = np.load(shown.snapshot.pixels, mmap_mode="r", allow_pickle=False)
    return np.asarray(images[shown.row])


def _side(shown: Thumbnail) -> int:
    return len(_pixels(shown))


def _thumbnail(shown: Thumbnail) -> str:
    """Return an image as a data URI: PNG for small ones, JPEG for photographs."""
    image = Image.fromarray(_pixels(shown))
    image.thumbnail((LARGEST, LARGEST))
    kind = "PNG" if image.width <= PIXELATED else "JPEG"
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=85)
    return _uri(buffer.getvalue(), kind.lower())


def _drawing(figure: Figure) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        plotting.save(figure, path)
        return _uri(path.read_bytes(), "png")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
