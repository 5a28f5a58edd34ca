"""The cache of features: several processes, killed ones, damaged files, and its size."""

import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from darkroom.training.transfer import cache
from darkroom.training.transfer.cache import FeatureCache
from tests.feature_records import fill, image, known, row


def test_several_processes_write_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=fill, args=(tmp_path, range(begin, begin + 60)), daemon=True) for begin in (0, 30, 200)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert known(tmp_path, range(300)) == [*range(90), *range(200, 260)]


WRITER = """
import sys
from pathlib import Path
from tests.feature_records import fill
print("ready", flush=True)
fill(Path(sys.argv[1]), range(100_000), 200)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is a POSIX signal")
def test_a_killed_process_leaves_no_wrong_features(tmp_path):
    for wait in (0.05, 0.2):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "ready\n"
            begin = time.monotonic()
            while not (tmp_path / "features.sqlite").exists() and time.monotonic() - begin < 60:
                time.sleep(0.01)
            time.sleep(wait)
            writer.kill()
    # The writer is killed within a transaction or between two: of each, all 200 records are there or none.
    available = known(tmp_path, range(10_000))
    assert len(available) % 200 == 0
    assert available == list(range(len(available)))
    fill(tmp_path, [99_999])
    assert known(tmp_path, [99_999]) == [99_999]


def test_a_transaction_that_is_cut_off_leaves_what_was_there(tmp_path):
    fill(tmp_path, range(10))
    script = (
        "import sqlite3, os, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA cache_spill = 1'); db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN IMMEDIATE');"
        "db.execute('UPDATE features SET content = zeroblob(40000)'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "features.sqlite"], check=False)
    assert (tmp_path / "features.sqlite-journal").stat().st_size > 0
    assert known(tmp_path, range(10)) == list(range(10))


def test_the_least_recently_used_features_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FRESH", 0.0)
    limit = 4_000_000
    kept = FeatureCache(tmp_path, limit)
    numbers = list(range(1500))
    values = np.stack([row(number, 1000) for number in numbers])
    kept.save("network", [image(number) for number in numbers], values, 1.0)
    assert kept.load("network", [image(number) for number in range(100)]).known.all()  # used again
    for begin in range(1500, 3000, 300):
        new = range(begin, begin + 300)
        more = np.stack([row(number, 1000) for number in new])
        kept.save("network", [image(number) for number in new], more, 1.0)
        assert kept.path.stat().st_size <= limit
    found = kept.load("network", [image(number) for number in range(3000)]).known
    assert found[:100].all()
    assert not found[100:1000].any()
    assert found[2000:].all()
    assert found.sum() * 2200 > 0.8 * limit


def test_more_features_than_there_is_room_for_are_cut(tmp_path):
    kept = FeatureCache(tmp_path, 500_000)
    kept.save("network", [image(number) for number in range(1000)], np.ones((1000, 1000), np.float16), 1.0)
    assert 0 < kept.load("network", [image(number) for number in range(1000)]).known.sum() < 500_000 / 2000


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "overwritten"])
def test_a_damaged_file_gives_no_wrong_features(tmp_path, damage):
    path = tmp_path / "features.sqlite"
    fill(tmp_path, range(2000), 500)
    content = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2 + 100])
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            path.write_bytes(b"no database" * 100)
        case "overwritten":
            content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
            path.write_bytes(content)
    assert len(known(tmp_path, range(2000))) < 2000
    fill(tmp_path, range(2000), 500)
    assert known(tmp_path, range(2000)) == list(range(2000))


def test_single_changed_bits_are_noticed(tmp_path):
    fill(tmp_path, range(300))
    path = tmp_path / "features.sqlite"
    content = bytearray(path.read_bytes())
    for number in (3, 77):
        content[content.index(row(number).tobytes()) + 50] ^= 1
    path.write_bytes(content)
    assert sorted(set(range(300)) - set(known(tmp_path, range(300)))) == [3, 77]
    fill(tmp_path, range(300))
    assert known(tmp_path, range(300)) == list(range(300))


def test_a_lock_that_is_not_released_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "WAIT", 0.1)
    fill(tmp_path, [1])
    with sqlite3.connect(tmp_path / "features.sqlite", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert known(tmp_path, [1]) == []
        other.execute("ROLLBACK")
    assert "features.sqlite cannot be used (database is locked): features are not cached" in capsys.readouterr().err
    assert known(tmp_path, [1]) == [1]


def test_a_process_waits_for_another_one_that_writes(tmp_path):
    fill(tmp_path, [1])
    with sqlite3.connect(tmp_path / "features.sqlite", isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        assert known(tmp_path, [1]) == [1]


def test_known_features_are_kept_and_uses_are_noted_rarely(tmp_path):
    kept = FeatureCache(tmp_path)
    kept.save("network", [image(1)], np.float16([[1, 2]]), 2.0)
    kept.save("network", [image(1)], np.float16([[3, 4]]), 5.0)
    found = kept.load("network", [image(1), image(1), image(2)])
    assert (found.features.tolist(), found.known.tolist(), found.seconds) == ([[1, 2]] * 2, [True, True, False], 4.0)
    assert not kept.load("other network", [image(1)]).known.any()
    before = kept.path.stat().st_mtime_ns
    kept.load("network", [image(1)])
    assert kept.path.stat().st_mtime_ns == before


def test_files_of_earlier_versions_are_removed(tmp_path):
    (tmp_path / "0123.npy").write_bytes(b"features")
    (tmp_path / "other.txt").write_bytes(b"text")
    fill(tmp_path, [1])
    assert {path.name for path in tmp_path.iterdir()} == {"features.sqlite", "other.txt"}
