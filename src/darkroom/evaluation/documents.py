"""From the report's Markdown to a web page and a PDF: pandoc and Typst, both from wheels, no network."""

import os
import subprocess
from pathlib import Path

import pypandoc
import typst

from darkroom.evaluation.rendering import TEMPLATES

MARKDOWN = (
    "--from=markdown_strict+all_symbols_escapable+intraword_underscores+pipe_tables+table_captions+fenced_divs"
    "+backtick_code_blocks+fenced_code_attributes+implicit_figures+link_attributes+auto_identifiers+startnum"
    "+space_in_atx_header+blank_before_header+lists_without_preceding_blankline-raw_html",
    "--columns=10000",
)
"""Plain Markdown with captions and addresses; columns are as wide as their text."""


def write_html(body: str, title: str, folder: Path, path: Path) -> None:
    """Write one self-contained page: styles and pictures are inside. `body` finds its pictures in `folder`."""
    look = (f"--template={TEMPLATES / 'report.html'}", f"--css={TEMPLATES / 'report.css'}")
    options = ("--embed-resources", "--toc", "--toc-depth=2", f"--metadata=title:{title}")
    _pandoc(body, folder, "html5", path, *look, *options, *MARKDOWN)


def write_pdf(body: str, title: str, folder: Path, path: Path) -> None:
    """Write an A4 document. `body` finds its pictures in `folder`."""
    source = folder / f".{path.stem}.typ"
    try:
        look = (f"--template={TEMPLATES / 'report.typ'}", "--shift-heading-level-by=-1")
        _pandoc(body, folder, "typst", source, *look, f"--metadata=title:{title}", *MARKDOWN)
        typst.compile(source, output=path, root=folder, format="pdf")
    finally:
        source.unlink(missing_ok=True)


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
