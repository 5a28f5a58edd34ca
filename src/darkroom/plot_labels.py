"""Class names in CSV files that `dvc plots` copies into a script of its page without escaping."""

import re


def defuse(label: str) -> str:
    """Return `label` with a backslash in each ``</`` and ``<!``, which could otherwise end or extend the script."""
    return re.sub(r"<(?=\\*[/!])", r"<\\", label)


def restore(text: str) -> str:
    """Return the label that `defuse` turned into `text`."""
    return re.sub(r"<\\(?=\\*[/!])", "<", text)
