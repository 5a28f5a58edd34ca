"""The look of every figure: one style, one palette that colour-blind readers can tell apart, equal bytes.

Draw inside `with figure(…) as drawing:`, where the style holds, and write with `save`. Figures are built
without pyplot, so there is no global state, no display and nothing to close.
"""

import math
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from anyascii import anyascii
from cycler import cycler
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from darkroom.foundations import files

DPI = 160
"""Dots per inch: a figure as wide as a page stays sharp on paper and on dense screens."""

# Okabe and Ito's palette (jfly.uni-koeln.de/color) without its yellow, which is too pale for lines on white.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
INK, MUTED, FAINT = "#1F2933", "#66727F", "#E3E7EB"
"""Text; secondary text and reference lines; grids and borders."""

# DejaVu comes with matplotlib and leads, so that figures look alike everywhere; the others draw the scripts
# that it lacks, where the machine has them.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Thai",
    "Noto Emoji",
    "Arial Unicode MS",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Nirmala UI",
)


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of `width` × `height` inches; what is drawn inside the block has the style."""
    with matplotlib.rc_context(_style()):
        drawing = Figure(figsize=(width, height))
        FigureCanvasAgg(drawing)
        yield drawing


def save(drawing: Figure, path: Path) -> None:
    """Write `drawing` as PNG, whole or not at all; figures drawn alike give equal bytes.

    A character that no font here has is drawn as a box, without a warning; `shorten` keeps names from that.
    """
    with files.whole_file(path) as partial, matplotlib.rc_context(_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        drawing.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})


def image_grid(rows: Sequence[tuple[str, npt.NDArray[np.uint8]]], cell: float = 0.62) -> Figure:
    """Return a figure of pictures, one row a title; more than 20 rows stand in blocks side by side.

    `rows` holds titles and uint8 images of shape (N, S, S, 3); N may differ from row to row, S may not. A
    picture is `cell` inches wide, less where the figure would become wider than 12 inches.
    """
    blocks = math.ceil(len(rows) / 20)
    height = math.ceil(len(rows) / blocks)
    columns = max(len(images) for _, images in rows)
    margin = 0.2 + 0.1 * max(_breadth(shorten(title)) for title, _ in rows)
    cell = min(cell, (12 / blocks - margin) / columns)
    with figure(blocks * (columns * cell + margin), height * cell + 0.1) as drawing:
        plots = drawing.subplots(1, blocks, squeeze=False)[0]
        for block, axes in enumerate(plots):
            part = rows[block * height : (block + 1) * height]
            canvas, step = _mosaic([images for _, images in part], height, columns)
            axes.imshow(canvas, interpolation="nearest" if step < 100 else "antialiased")
            titles = [shorten(title) for title, _ in part]
            axes.set_yticks([(row + 0.5) * step for row in range(len(part))], titles)
            axes.set_xticks([])
            axes.tick_params(length=0)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
    return drawing


def _mosaic(rows: Sequence[npt.NDArray[np.uint8]], height: int, width: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Return rows of images on one white canvas with room for `height` × `width`, and the pixels a place."""
    side = next(images.shape[1] for images in rows if len(images))
    step = side + max(1, round(side / 16))
    canvas = np.full((height * step, width * step, 3), 255, dtype=np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            canvas[row * step : row * step + side, column * step : column * step + side] = image
    return canvas, step


def shorten(name: str, length: int = 24) -> str:
    """Return `name` as figures write it, with its middle left out where it is broader than `length` letters."""
    name = legible(name)
    if _breadth(name) <= length:
        return name
    head, tail = "", ""
    while _breadth(head + tail + name[len(head)]) < length:
        head += name[len(head)]
        if _breadth(head + tail + name[-1 - len(tail)]) < length:
            tail = name[-1 - len(tail)] + tail
    return f"{head}…{tail}"


def legible(name: str) -> str:
    """Return `name`, or its like in Latin letters where no font here has its own."""
    missing = (character for character in name if not character.isspace() and ord(character) not in _letters())
    return name if name.isascii() or next(missing, None) is None else str(anyascii(name))


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the fonts here can draw."""
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in _families())
    return frozenset(code for font in fonts for code in font.get_charmap())


@cache
def _families() -> list[str]:
    """Return the families that figures use and this machine has, those that are newer than matplotlib's list too."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with suppress(Exception):  # FreeType's own types; a file that is no font is none of ours
            font_manager.fontManager.addfont(path)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [family for family in _FAMILIES if family in installed]


def _breadth(name: str) -> int:
    """Return about how many letters' room `name` takes: a character of Chinese or Japanese takes that of two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in name)


def _style() -> Any:  # matplotlib's type for it is a literal of all its 300 keys
    return {
        "font.family": _families(),
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # a class may be called "$5 note"
        "axes.prop_cycle": cycler(linestyle=["-", "--", ":"]) * cycler(color=PALETTE),
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "lines.linewidth": 1.8,
        "legend.frameon": False,
        "image.cmap": "Blues",
        "legend.handlelength": 2.6,  # long enough to show a dash
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
    }
