"""Slides with figures, paragraphs and tables that fit their space, made with python-pptx."""

import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from PIL import Image
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.slide import Slide
from pptx.util import Inches, Length, Pt

from darkroom.foundations import files, naming

LEFT, TOP, WIDTH, HEIGHT = Inches(0.5), Inches(1.05), Inches(9.0), Inches(4.1)
"""The content area of a slide."""
INK, MUTED, BLUE, SHADE = (RGBColor.from_string(code) for code in ("1F2933", "66727F", "0072B2", "F4F6F8"))
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Timestamp of all files in the archive, so that equal slides give equal bytes."""
PLAIN = "{2D5ABB26-0587-4C30-8999-92F81FD0307C}"
"""The table style without lines and colours."""


class Deck:
    """A presentation to which slides are added one by one."""

    def __init__(self, template: Path, figures: dict[str, Path]) -> None:
        self.figures = figures
        self.file = Presentation(str(template))
        for slide in list(self.file.slides._sldIdLst):  # sample slides of the template
            self.file.part.drop_rel(slide.rId)
            self.file.slides._sldIdLst.remove(slide)
        self.layouts = {layout.name: layout for layout in self.file.slide_layouts}

    def add(self, title: str, notes: str, layout: str = "Title Only") -> Slide:
        """Add a slide with a title of one line and speaker notes."""
        slide: Slide = self.file.slides.add_slide(self.layouts[layout])
        for shape in list(slide.placeholders):
            if shape.placeholder_format.idx > 1:
                shape.element.getparent().remove(shape.element)
        slide.shapes.title.text = naming.escape(title)
        slide.notes_slide.notes_text_frame.text = naming.escape_lines(notes)
        return slide

    def figure(
        self, slide: Slide, name: str, left: Length = LEFT, width: Length = WIDTH, height: Length = HEIGHT
    ) -> None:
        """Centre a figure in a box, as large as fits."""
        with Image.open(self.figures[name]) as image:
            factor = min(width / image.width, height / image.height)
            wide, high = int(image.width * factor), int(image.height * factor)
        shape = slide.shapes.add_picture(
            str(self.figures[name]), left + (width - wide) // 2, TOP + (height - high) // 2, wide, high
        )
        shape._element.nvPicPr.cNvPr.set("descr", slide.shapes.title.text)

    def save(self, path: Path, title: str, author: str) -> None:
        """Write the file; equal slides give equal bytes."""
        properties = self.file.core_properties
        properties.title, properties.author, properties.last_modified_by = title, author, ""
        properties.created = properties.modified = datetime(1970, 1, 1)
        raw = io.BytesIO()
        self.file.save(raw)
        with files.whole_file(path) as partial, zipfile.ZipFile(raw) as old, zipfile.ZipFile(partial, "w") as new:
            for name in old.namelist():
                new.writestr(zipfile.ZipInfo(name, EPOCH), old.read(name), zipfile.ZIP_DEFLATED)


def text(slide: Slide, lines: Sequence[str], left: Length = LEFT, width: Length = WIDTH, size: int = 16) -> None:
    """Put paragraphs into a box, centred vertically unless it is as wide as the slide; long text is set smaller."""
    frame = slide.shapes.add_textbox(left, TOP, width, HEIGHT).text_frame
    frame.word_wrap = True
    frame.vertical_anchor = MSO_ANCHOR.TOP if width == WIDTH else MSO_ANCHOR.MIDDLE
    size = min(size, _fitting(lines, width))
    for place, line in enumerate(lines):
        paragraph = frame.paragraphs[0] if not place else frame.add_paragraph()
        paragraph.space_after = Pt(size * 0.6)
        run = paragraph.add_run()
        run.text, run.font.size, run.font.color.rgb = naming.escape(line), Pt(size), INK


def _fitting(lines: Sequence[str], width: Length) -> int:
    """Return the largest font size in points at which the lines fit into the content area."""
    for size in range(20, 9, -1):
        letters = width / Pt(size * 0.5)  # a letter is about half as wide as it is high
        rows = sum(-(-_text_width(line) // int(letters)) + 0.5 for line in lines)
        if rows * size * 1.25 * 12700 <= HEIGHT:
            return size
    return 9


def _text_width(line: str) -> int:
    return sum(1 if ord(character) < 0x2E80 else 2 for character in line)


def table(
    slide: Slide, header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float], words: int = 1
) -> None:
    """Put a table on a slide; the first `words` columns are left-aligned, the others right. `widths` are relative."""
    size = 11
    height = Inches(0.34 if len(rows) < 8 else 0.28)
    shape = slide.shapes.add_table(len(rows) + 1, len(header), LEFT, TOP, WIDTH, height * (len(rows) + 1))
    grid = shape.table
    shape._element.graphic.graphicData.tbl[0][-1].text = PLAIN
    for column, width in enumerate(widths):
        grid.columns[column].width = int(WIDTH * width / sum(widths))
    for row, cells in enumerate([header, *rows]):
        grid.rows[row].height = height
        for column, value in enumerate(cells):
            cell = grid.cell(row, column)
            cell.vertical_anchor = MSO_ANCHOR.MIDDLE
            cell.margin_top = cell.margin_bottom = Inches(0.03)
            cell.margin_left = cell.margin_right = Inches(0.06)
            cell.fill.solid()
            cell.fill.fore_color.rgb = SHADE if row % 2 else RGBColor(255, 255, 255)
            paragraph = cell.text_frame.paragraphs[0]
            paragraph.alignment = PP_ALIGN.LEFT if column < words else PP_ALIGN.RIGHT
            run = paragraph.add_run()
            run.text, run.font.size, run.font.bold = naming.escape(value), Pt(size if row else 10), not row
            run.font.color.rgb = INK if row else MUTED
