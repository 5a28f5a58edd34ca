"""Text escaped for Markdown, and counts with nouns, for all packages that write parts of the report."""

import re

from darkroom.foundations import naming
from darkroom.foundations.naming import count as count


def text(value: object) -> str:
    """Return `value` on one line, escaped so that Markdown shows it literally."""
    line = naming.escape(" ".join(str(value).split()))
    line = re.sub(r"[\\`*_{}\[\]<>|#$~&]|:(?=//)", r"\\\g<0>", line)
    return re.sub(r"^(\d*)([-+=.)])(?=[-=\s]|$)", r"\1\\\2", line)  # would start a list or draw a rule
