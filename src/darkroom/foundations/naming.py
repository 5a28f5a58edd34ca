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
"""Number of names in a message."""
LONGEST = 255
"""Bytes of the longest class name in UTF-8: the limit that file systems have for a folder's name."""

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# Surrogates, which cannot be stored as UTF-8, and Unicode noncharacters, which XML and therefore PowerPoint reject.
_NO_CHARACTERS = r"\ud800-\udfff\ufdd0-\ufdef" + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))
# Marks that change the direction of text, and invisible ones, except the joiners that Persian and emoji need.
_INVISIBLE = r"\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_REFUSED = re.compile(f"[{_CONTROLS}{_NO_CHARACTERS}]")
_ESCAPED = re.compile(f"[{_CONTROLS}{_NO_CHARACTERS}{_INVISIBLE}]")


def escape(text: str) -> str:
    """Return `text` on one line, with an escape such as ``\\x1b`` for each character that is not printable."""
    return _ESCAPED.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_lines(text: str) -> str:
    """Return a message of several lines with everything escaped except its line ends."""
    return "\n".join(map(escape, text.split("\n")))


def shown(name: object) -> str:
    """Return a name, path or value for display: escaped, and at most `MOST` characters long."""
    text = str(name)
    if len(text) > MOST:
        text = f"{text[: MOST // 2]}…{text[1 - MOST // 2 :]}"
    return escape(text)


def count(number: int, noun: str, plural: str = "") -> str:
    """Return "1 image" or "1,797 images"; `plural` is for irregular nouns, and for words that follow ("images are")."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def span(smallest: int, largest: int, noun: str) -> str:
    """Return "225 pixels" or "225 to 300 pixels"."""
    return count(largest, noun) if smallest == largest else f"{smallest:,} to {count(largest, noun)}"


def listed(names: Collection[object], most: int = LISTED) -> str:
    """Return at most `most` names separated by commas, and the number of further ones."""
    few = ", ".join(map(shown, islice(names, most)))
    return few + (f" and {len(names) - most:,} more" if len(names) > most else "")


def unprintable(text: str) -> str:
    """Return an error for the first character of `text` that cannot be in reports and tables, or an empty string."""
    if found := _REFUSED.search(text):
        return f"contains the character U+{ord(found[0]):04X}, which cannot be printed"
    return ""


def fault(name: str) -> str:
    """Return why a class cannot have this name, or an empty string."""
    if reason := unprintable(name):
        return reason
    size = len(name.encode())
    return f"is {size:,} bytes long, and {LONGEST} are allowed" if size > LONGEST else ""


def shown_address(url: str) -> str:
    """Return a URL for display, without its possibly secret parts: user, password and query."""
    return escape(re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", url))
