"""The report as one self-contained web page."""

from pathlib import Path

from darkroom.reporting.pandoc import MARKDOWN, convert
from darkroom.reporting.rendering import TEMPLATES


def write_html(body: str, title: str, folder: Path, path: Path) -> None:
    """Write one page with embedded styles and figures; paths in `body` are relative to `folder`."""
    style = (f"--template={TEMPLATES / 'report.html'}", f"--css={TEMPLATES / 'report.css'}")
    options = ("--embed-resources", "--toc", "--toc-depth=2", f"--metadata=title:{title}")
    convert(body, folder, "html5", path, *style, *options, *MARKDOWN)
