"""A review as Markdown, for the comment on a pull request."""

import re
from collections.abc import Sequence

from darkroom import markdown
from darkroom.commands.review.blocks import Gallery, Section, SideBySide, Table
from darkroom.foundations import naming

MOST_ROWS = 10
"""Images of a gallery that are listed by name."""
LONGEST = 60_000
"""Characters: GitHub's comments may have 65,536."""
_SPECIAL = re.compile(
    r"[`*~$@]|://|www\."  # code, emphasis, strikethrough, formulas, mentions and links
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, except inside a word
    r"|\\(?=[^\w\s])|<(?=[a-z/!?])|&(?=[#a-z])"  # escapes, tags and entities
    r"|\](?=[(\[:])|!\[|#\d|:\w+:|^#+$",  # links, images, issues, emoji, and the end of a heading
    re.IGNORECASE,
)
"""What Markdown, or GitHub, does not show as it is."""
_BLOCK = re.compile(r"\d+[.)]|[-+=]+|>.*|#+|\[.*\]:?")
"""A first word that starts a list, a heading, a quotation, a rule or a definition."""
_AROUND = re.compile(r"([(]?)(.*?)([,;:.)]*)")


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
            return f"**{_text(block.title)}: {naming.count(block.total, 'image')}**\n\n{table}"
        case SideBySide():
            return ""  # a comment cannot hold images
    return _text(block)


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    rules = ["---" if place < table.text else "---:" for place in range(len(table.columns))]
    rows = [table.columns, *table.rows]
    lines = [f"| {' | '.join(_text(cell, in_table=True) for cell in row)} |" for row in rows]
    lines.insert(1, f"|{'|'.join(rules)}|")
    return "\n".join(lines) + (f"\n\n{_text(table.left_out)}" if table.left_out else "")


def _text(value: object, *, in_table: bool = False) -> str:
    """Return text that Markdown shows literally, and that links nothing and notifies nobody.

    Words that Markdown would change become code, since backslashes would be read by those who print the Markdown on a
    terminal. Underscores inside a word mean nothing to Markdown.
    """
    words = naming.escape(" ".join(str(value).split())).split(" ")
    if in_table:
        return " ".join(map(_cell, words))
    first = _code(words[0]) if _BLOCK.fullmatch(words[0]) else _word(words[0])
    return " ".join([first, *map(_word, words[1:])])


def _cell(word: str) -> str:
    if r"\|" in word:  # code has no escape for it
        return markdown.text(word).replace("@", "@<!-- -->")
    return _word(word).replace("|", r"\|")


def _word(word: str) -> str:
    return _code(word) if _SPECIAL.search(word) else word


def _code(word: str) -> str:
    """Return a word as code, without the punctuation around it."""
    if "`" in word:
        fence = "`" * (1 + max(map(len, re.findall("`+", word))))
        return f"{fence} {word} {fence}"
    before, inner, after = _AROUND.fullmatch(word).groups()  # type: ignore[union-attr]  # matches every word
    return f"{before}`{inner}`{after}" if inner else f"`{word}`"
