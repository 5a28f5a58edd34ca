from itertools import product

import pytest

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
