"""Tables with a row for each image, as CSV files: the bytes of `frames.write`, in a fraction of the time.

Building a pandas data frame of 60,000 rows and writing it takes longer than writing the rows; importing pandas, half a
second.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from darkroom import spreadsheets
from darkroom.foundations import files


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], *, escape: bool = True) -> None:
    """Write a table of text and integers atomically with LF line ends.

    escape: prefix text that a spreadsheet program would treat as a formula with an apostrophe, see `frames.write`.
    """
    table = [header, *([list(map(spreadsheets.neutral, row)) for row in rows] if escape else rows)]
    text = _lines(table)
    if "\r" in text:
        # Python before 3.13 does not quote carriage returns if the line end has none, and readers then end the line.
        quoted = (any("\r" in str(cell) for cell in row) for row in table)
        text = "".join(
            _lines([row], csv.QUOTE_ALL if all_ else csv.QUOTE_MINIMAL) for row, all_ in zip(table, quoted, strict=True)
        )
    files.write_text(path, text)


def _lines(rows: Iterable[Sequence[Any]], quoting: Any = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue()
