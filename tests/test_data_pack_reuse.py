"""Packing after a data set has changed: the bytes of a run from scratch, with only new images decoded."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from darkroom import images
from darkroom.data.archives import origin
from darkroom.data.pack import opening, packing, reuse
from darkroom.data.settings import PackSettings
from stages import pack
from tests import imports
from tests.pictures import class_folders, encode, pixels, write_tar

SETTINGS = PackSettings(image_size=8)
MEMBERS = {
    **class_folders({"cat": 5, "dog": 5}),
    **class_folders({"cat": 9}, "JPEG"),
    "cat/copy.png": class_folders({"cat": 1})["cat/000.png"],
    "dog/broken.png": b"x",
}
NEW = encode(pixels(99))


def grown():
    return {"cat/new.png": NEW, "dog/also.jpg": encode(pixels(98), "JPEG"), **MEMBERS}


def without(name):
    return {each: data for each, data in MEMBERS.items() if each != name}


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that grows with each decoded image."""
    calls = []
    decode = images.decode

    def counted(data, *options, **named):
        calls.append(data)
        return decode(data, *options, **named)

    monkeypatch.setattr(images, "decode", counted)
    return calls


def run(
    top: Path, members: dict[str, bytes], cache: Path | None, settings: PackSettings = SETTINGS
) -> dict[str, bytes]:
    """Pack as the stage does; return the files of the packed folder."""
    shutil.rmtree(top, ignore_errors=True)
    raw, out = top / "raw", top / "packed"
    raw.mkdir(parents=True)
    out.mkdir()
    write_tar(raw / "set.tar", members)
    origin.write_origin(raw, origin.Origin("Set", "here", "CC0"))
    with reuse.Decoded(cache, settings) as known:
        packing.pack(raw, settings, out, decoded=known)
        known.keep(out / "images.npy")
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize(
    ("members", "new"),
    [
        (MEMBERS, 0),
        (grown(), 2),
        (without("cat/001.png"), 0),
        ({**without("cat/001.png"), "cat/renamed.png": MEMBERS["cat/001.png"]}, 0),
        ({**without("cat/001.png"), "dog/moved.png": MEMBERS["cat/001.png"]}, 0),
        ({**MEMBERS, "cat/001.png": NEW}, 1),
        ({**MEMBERS, "dog/broken.png": NEW}, 0),  # 1, less the broken image, which is always tried
    ],
    ids=["same", "grown", "removed", "renamed", "relabelled", "changed", "repaired"],
)
def test_a_changed_set_has_the_bytes_of_a_run_from_scratch(tmp_path, decoded, members, new):
    run(tmp_path / "first", MEMBERS, tmp_path / "cache")
    decoded.clear()
    found = run(tmp_path / "second", members, tmp_path / "cache")
    assert len(decoded) == new + 1
    decoded.clear()
    assert found == run(tmp_path / "whole", members, None)
    assert len(decoded) == len(members)


@pytest.mark.parametrize("settings", [PackSettings(image_size=9), PackSettings(image_size=8, fit="pad")])
def test_other_settings_reuse_nothing(tmp_path, decoded, settings):
    run(tmp_path / "first", MEMBERS, tmp_path / "cache")
    decoded.clear()
    found = run(tmp_path / "second", MEMBERS, tmp_path / "cache", settings)
    assert len(decoded) == len(MEMBERS)
    assert found == run(tmp_path / "whole", MEMBERS, None, settings)


def test_a_changed_decoder_reuses_nothing(tmp_path, decoded, monkeypatch):
    run(tmp_path / "first", MEMBERS, tmp_path / "cache")
    (tmp_path / "edited.py").write_text("# other code")
    monkeypatch.setattr(images, "__file__", str(tmp_path / "edited.py"))
    decoded.clear()
    run(tmp_path / "second", MEMBERS, tmp_path / "cache")
    assert len(decoded) == len(MEMBERS)


def test_the_key_contains_all_code_that_decodes():
    needed = {
        path
        for path in imports.closure(Path("src/darkroom/data/pack/opening.py"))
        if "foundations" not in path.parts  # errors; images with an error are not reused
    }
    assert needed == {Path(str(module.__file__)).relative_to(imports.ROOT) for module in reuse.CODE}


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.unlink()
    path.write_bytes(data)


def entry(cache):
    return next(path for path in cache.iterdir())


def second_line(cache):
    return (entry(cache) / "rows.txt").read_bytes().index(b"\n") + 1


