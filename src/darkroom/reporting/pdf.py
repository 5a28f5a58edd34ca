"""The report as a PDF, typeset by Typst, which comes as a wheel."""

from pathlib import Path

import typst

from darkroom.reporting.pandoc import MARKDOWN, convert
from darkroom.reporting.rendering import TEMPLATES


def write_pdf(body: str, title: str, folder: Path, path: Path) -> None:
    """Write an A4 document. `body` finds its pictures in `folder`."""
    source = folder / f".{path.stem}.typ"
    try:
        look = (f"--template={TEMPLATES / 'report.typ'}", "--shift-heading-level-by=-1")
        convert(body, folder, "typst", source, *look, f"--metadata=title:{title}", *MARKDOWN)
        typst.compile(source, output=path, root=folder, format="pdf")
    finally:
        source.unlink(missing_ok=True)
