"""Tables as CSV files in UTF-8: pandas data frames are written atomically, and read as text.

Files that training, the service and `darkroom predict` read or write are handled by the csv module, in `packed`, which
loads faster.
"""

import csv
from pathlib import Path
from typing import Literal

import pandas as pd
from pandas.api.types import is_numeric_dtype

from darkroom import packed, spreadsheets
from darkroom.foundations import files


def write(path: Path, frame: pd.DataFrame, *, escape: bool = True) -> None:
    """Write a table atomically with LF line ends; missing values are empty cells.

    escape: prefix text that a spreadsheet program would treat as a formula with an apostrophe, which `read` removes;
    False for files that `packed` or DVC reads.
    """
    text = [name for name in frame.columns if not is_numeric_dtype(frame[name])]
    if escape:
        frame = frame.assign(**{name: frame[name].map(spreadsheets.neutral) for name in text})
    returns = frame[text].apply(lambda column: column.astype(str).str.contains("\r", regex=False)).any(axis=1)
    with files.whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        frame.head(0).to_csv(file, index=False, lineterminator="\n")
        for _, part in frame.groupby((returns != returns.shift()).cumsum()):
            # Python before 3.13 does not quote carriage returns if the line end has none, and readers then end the
            # line.
            quoting: Literal[0, 1] = csv.QUOTE_ALL if returns[part.index[0]] else csv.QUOTE_MINIMAL
            part.to_csv(file, header=False, index=False, lineterminator="\n", quoting=quoting)


def read(path: Path, *, escape: bool = True) -> pd.DataFrame:
    """Read a file written by `write`. Every cell is text, unchanged: 1, 1e5, True, NA and nan may be names.

    Raises DarkroomError if there is no such file.
    """
    found = pd.read_csv(packed.existing(path), encoding="utf-8", dtype=str, na_filter=False, index_col=False)
    return found.map(spreadsheets.original) if escape else found