@pytest.mark.parametrize(
    ("damage", "reused"),
    [
        (lambda cache: flip(entry(cache) / "images.npy", 128 + 8 * 8 * 3), 19),  # the second row; the first has a copy
        (lambda cache: flip(entry(cache) / "rows.txt", second_line(cache)), 19),  # its checksum
        (lambda cache: flip(entry(cache) / "rows.txt", second_line(cache) + 150), 19),
        (lambda cache: flip(entry(cache) / "images.npy", 10), 20),  # NumPy's header, which is not read
        (lambda cache: (entry(cache) / "images.npy").write_bytes(b""), 0),
        (lambda cache: (entry(cache) / "rows.txt").write_bytes(b"\xff"), 0),
        (lambda cache: (entry(cache) / "rows.txt").write_text("\n"), 0),
        (lambda cache: (entry(cache) / "rows.txt").unlink(), 0),
        (lambda cache: shutil.rmtree(cache), 0),
        (lambda cache: (shutil.rmtree(cache), cache.write_text("a file")), 0),
    ],
)
def test_a_damaged_cache_changes_no_byte(tmp_path, damage, reused):
    cache = tmp_path / "cache"
    whole = run(tmp_path / "first", MEMBERS, cache)
    shutil.rmtree(tmp_path / "first")  # its array is the one in the cache
    damage(cache)
    with reuse.Decoded(cache if cache.is_dir() else None, SETTINGS) as known:
        assert sum(known.find(data) is not None for data in MEMBERS.values()) == reused
    assert run(tmp_path / "second", MEMBERS, cache) == whole


def test_an_entry_of_other_settings_under_the_name_of_these_is_not_used(tmp_path, decoded):
    run(tmp_path / "first", MEMBERS, tmp_path / "cache", PackSettings(image_size=8, fit="stretch"))
    place = entry(tmp_path / "cache")
    place.rename(place.with_name(f"{reuse.key(SETTINGS)[:16]}-0"))
    decoded.clear()
    run(tmp_path / "second", MEMBERS, tmp_path / "cache")
    assert len(decoded) == len(MEMBERS)


def test_the_cache_shares_the_array_and_stays_small(tmp_path):
    cache = tmp_path / "cache"
    for number in range(3):
        run(tmp_path / str(number), {**MEMBERS, "cat/new.png": encode(pixels(200 + number))}, cache)
        time.sleep(0.01)  # for their times to differ
    assert len(list(cache.iterdir())) == reuse.KEPT
    arrays = {path.stat().st_ino for path in cache.glob("*/images.npy")}
    assert arrays == {(tmp_path / "2" / "packed" / "images.npy").stat().st_ino}


def test_remains_of_a_killed_process_are_ignored_and_removed_later(tmp_path, monkeypatch):
    partial = tmp_path / "cache" / f".{reuse.key(SETTINGS)[:16]}-0.123"
    partial.mkdir(parents=True)
    (partial / "rows.txt").write_text("half")
    whole = run(tmp_path / "first", MEMBERS, tmp_path / "cache")
    assert partial.exists()  # another process may be writing it
    monkeypatch.setattr(reuse, "ABANDONED", 0.0)
    assert run(tmp_path / "second", MEMBERS, tmp_path / "cache") == whole
    assert not partial.exists()


def test_two_runs_at_once_have_the_bytes_of_a_run_from_scratch(tmp_path):
    cache, results = tmp_path / "cache", {}

    def grow(number: int) -> None:
        for step in range(3):
            results[number, step] = run(tmp_path / f"run {number}", grown() if step else MEMBERS, cache)

    threads = [threading.Thread(target=grow, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, then = run(tmp_path / "first", MEMBERS, None), run(tmp_path / "then", grown(), None)
    assert len(results) == 9
    assert all(found == (then if step else first) for (_, step), found in results.items())


def test_without_hard_links_everything_is_decoded(tmp_path, decoded, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(reuse.os, "link", refuse)
    run(tmp_path / "first", MEMBERS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    decoded.clear()
    run(tmp_path / "second", MEMBERS, tmp_path / "cache")
    assert len(decoded) == len(MEMBERS)


@pytest.mark.parametrize("workers", [None, 2])
def test_many_new_images_among_known_ones_keep_their_order(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(opening, "FEW", 3)
    monkeypatch.setattr(opening, "CHUNK", 2)
    members = [(f"{number}", encode(pixels(number))) for number in range(30)]
    known = {data: opening.Opened(np.full((8, 8, 3), number, np.uint8)) for number, (_, data) in enumerate(members)}
    for _, data in members[::3]:
        del known[data]
    found = list(opening.open_all(members, 8, workers, known=known.get))
    assert [name for name, _ in found] == [name for name, _ in members]
    for number, (name, opened) in enumerate(found):
        wanted = known[members[number][1]].pixels if number % 3 else images.decode(members[number][1], 8).pixels
        assert np.array_equal(opened.pixels, wanted), name


def test_the_stage_reports_how_many_it_reused(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    write_tar(tmp_path / "raw" / "set.tar", MEMBERS)
    origin.write_origin(tmp_path / "raw", origin.Origin("Set", "here", "CC0"))
    (tmp_path / "params.yaml").write_text("datasets: {own: {pack: {image_size: 8}}}\n")
    places = {"--params": "params.yaml", "--raw": "raw", "--decoded": "cache", "--out": "packed"}
    arguments = ["--dataset", "own", *(part for name, path in places.items() for part in (name, str(tmp_path / path)))]
    pack.main(arguments)
    assert "decoded by" not in capsys.readouterr().out
    pack.main(arguments)
    assert "20 images packed at 8×8, 20 of them decoded by an earlier run\n" in capsys.readouterr().out
