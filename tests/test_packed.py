import numpy as np
import pytest

from darkroom import packed
from darkroom.packed import fingerprint, open_packed, read_split, write_split
from tests import factories


def test_a_packed_folder_is_opened_as_a_memory_map(tmp_path):
    opened = open_packed(factories.write_packed(tmp_path / "packed"))
    assert isinstance(opened.images, np.memmap)
    assert not opened.images.flags.writeable
    assert len(opened.records) == len(opened.images) == 120
    assert opened.records[1].label == "dog"
    assert (opened.records[0].width, opened.records[0].height) == (32, 16)
    assert opened.broken[0].reason == "the file is empty"


def test_a_split_comes_back_as_it_was(tmp_path):
    path = tmp_path / "split.csv"
    write_split(path, ["a", "b"], [1, 0, 1, 0], ["train", "test", "left out", "train"])
    split = read_split(path)
    assert split.classes == ["a", "b"]
    assert split.labels.tolist() == [1, 0, 1, 0]
    assert split.rows("train").tolist() == [0, 3]
    assert split.rows("validation").tolist() == []
    assert path.read_bytes().startswith(b"row,label,split,leak\n0,b,train,0\n")


@pytest.mark.parametrize(
    "name", ["naïve, with comma", '"quoted"', "日本", "line\nbreak", "carriage\rreturn", "both\r\n", "$5"]
)
def test_class_names_in_any_script_survive(tmp_path, name):
    write_split(tmp_path / "split.csv", sorted([name, "other"]), [0, 1], ["train", "test"])
    assert name in read_split(tmp_path / "split.csv").classes


def test_the_fingerprint_follows_pixels_index_and_split(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    split = tmp_path / "split.csv"
    write_split(split, ["a", "b"], [0, 1], ["train", "test"])
    first = fingerprint(folder, split)
    assert fingerprint(folder, split) == first
    write_split(split, ["a", "b"], [0, 1], ["test", "train"])
    second = fingerprint(folder, split)
    factories.write_packed(tmp_path / "packed", seed=1)
    assert len({first, second, fingerprint(folder, split)}) == 3


def test_rows_are_written_with_lf(tmp_path):
    packed.write_rows(tmp_path / "a.csv", ("x", "y"), [(1, "a,b")])
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n1,"a,b"\n'
