import numpy as np
import pytest

from darkroom import packed
from darkroom.data.split.summary import write_split
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import fingerprint, open_packed, read_split
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
    groups = np.array([7, 3, 3, 7])
    write_split(path, ["a", "b"], [1, 0, 1, 0], ["train", "test", "left out", "train"], groups=groups)
    split = read_split(path)
    assert split.groups.tolist() == [0, 1, 1, 0]
    assert split.classes == ["a", "b"]
    assert split.labels.tolist() == [1, 0, 1, 0]
    assert split.rows("train").tolist() == [0, 3]
    assert split.rows("validation").tolist() == []
    assert path.read_bytes().startswith(b"row,label,split,leak,group\n0,b,train,0,0\n")


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


def test_channel_statistics_are_those_of_numpy(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    rows = np.arange(0, 120, 7)
    mean, std = packed.channel_statistics(folder, rows)
    pixels = packed.open_images(folder)[rows].reshape(-1, 3) / 255
    assert mean == pytest.approx(pixels.mean(0), abs=5.1e-5)
    assert std == pytest.approx(pixels.std(0), abs=5.1e-5)


def test_a_constant_channel_can_be_divided_by(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    summary, images = packed.PixelSummary(), np.full((2, 4, 4, 3), 255, np.uint8)
    for image in images:
        summary.add(image)
    summary.write(folder)
    np.save(folder / "images.npy", images)
    assert packed.channel_statistics(folder, np.arange(2)) == ([1.0] * 3, [0.01] * 3)


def test_training_reads_no_pixels_for_fingerprint_and_statistics(tmp_path, monkeypatch):
    folder = factories.write_packed(tmp_path / "packed")
    split = factories.write_split(tmp_path / "split.csv", folder)
    before = fingerprint(folder, split), packed.channel_statistics(folder, np.arange(9))
    np.save(folder / "images.npy", np.zeros((120, 16, 16, 3), np.uint8))
    assert (fingerprint(folder, split), packed.channel_statistics(folder, np.arange(9))) == before


def test_a_folder_of_an_older_version_says_what_to_do(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    (folder / "checksums.json").unlink()
    with pytest.raises(DarkroomError, match=r"checksums.json is missing: create it with dvc repro"):
        fingerprint(folder, factories.write_split(tmp_path / "split.csv", folder))
