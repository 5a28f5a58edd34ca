"""The report as a PDF, typeset by Typst, which is installed as a wheel."""

from pathlib import Path

import typst

from darkroom.reporting.pandoc import MARKDOWN, convert
from darkroom.reporting.rendering import TEMPLATES


def write_pdf(body: str, title: str, folder: Path, path: Path) -> None:
    """Write an A4 document; paths in `body` are relative to `folder`."""
    source = folder / f".{path.stem}.typ"
    try:
        style = (f"--template={TEMPLATES / 'report.typ'}", "--shift-heading-level-by=-1")
        convert(body, folder, "typst", source, *style, f"--metadata=title:{title}", *MARKDOWN)
        typst.compile(source, output=path, root=folder, format="pdf")
    finally:
        source.unlink(missing_ok=True)
