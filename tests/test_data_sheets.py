"""Tables of the packed folder: the bytes that pandas writes."""

import pandas as pd
import pytest

from darkroom import frames
from darkroom.data.pack import sheets

ROWS = [("a", 1, ""), ("=x", 2, "b,c"), ('"', 3, " y "), ("'=y", -4, "ö"), ("line\n", 5, "-1")]
RETURNS = [("a\rb", 1, ""), ("both\r\n", 2, "=x"), ("plain", 3, "")]


@pytest.mark.parametrize("escape", [True, False])
@pytest.mark.parametrize("rows", [ROWS, [*ROWS, *RETURNS, *ROWS], [], [("", 0, "")]])
def test_a_table_has_the_bytes_of_a_data_frame(tmp_path, rows, escape):
    header = ("name", "bytes", "camera")
    frames.write(tmp_path / "frame.csv", pd.DataFrame(rows, columns=header), escape=escape)
    sheets.write(tmp_path / "sheet.csv", header, iter(rows), escape=escape)
    assert (tmp_path / "sheet.csv").read_bytes() == (tmp_path / "frame.csv").read_bytes()
