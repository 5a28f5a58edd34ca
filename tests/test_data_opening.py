import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from darkroom.data.pack import opening
from darkroom.data.pack.hashing import perceptual_hash
from darkroom.foundations.errors import DarkroomError
from tests.pictures import encode, pixels

MEMBERS = [(f"{number}.png", encode(pixels(number))) for number in range(30)]


def test_order_and_content_do_not_depend_on_processes_or_chunks(monkeypatch):
    alone = [(name, opened.phash, opened.pixels.tobytes()) for name, opened in opening.open_all(MEMBERS, 8, 1)]
    assert [name for name, *_ in alone] == [name for name, _ in MEMBERS]
    monkeypatch.setattr(opening, "CHUNK", 4)
    monkeypatch.setattr(opening, "IN_FLIGHT", 1)  # one chunk at a time
    shared = [(name, opened.phash, opened.pixels.tobytes()) for name, opened in opening.open_all(MEMBERS, 8, 3)]
    assert shared == alone


@pytest.mark.parametrize(("few", "little", "started"), [(100, 10**9, 0), (10, 10**9, 1), (100, 1000, 1)])
def test_other_processes_are_started_when_there_is_enough_to_do(monkeypatch, few, little, started):
    monkeypatch.setattr(opening, "CHUNK", 4)
    monkeypatch.setattr(opening, "FEW", few)
    monkeypatch.setattr(opening, "LITTLE", little)
    monkeypatch.setattr(opening, "_cores", lambda: 2)
    members = opening.open_all(MEMBERS, 8)
    first = next(members)[0]
    assert len(multiprocessing.active_children()) == started
    assert [first, *(name for name, _ in members)] == [name for name, _ in MEMBERS]
    assert multiprocessing.active_children() == []


def test_little_is_read_ahead_of_what_is_used(monkeypatch):
    monkeypatch.setattr(opening, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(opening, "IN_FLIGHT", 2_000)
    read = 0

    def members():
        nonlocal read
        for number in range(300):
            read += 1
            yield str(number), MEMBERS[0][1]

    opened = opening.open_all(members(), 8, 2)
    for used in range(1, 301):
        next(opened)
        assert (read - used) * len(MEMBERS[0][1]) < 6_000


def test_a_worker_that_is_killed_is_one_message(monkeypatch):
    monkeypatch.setattr(opening, "CHUNK", 1)
    monkeypatch.setattr(opening, "IN_FLIGHT", 2_000)  # or this process would do it all before the other has started
    members = opening.open_all(MEMBERS * 20, 8, 2)
    next(members)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    with pytest.raises(DarkroomError, match="a worker was killed, most likely because memory ran out"):
        list(members)


ORPHANS = """
import multiprocessing, time
from darkroom.data.pack import opening
from tests.test_data_opening import MEMBERS
if __name__ == "__main__":
    opening.CHUNK = 1
    members = opening.open_all(MEMBERS * 100, 8, 3)
    next(members)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as POSIX does")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    parent = subprocess.Popen([sys.executable, tmp_path / "main.py"], stdout=subprocess.PIPE, env=environment)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers are still there"
        time.sleep(0.05)


@pytest.mark.parametrize("size", [8, 32, 64, 100])
def test_the_hash_is_that_of_imagehash(size):
    noisy = [np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8) for seed in range(5)]
    for picture in [*(pixels(seed, size, size) for seed in range(30)), *noisy]:
        assert perceptual_hash(picture) == str(imagehash.phash(Image.fromarray(picture)))


def test_a_picture_of_one_colour_has_one_bit():
    assert {perceptual_hash(np.full((size, size, 3), 77, dtype=np.uint8)) for size in (8, 32, 50)} == {"8" + "0" * 15}
