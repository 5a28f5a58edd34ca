"""Untrusted names: valid class names, and safe display of names of files, folders and classes.

A file name can contain an escape sequence that rewrites the terminal, a line break that forges a message, or a mark
that reverses the surrounding text. All messages and tables display such names through `shown` or `listed`.
"""

import re
from collections.abc import Collection
from itertools import islice

MOST = 200
"""Largest number of characters of a name that are displayed; the middle of a longer one is omitted."""
LISTED = 10
"""Names that a message lists."""
LONGEST = 255
"""Bytes of the longest class name in UTF-8: the limit that file systems have for a folder's name."""

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Surrogates, which no file can store as UTF-8, and the noncharacters of Unicode, which XML and so PowerPoint refuse.
_NO_CHARACTERS = r"\ud800-\udfff\ufdd0-\ufdef" + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))
# Marks that change the direction of the text, and invisible ones, without the joiners that Persian and emoji need.
_INVISIBLE = r"\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_REFUSED = re.compile(f"[{_CONTROLS}{_NO_CHARACTERS}]")
_ESCAPED = re.compile(f"[{_CONTROLS}{_NO_CHARACTERS}{_INVISIBLE}]")


def escape(text: str) -> str:
    """Return `text` on one line, with an escape such as ``\\x1b`` for each character that is not printable."""
    return _ESCAPED.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_lines(text: str) -> str:
    """Return a message of several lines with everything escaped but its line ends."""
    return "\n".join(map(escape, text.split("\n")))


def shown(name: object) -> str:
    """Return a name, path or value as a message shows it: escaped, and of at most `MOST` characters."""
    text = str(name)
    if len(text) > MOST:
        text = f"{text[: MOST // 2]}…{text[1 - MOST // 2 :]}"
    return escape(text)


def listed(names: Collection[object], most: int = LISTED) -> str:
    """Return at most `most` names separated by commas, and how many more there are."""
    few = ", ".join(map(shown, islice(names, most)))
    return few + (f" and {len(names) - most:,} more" if len(names) > most else "")


def unprintable(text: str) -> str:
    """Return which character of `text` no report or table can hold, an empty string where there is none."""
    if found := _REFUSED.search(text):
        return f"holds the character U+{ord(found[0]):04X}, which cannot be printed"
    return ""


def fault(name: str) -> str:
    """Return why a class cannot have this name, an empty string where it can."""
    if reason := unprintable(name):
        return reason
    size = len(name.encode())
    return f"is {size:,} bytes long, and {LONGEST} are allowed" if size > LONGEST else ""


def shown_address(url: str) -> str:
    """Return a URL for display, without its possibly secret parts: user, password and query."""
    return escape(re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", url))
