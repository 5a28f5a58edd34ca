"""A review as Markdown, for the comment on a pull request."""

from collections.abc import Sequence

from darkroom import markdown
from darkroom.commands.review.blocks import Gallery, Section, SideBySide, Table

MOST_ROWS = 10
"""Images of a gallery that are listed by name."""
LONGEST = 60_000
"""Characters: GitHub's comments may have 65,536."""


def render(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """Return a review as Markdown; sections that would make it too long for a comment are only mentioned."""
    parts = [f"## {_text(title)}", *map(_text, lead)]
    size, left_out = sum(map(len, parts)), []
    for section in sections:
        blocks = [f"### {_text(section.title)}", *(_block(block) for block in section.blocks)]
        size += sum(map(len, blocks))
        if size > LONGEST:
            left_out.append(section.title)
        else:
            parts += blocks
    if left_out:
        parts.append(
            _text(f"Too long for a comment, and left out: {', '.join(left_out)}. The HTML page has everything.")
        )
    return "\n\n".join(filter(None, parts)) + "\n"


def _block(block: str | Table | Gallery | SideBySide) -> str:
    match block:
        case Table():
            return _table(block)
        case Gallery():
            rows = [thumbnail.cells for thumbnail in block.thumbnails[:MOST_ROWS]]
            more = f"and {block.total - len(rows):,} more" if block.total > len(rows) else ""
            table = _table(Table(block.columns, rows, text=len(block.columns), left_out=more))
            return f"**{_text(block.title)}: {markdown.count(block.total, 'image')}**\n\n{table}"
        case SideBySide():
            return ""  # a comment cannot hold images
    return _text(block)


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    rules = ["---" if place < table.text else "---:" for place in range(len(table.columns))]
    rows = [table.columns, *table.rows]
    lines = [f"| {' | '.join(map(_text, row))} |" for row in rows]
    lines.insert(1, f"|{'|'.join(rules)}|")
    return "\n".join(lines) + (f"\n\n{_text(table.left_out)}" if table.left_out else "")


def _text(value: object) -> str:
    """Return text that Markdown shows literally, and that notifies nobody whose name follows an @."""
    return markdown.text(value).replace("@", "@<!-- -->")
