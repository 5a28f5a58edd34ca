"""Cells of CSV files that people open in a spreadsheet program, which takes one that begins like a formula for one.

Such a cell gets an apostrophe in front, as OWASP advises (CSV injection); reading takes it away again.
"""

import re
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def neutral(value: Any) -> Any:
    """Return what a cell holds for `value`: text that begins like a formula with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def original(cell: str) -> str:
    """Return the text for which `neutral` gives `cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
