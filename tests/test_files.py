import json
import os
import signal
import sys

import pytest

from darkroom.foundations import files


def test_whole_directory_replaces_the_old_one(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    with files.whole_directory(target) as partial:
        (partial / "new").touch()
        assert not (target / "new").exists()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_whole_directory_leaves_the_old_one_when_the_block_fails(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(ZeroDivisionError), files.whole_directory(target) as partial:
        (partial / "new").write_text(str(1 / 0))
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_whole_directory_is_removed_even_if_a_signal_interrupts_the_removal(tmp_path, monkeypatch):
    unlink, interrupted = os.unlink, []

    def unlink_once(*arguments, **options):
        if not interrupted:
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        unlink(*arguments, **options)

    def fail(partial):
        (partial / "half").touch()
        monkeypatch.setattr(os, "unlink", unlink_once)
        raise ZeroDivisionError

    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with pytest.raises(SystemExit), files.whole_directory(tmp_path / "out") as partial:
            fail(partial)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert interrupted
    assert list(tmp_path.iterdir()) == []


def test_whole_directory_clears_away_the_old_one(tmp_path):
    left = tmp_path / ".out.old"
    left.mkdir()
    for content in ("first", "second"):
        with files.whole_directory(tmp_path / "out") as partial:
            (partial / "a").write_text(content)
    assert (tmp_path / "out" / "a").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_whole_directory_clears_what_a_killed_process_left(tmp_path):
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "half").touch()
    with files.whole_directory(tmp_path / "out") as partial:
        assert list(partial.iterdir()) == []


def test_whole_file_leaves_the_old_one_when_the_block_fails(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    with pytest.raises(ZeroDivisionError), files.whole_file(target) as partial:
        partial.write_text("half" * (partial.write_text("half") // 0))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_json_is_sorted_with_lf_and_final_newline(tmp_path):
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"b": 1, "a": [1.5, "ü"]})
    data = path.read_bytes()
    assert data.endswith(b"}\n")
    assert b"\r" not in data
    assert list(json.loads(data)) == ["a", "b"]
    assert "ü".encode() in data
    assert files.read_json(path) == {"b": 1, "a": [1.5, "ü"]}


def test_json_refuses_what_json_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
