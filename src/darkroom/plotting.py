"""The style of all figures: one colour-blind-safe palette, and equal bytes for equal figures.

Draw inside `with figure(…) as drawing:`, where the style applies, and write with `save`. Figures are built
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
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from darkroom.foundations import files
from darkroom.mosaic import mosaic

DPI = 160
"""Dots per inch: a figure as wide as a page is sharp in print and on high-resolution screens."""

# Okabe and Ito's palette (jfly.uni-koeln.de/color) without its yellow, which is too pale for lines on white.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
INK, MUTED, FAINT = "#1F2933", "#66727F", "#E3E7EB"
"""Text; secondary text and reference lines; grids and borders."""

# DejaVu is bundled with matplotlib and comes first, so that figures look the same everywhere; the others cover
# scripts that it lacks, if they are installed.
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
    """Yield an empty figure of `width` × `height` inches; the style applies inside the block."""
    with matplotlib.rc_context(_style()):
        drawing = Figure(figsize=(width, height))
        FigureCanvasAgg(drawing)
        yield drawing


@contextmanager
def inches(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure like `figure`, and axes that cover it, in inches from the top left corner."""
    with figure(width, height) as drawing:
        drawing.set_layout_engine("none")  # every place is given
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.axis("off")
        yield drawing, axes
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")  # last, since images change them


def place(axes: Axes, image: npt.NDArray[np.uint8], left: float, top: float, side: float) -> None:
    """Draw an image, uint8, shape (S, S, 3), on the axes of `inches` as a square of `side` inches."""
    axes.imshow(image, extent=(left, left + side, top + side, top), interpolation=smoothing(len(image)))


def smoothing(pixels: int) -> str:
    """Return how to scale images of so many pixels: those of few stay sharp."""
    return "nearest" if pixels < 100 else "antialiased"


def save(drawing: Figure, path: Path) -> None:
    """Write `drawing` as a PNG atomically; equal figures give equal bytes.

    A character that no installed font has is drawn as a box, without a warning; `shorten` prevents this for names.
    """
    with files.whole_file(path) as partial, matplotlib.rc_context(_style()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        drawing.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})


def image_grid(rows: Sequence[tuple[str, npt.NDArray[np.uint8]]], cell: float = 0.62) -> Figure:
    """Return a figure with one row of images per title; more than 20 rows are arranged in blocks side by side.

    `rows` contains titles and uint8 images of shape (N, S, S, 3); N may differ between rows, S may not. An image is
    `cell` inches wide, or less if the figure would otherwise be wider than 12 inches.
    """
    blocks = math.ceil(len(rows) / 20)
    height = math.ceil(len(rows) / blocks)
    columns = max(len(images) for _, images in rows)
    side = next(images.shape[1] for _, images in rows if len(images))
    gap = max(1, round(side / 16))
    step = side + gap
    margin = 0.2 + 0.1 * max(_text_width(shorten(title)) for title, _ in rows)
    cell = min(cell, (12 / blocks - margin) / columns)
    with figure(blocks * (columns * cell + margin), height * cell + 0.1) as drawing:
        plots = drawing.subplots(1, blocks, squeeze=False)[0]
        for block, axes in enumerate(plots):
            part = rows[block * height : (block + 1) * height]
            axes.imshow(mosaic([images for _, images in part], height, columns, gap), interpolation=smoothing(step))
            titles = [shorten(title) for title, _ in part]
            axes.set_yticks([(row + 0.5) * step for row in range(len(part))], titles)
            axes.set_xticks([])
            axes.tick_params(length=0)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
    return drawing


def shorten(name: str, length: int = 24) -> str:
    """Return `name` as shown in figures, with its middle omitted if it is wider than `length` letters."""
    name = legible(name)
    if _text_width(name) <= length:
        return name
    head, tail = "", ""
    while _text_width(head + tail + name[len(head)]) < length:
        head += name[len(head)]
        if _text_width(head + tail + name[-1 - len(tail)]) < length:
            tail = name[-1 - len(tail)] + tail
    return f"{head}…{tail}"


def legible(name: str) -> str:
    """Return `name`, transliterated to Latin letters if no installed font has its characters."""
    missing = (character for character in name if not character.isspace() and ord(character) not in _letters())
    return name if name.isascii() or next(missing, None) is None else str(anyascii(name))


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the installed fonts can draw."""
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in _families())
    return frozenset(code for font in fonts for code in font.get_charmap())


@cache
def _families() -> list[str]:
    """Return the font families that are installed, including those added after matplotlib cached its list."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with suppress(Exception):  # FreeType raises its own types for files that are not fonts
            font_manager.fontManager.addfont(path)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [family for family in _FAMILIES if family in installed]


def _text_width(name: str) -> int:
    """Return the approximate width of `name` in letters: a Chinese or Japanese character counts as two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in name)


def _style() -> Any:  # matplotlib types it as a literal of all its 300 keys
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
