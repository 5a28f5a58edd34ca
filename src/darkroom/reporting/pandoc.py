"""Conversion of the report's Markdown by pandoc, which is installed as a wheel."""

import os
import subprocess
from pathlib import Path

import pypandoc

MARKDOWN = (
    "--from=markdown_strict+all_symbols_escapable+intraword_underscores+pipe_tables+table_captions+fenced_divs"
    "+backtick_code_blocks+fenced_code_attributes+implicit_figures+link_attributes+auto_identifiers+startnum"
    "+space_in_atx_header+blank_before_header+lists_without_preceding_blankline-raw_html",
    "--columns=10000",
)
"""Plain Markdown with captions and anchors; columns are as wide as their text."""


def convert(body: str, folder: Path, kind: str, path: Path, *options: str) -> None:
    """Convert Markdown to `path`; the date is fixed to 1970, so that equal text gives equal bytes."""
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
