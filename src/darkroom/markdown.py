"""Counts as people read them, and text that Markdown leaves alone: what every wing writes into the report."""

import re

from darkroom.foundations import naming


def count(number: int, noun: str, plural: str = "") -> str:
    """Return "1 image", "1,797 images"; `plural` is for nouns that do not simply take an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def text(value: object) -> str:
    """Return `value` on one line, escaped so that Markdown prints it as it is and nothing in it acts on the rest."""
    line = naming.escape(" ".join(str(value).split()))
    line = re.sub(r"[\\`*_{}\[\]<>|#$~&]|:(?=//)", r"\\\g<0>", line)
    return re.sub(r"^(\d*)([-+=.)])(?=[-=\s]|$)", r"\1\\\2", line)  # what would open a list or draw a rule
