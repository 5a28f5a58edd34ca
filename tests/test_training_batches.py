import re
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from darkroom import packed
from darkroom.training.engine import batches
from tests import factories

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    factories.write_packed(folder / "packed", per_class=30)
    factories.write_split(folder / "split.csv", folder / "packed")
    return packed.open_packed(folder / "packed"), packed.read_split(folder / "split.csv")


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_images_are_the_same_wherever_they_lie(stored, name):
    data, split = stored
    near, far = (batches.load(data.images, split, name, CPU, place) for place in ("device", "file"))
    assert far.images.shape[0] == len(data.images)  # nothing was copied
    assert len(near) == len(far) == len(split.rows(name))
    assert torch.equal(near.labels, far.labels)
    places = torch.randperm(len(near), generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(np.array(data.images[split.rows(name)]))[places]
    assert torch.equal(near.take(places), expected)
    assert torch.equal(far.take(places), expected)
    for size in (7, 1000):
        chunks = [list(each.batches(torch.split(places, size))) for each in (near, far)]
        assert all(torch.equal(one, two) for one, two in zip(*chunks, strict=True))
        assert torch.equal(torch.cat(chunks[0]), expected)
        assert torch.equal(torch.cat(list(far.batches(torch.split(torch.arange(len(far)), size)))), near.images)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much of a file is in memory")
def test_what_was_copied_from_the_file_is_given_back(tmp_path):
    np.save(tmp_path / "images.npy", np.ones((10_000, 32, 32, 3), np.uint8))  # 31 MB
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    split = packed.Split(
        ["a"], np.zeros(10_000, np.int64), np.full(10_000, "train"), np.zeros(10_000, np.bool_), np.arange(10_000)
    )

    def mapped() -> int:
        return int(re.findall(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])

    before = mapped()
    loaded = batches.load(images, split, "train", CPU, "memory")
    assert mapped() - before < 10_000
    assert torch.equal(loaded.images[9], torch.from_numpy(np.array(images[9])))


def test_reading_ahead_stops_when_nobody_asks_any_more(stored):
    far = batches.load(stored[0].images, stored[1], "train", CPU, "file")
    images = far.batches(torch.split(torch.arange(len(far)), 2))
    assert next(images).shape == (2, 16, 16, 3)
    images.close()  # hangs if the reader does not end


def test_a_batch_that_cannot_be_read_raises_where_it_is_asked_for(stored):
    far = batches.load(stored[0].images, stored[1], "train", CPU, "file")
    images = far.batches([torch.tensor([0]), torch.tensor([10**6])])
    assert len(next(images)) == 1
    with pytest.raises(IndexError):
        next(images)


def test_the_place_hangs_on_the_free_memory(monkeypatch):
    free = psutil.virtual_memory().available
    assert batches.place(1000, CPU) == "device"
    assert batches.place(free, CPU) == "file"
    assert batches.place(1000, torch.device("mps")) == "device"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 20_000))
    cuda = torch.device("cuda")
    assert [batches.place(size, cuda) for size in (5_000, 5_001, free)] == ["device", "memory", "file"]
