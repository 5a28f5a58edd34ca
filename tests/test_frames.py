import csv
from dataclasses import fields

import pandas as pd
import pytest

from darkroom import frames, packed
from darkroom.data.split import summary
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import Record
from tests import factories

NAMES = ["nan", "NA", "N/A", "null", "None", "", "1", "1e5", "1.0", "０", "True", "inf", "-1", "=x", "'=y", "@", "#c",
         "a,b", '"', "\\", " x ", "a\rb", "both\r\n", "line\n", "日本"]  # fmt: skip


@pytest.mark.parametrize("escape", [True, False])
def test_every_text_comes_back(tmp_path, escape):
    frame = pd.DataFrame({"one": NAMES, "two": NAMES[::-1]})
    frames.write(tmp_path / "a.csv", frame, escape=escape)
    assert frames.read(tmp_path / "a.csv", escape=escape).equals(frame)
    rows = (packed.read_sheet if escape else packed.read_rows)(tmp_path / "a.csv")
    assert rows == frame.to_dict("records"), "the csv module reads the same"


def test_no_cell_is_a_formula_unless_programs_alone_read_it(tmp_path):
    frame = pd.DataFrame([("=x", "'=y", "-0.5", -0.5)], columns=["one", "two", "three", "four"])
    for escape, cells in ((True, ["'=x", "''=y", "'-0.5", "-0.5"]), (False, ["=x", "'=y", "-0.5", "-0.5"])):
        frames.write(tmp_path / "a.csv", frame, escape=escape)
        with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
            assert list(csv.reader(file))[1] == cells


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"x": [1], "y": ["a,b"]}, 'x,y\n1,"a,b"\n'),
        ({"x": [1], "y": [0.5]}, "x,y\n1,0.5\n"),
        ({"x": [], "y": []}, "x,y\n"),
        ({"x": [0.1, None], "y": [None, "b"]}, "x,y\n0.1,\n,b\n"),
        ({"x": [1e-7, 1e16], "y": [True, False]}, "x,y\n1e-07,True\n1e+16,False\n"),
        ({"x": [1, 2, 3], "y": ["a", "\r", "b"]}, 'x,y\n1,a\n"2","\r"\n3,b\n'),
    ],
)
def test_equal_tables_are_equal_bytes(tmp_path, columns, text):
    frames.write(tmp_path / "a.csv", pd.DataFrame(columns), escape=False)
    assert (tmp_path / "a.csv").read_bytes() == text.encode()


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        frames.write(tmp_path / "a.csv", pd.DataFrame({"x": ["\ud800"]}))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_table_says_what_makes_it(tmp_path):
    with pytest.raises(DarkroomError, match=r"a.csv is missing: create it with dvc repro"):
        frames.read(tmp_path / "a.csv")


def test_class_names_that_look_like_numbers_or_like_nothing_survive_the_split(tmp_path):
    classes = sorted(NAMES)
    summary.write_split(tmp_path / "split.csv", classes, range(len(classes)), ["train"] * len(classes))
    assert packed.read_split(tmp_path / "split.csv").classes == classes


def test_an_index_is_read_as_records(tmp_path):
    folder = factories.write_packed(tmp_path / "packed", classes=["1e5", "NA", "nan"])
    frame = frames.read(folder / "index.csv", escape=False).astype({"width": int, "height": int})
    assert [Record(*row) for row in frame.itertuples(index=False)] == packed.read_index(folder)
    assert list(frame) == [field.name for field in fields(Record)]
