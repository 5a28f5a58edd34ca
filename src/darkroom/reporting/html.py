"""The report as one self-contained web page."""

from pathlib import Path

from darkroom.reporting.pandoc import MARKDOWN, convert
from darkroom.reporting.rendering import TEMPLATES


def write_html(body: str, title: str, folder: Path, path: Path) -> None:
    """Write one self-contained page: styles and pictures are inside. `body` finds its pictures in `folder`."""
    look = (f"--template={TEMPLATES / 'report.html'}", f"--css={TEMPLATES / 'report.css'}")
    options = ("--embed-resources", "--toc", "--toc-depth=2", f"--metadata=title:{title}")
    convert(body, folder, "html5", path, *look, *options, *MARKDOWN)
