"""Class names in CSV files that `dvc plots` copies into its page: inside a script, and without escaping them."""

import re


def defuse(label: str) -> str:
    """Return `label` with a backslash in each ``</`` and ``<!``, with which HTML could end or extend the script."""
    return re.sub(r"<(?=\\*[/!])", r"<\\", label)


def restore(text: str) -> str:
    """Return the label for which `defuse` gives `text`."""
    return re.sub(r"<\\(?=\\*[/!])", "<", text)
