import csv
from itertools import product

import pytest

from darkroom import packed
from darkroom.spreadsheets import neutral, original


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("＝1+1", "'＝1+1"),  # full width, which Excel takes for a formula as well
        ("'=x", "''=x"),
        ("'tis", "'tis"),
        ("a=b", "a=b"),
        ("", ""),
        (-0.5, -0.5),
    ],
)
def test_no_cell_is_a_formula(text, cell):
    assert neutral(text) == cell


def test_every_text_comes_back():
    for letters in product("'=-@\ta＋", repeat=4):
        text = "".join(letters)
        assert original(neutral(text)) == text
        assert neutral(text)[0] in "'a"


def test_a_sheet_is_read_as_it_was_given(tmp_path):
    rows = [("=x", "'=y", "-0.5"), ("a\rb", "@", "é")]
    packed.write_sheet(tmp_path / "a.csv", ("one", "two", "three"), rows)
    assert [tuple(row.values()) for row in packed.read_sheet(tmp_path / "a.csv")] == rows
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == ["'=x", "''=y", "'-0.5"]
    packed.write_rows(tmp_path / "b.csv", ("one", "two", "three"), rows)  # for programs: as it is
    assert [tuple(row.values()) for row in packed.read_rows(tmp_path / "b.csv")] == rows
