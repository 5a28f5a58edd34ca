"""From the report's Markdown to a web page, a PDF and slides: pandoc and Typst, both from wheels, no network."""

import os
import subprocess
from pathlib import Path

import pypandoc
import typst

TEMPLATES = Path(__file__).parent / "templates"
PAGES = ("--from=gfm+implicit_figures", "--columns=10000")
"""GitHub's Markdown; a picture's description becomes its caption, and columns are as wide as their text."""
SLIDES = (
    "--from=markdown_strict+all_symbols_escapable+intraword_underscores+pipe_tables+fenced_divs",
    "--columns=20",
)
"""The same, with columns side by side; the dashes under a table's header give its columns' widths."""


def write_html(body: str, title: str, folder: Path, path: Path) -> None:
    """Write one self-contained page: styles and pictures are inside. `body` finds its pictures in `folder`."""
    look = (f"--template={TEMPLATES / 'report.html'}", f"--css={TEMPLATES / 'report.css'}")
    options = ("--embed-resources", "--toc", "--toc-depth=2", f"--metadata=title:{title}")
    _pandoc(body, folder, "html5", path, *look, *options, *PAGES)


def write_pdf(body: str, title: str, folder: Path, path: Path) -> None:
    """Write an A4 document. `body` finds its pictures in `folder`."""
    source = folder / f".{path.stem}.typ"
    try:
        look = f"--template={TEMPLATES / 'report.typ'}"
        _pandoc(body, folder, "typst", source, look, f"--metadata=title:{title}", *PAGES)
        typst.compile(source, output=path, root=folder, format="pdf")
    finally:
        source.unlink(missing_ok=True)


def write_slides(body: str, title: str, subtitle: str, folder: Path, path: Path) -> None:
    """Write a presentation, one slide a heading of the second level. `body` finds its pictures in `folder`.

    The look is that of `templates/slides.pptx`, which PowerPoint and LibreOffice open and change.
    """
    look = f"--reference-doc={TEMPLATES / 'slides.pptx'}"
    options = ("--slide-level=2", f"--metadata=title:{title}", f"--metadata=subtitle:{subtitle}")
    _pandoc(body, folder, "pptx", path, look, *options, *SLIDES)


def _pandoc(body: str, folder: Path, kind: str, path: Path, *options: str) -> None:
    """Convert Markdown to `path`; the clock stands at 1970, so that equal text gives equal bytes."""
    command = [
        pypandoc.get_pandoc_path(),
        f"--to={kind}",
        f"--output={path}",
        f"--resource-path={folder}",
        "--metadata=lang:en",
        "--standalone",
        "--syntax-highlighting=none",
        "--wrap=none",
        *options,
    ]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    subprocess.run(command, input=body, encoding="utf-8", check=True, env=environment)
