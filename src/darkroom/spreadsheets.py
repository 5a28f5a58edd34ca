"""Cells of CSV files for spreadsheet programs, which treat text that starts like a formula as a formula.

Such a cell is prefixed with an apostrophe, as OWASP recommends (CSV injection); reading removes it.
"""

import re
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def neutral(value: Any) -> Any:
    """Return the cell for `value`: text that starts like a formula is prefixed with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def original(cell: str) -> str:
    """Return the text for which `neutral` gives `cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
