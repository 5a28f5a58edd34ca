"""Counts with nouns, and text escaped for Markdown, for all packages that write parts of the report."""

import re

from darkroom.foundations import naming


def count(number: int, noun: str, plural: str = "") -> str:
    """Return "1 image" or "1,797 images"; `plural` is for irregular nouns."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def text(value: object) -> str:
    """Return `value` on one line, escaped so that Markdown shows it literally."""
    line = naming.escape(" ".join(str(value).split()))
    line = re.sub(r"[\\`*_{}\[\]<>|#$~&]|:(?=//)", r"\\\g<0>", line)
    return re.sub(r"^(\d*)([-+=.)])(?=[-=\s]|$)", r"\1\\\2", line)  # would start a list or draw a rule
