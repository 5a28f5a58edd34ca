"""Decisions about labels: the file, what the split does with them, and what it leaves alone."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom import images
from darkroom.data.pack import hashing
from darkroom.data.settings import SplitSettings
from darkroom.data.split import decisions, duplicates, splitting
from darkroom.data.split.decisions import Decision
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import LEFT_OUT, Record, read_rows, read_split
from stages import split
from tests import factories
from tests.test_data_duplicates import clusters
from tests.test_stage_split import encode, picture

PATH = Path("data/labels.csv")
HEADER = ",".join(decisions.COLUMNS)
SETTINGS = SplitSettings(validation=0.2, test=0.3)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def record(name: str, label: str, content: str = "") -> Record:
    return Record(name, label, "", 8, 8, digest(content or name), "0" * 16)


def decide(name: str, old: str, new: str, **more: str) -> Decision:
    return Decision(digest(name), name, old, new, **more)


RECORDS = [record("1", "cat"), record("2", "cat"), record("3", "dog"), record("4", "dog"), record("5", "frog")]


@pytest.mark.parametrize(
    ("found", "alone"),
    [
        ([decide("1", "cat", "cat", reason="not one scene")], [0]),
        ([decide("1", "cat", "dog", reason="probable label error; not one scene")], [0]),
        ([decide("1", "cat", "cat", reason="not one scene"), decide("1", "cat", "cat", reason="by hand")], [0]),
        ([decide("1", "dog", "cat", reason="not one scene")], []),  # for another class
        ([decide("1", "cat", "dog", reason="not one scene"), decide("1", "cat", "frog")], []),  # contradictory
        ([decide("1", "cat", "cat", reason="these are not one scene"), decide("2", "cat", "")], []),
    ],
)
def test_images_are_taken_out_of_their_scene_by_the_reason(found, alone):
    assert np.flatnonzero(decisions.apply(RECORDS, found, PATH).alone).tolist() == alone


@pytest.mark.parametrize(
    ("found", "labels", "excluded", "problems"),
    [
        ([], "cat cat dog dog frog", [], (0, 0, 0)),
        ([decide("1", "cat", "dog"), decide("3", "dog", "dog")], "dog cat dog dog frog", [], (0, 0, 0)),
        ([decide("2", "cat", ""), decide("5", "frog", "cat")], "cat cat dog dog cat", [1], (0, 0, 0)),
        ([decide("6", "cat", "dog"), decide("7", "x", "y")], "cat cat dog dog frog", [], (2, 0, 0)),
        ([decide("1", "frog", "dog"), decide("1", "frog", "")], "cat cat dog dog frog", [], (0, 2, 0)),
        ([decide("1", "frog", "cat")], "cat cat dog dog frog", [], (0, 0, 0)),  # mended in the source
        ([decide("1", "cat", "dog"), decide("1", "cat", "frog")], "cat cat dog dog frog", [], (0, 0, 2)),
        ([decide("1", "cat", "dog"), decide("1", "cat", "cat")], "cat cat dog dog frog", [], (0, 0, 2)),
        ([decide("1", "cat", "dog", by="a"), decide("1", "cat", "dog", by="b")], "dog cat dog dog frog", [], (0, 0, 0)),
        ([decide("1", "frog", "cat"), decide("1", "cat", "dog")], "dog cat dog dog frog", [], (0, 0, 0)),
    ],
)
def test_decisions_are_applied_or_listed(found, labels, excluded, problems):
    applied = decisions.apply(RECORDS, found, PATH)
    assert [each.label for each in applied.records] == labels.split()
    assert np.flatnonzero(applied.excluded).tolist() == excluded
    assert (len(applied.missing), len(applied.outdated), len(applied.contradictory)) == problems
    assert [replace(each, label="") for each in applied.records] == [replace(each, label="") for each in RECORDS]
    assert applied.relabelled == sum(a != b for a, b in zip(RECORDS, applied.records, strict=True))


def test_exact_copies_are_decided_together_and_by_their_class():
    records = [record("1", "cat", "x"), record("2", "dog", "x"), record("3", "cat", "x"), record("4", "frog")]
    applied = decisions.apply(records, [decide("x", "cat", "dog")], PATH)
    assert [each.label for each in applied.records] == ["dog", "dog", "dog", "frog"]
    both = [decide("x", "cat", "cat"), decide("x", "dog", "dog")]
    assert decisions.apply(records, both, PATH).contradictory == []
    swapped = decisions.apply(records, [decide("x", "cat", "dog"), decide("x", "dog", "cat")], PATH)
    assert (len(swapped.contradictory), swapped.relabelled) == (2, 0)


def test_an_unknown_class_is_refused_only_where_it_would_be_used(tmp_path):
    path = tmp_path / "labels.csv"
    decisions.write(path, [decide("1", "cat", "brid"), decide("9", "cat", "brid"), decide("2", "wolf", "brid")])
    line = 2 + sorted(map(digest, "192")).index(digest("1"))
    with pytest.raises(DarkroomError, match=rf"line {line}: new is 'brid', which is not a class: give one of cat, dog"):
        decisions.apply(RECORDS, decisions.read(path), path)
    decisions.write(path, [decide("9", "cat", "brid"), decide("2", "wolf", "brid")])
    assert decisions.apply(RECORDS, decisions.read(path), path).relabelled == 0


HOSTILE = ["=1+1", "a,b", 'a"b', "line\nbreak", "carriage\rreturn", "'=x", "  spaces ", "日本 🐈", "\u202e", "None"]


def test_the_file_keeps_every_text_and_its_bytes_depend_on_the_decisions_alone(tmp_path):
    found = [Decision(digest(text), text, text, text, text, text) for text in HOSTILE]
    found.append(decide("x", "cat", ""))
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    decisions.write(first, found)
    decisions.write(second, [*found[::-1], found[0]])
    assert first.read_bytes() == second.read_bytes()
    assert decisions.read(first) == sorted(found)
    decisions.write(second, decisions.read(first))
    assert first.read_bytes() == second.read_bytes()
    decisions.write(first, [])
    assert first.read_text() == f"{HEADER}\n"


def test_the_shipped_file_is_empty_and_what_a_spreadsheet_saves_is_read(tmp_path):
    assert Path(__file__).parents[1].joinpath("data", "labels.csv").read_text() == f"{HEADER}\n"
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{digest('1')},1,cat,dog,,\r\n\r\n".encode())
    assert decisions.read(path) == [decide("1", "cat", "dog")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has the first line '' instead of 'sha256,image,old,new,reason,by': write that line, or `git checkout"),
        (HEADER.replace(",", ";"), "has the first line 'sha256;image;old;new;reason;by' instead of"),
        (
            f"{HEADER}\n<<<<<<< HEAD\n",
            "line 2, has 1 cell instead of 6 (the line comes from a merge conflict): correct",
        ),
        (f"{HEADER}\n{'a' * 64},b,c,d\n", "line 2, has 4 cells instead of 6: correct it, or `git checkout"),
        (f"{HEADER}\n\n{'g' * 64},b,c,d,e,f\n", f"line 3: sha256 is '{'g' * 64}', not 64 hexadecimal digits"),
        (f"{HEADER}\n{'a' * 64},b,,d,e,f\n", "line 2: old is empty: give the class that the image has"),
        (f'{HEADER}\n"{"a" * 200_000}",b,c,d,e,f\n', "line 2, is not CSV (field larger than field limit"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(DarkroomError) as error:
        decisions.read(path)
    assert message in str(error.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(DarkroomError, match="is missing: restore it with `git checkout"):
        decisions.read(tmp_path / "labels.csv")
    tmp_path.joinpath("labels.csv").write_bytes(HEADER.encode("utf-16"))
    with pytest.raises(DarkroomError, match="is not UTF-8"):
        decisions.read(tmp_path / "labels.csv")


def divided(records, found, **options):
    applied = decisions.apply(records, found, PATH)
    copies = duplicates.find(records, np.zeros((len(records), 8, 8, 3), dtype=np.uint8), 0, applied)
    return splitting.divide(records, copies, SETTINGS, 0, applied=applied, **options).splits


@pytest.mark.parametrize("held", [False, True])
def test_a_decision_moves_no_image_to_another_split(held):
    records = [record(f"{label}{number}", label) for label in ("cat", "dog", "frog") for number in range(60)]
    before = divided(records, [])
    recorded = frozenset(each.sha256 for each, part in zip(records, before, strict=True) if part == "test" and held)
    random = np.random.default_rng(0)
    chosen = random.choice(len(records), 60, replace=False).tolist()
    out = set(chosen[:20])
    found = [
        Decision(records[row].sha256, "", records[row].label, "" if row in out else random.choice(["cat", "dog"]))
        for row in chosen
    ]
    after = divided(records, found, held=recorded)
    assert after == [LEFT_OUT if row in out else part for row, part in enumerate(before)]
    assert Counter(before)[LEFT_OUT] == 0


def test_of_copies_in_the_test_split_another_one_is_scored_if_the_first_is_excluded():
    records = [record(f"{number}", "cat") for number in range(40)] + [
        record(f"d{number}", "dog") for number in range(40)
    ]
    copies = duplicates.find(records, np.zeros((80, 8, 8, 3), dtype=np.uint8), 0)
    tests = splitting.divide(records, copies, SETTINGS, 0).splits.index("test")
    twin = replace(records[tests], name="twin", sha256="f" * 64)
    clusters = np.append(copies.clusters, copies.clusters[tests])
    joined = duplicates.Copies(np.arange(81), clusters, np.zeros(81, dtype=np.bool_))
    records.append(twin)
    for gone, expected in ((tests, (LEFT_OUT, "test")), (80, ("test", LEFT_OUT))):
        applied = decisions.apply(records, [Decision(records[gone].sha256, "", "cat", "")], PATH)
        splits = splitting.divide(records, joined, SETTINGS, 0, applied=applied).splits
        assert (splits[tests], splits[80]) == expected


def test_an_emptied_class_is_refused_with_the_way_back():
    records = [record(f"{label}{number}", label) for label in ("cat", "dog") for number in range(10)]
    gone = [Decision(each.sha256, "", "cat", "") for each in records[:10]]
    with pytest.raises(DarkroomError, match=r"cat \(10\).*undo decisions in data/labels.csv"):
        divided(records, gone)
    # All images of a class may get another one, which is then a class less.
    moved = [Decision(each.sha256, "", "cat", "dog") for each in records[:10]]
    assert set(divided(records, moved)) == {"train", "validation", "test"}


@pytest.fixture(scope="module")
def near() -> tuple[list[Record], np.ndarray]:
    """Return records of twelve cats, of a near copy of the first one, and of a dog, with their pixels.

    The copy is so rough that it would not count as one between two classes.
    """
    arrays = [picture(seed) for seed in range(13)]
    contents = [*map(encode, arrays[:12]), encode(arrays[0], "JPEG", quality=8), encode(arrays[12])]
    decoded = [images.decode(content, 32) for content in contents]
    records = [
        Record(f"{row}", "cat", "", each.width, each.height, digest(f"{row}"), hashing.perceptual_hash(each.pixels))
        for row, each in enumerate(decoded)
    ]
    records[13] = replace(records[13], label="dog")
    return records, np.stack([each.pixels for each in decoded])


@pytest.mark.parametrize(
    ("decided", "conflicts"),
    [
        ({}, []),
        ({0: "dog"}, [0, 12]),  # the label of its copy is shown to a person, not guessed
        ({0: "dog", 12: "dog"}, []),
        ({0: "dog", 12: ""}, []),
        ({0: ""}, []),
    ],
)
def test_a_decided_image_stays_with_its_near_copies(near, decided, conflicts):
    records, pixels = near
    found = [Decision(records[row].sha256, "", "cat", new) for row, new in decided.items()]
    copies = duplicates.find(records, pixels, 8, decisions.apply(records, found, PATH))
    assert clusters(copies) == [[0, 12]]
    assert np.flatnonzero(copies.conflicts).tolist() == conflicts


def test_the_stage_applies_the_file_and_counts(tmp_path, capsys):
    packed = factories.write_packed(tmp_path / "packed")
    rows = read_rows(packed / "index.csv")
    found = [Decision(row["sha256"], row["name"], row["label"], "dog") for row in rows[:30]]
    found += [Decision(row["sha256"], row["name"], row["label"], "") for row in rows[30:35]]
    found += [decide("elsewhere", "cat", "dog"), Decision(rows[41]["sha256"], "", "wolf", "dog")]
    found += [Decision(rows[50]["sha256"], "fifty", rows[50]["label"], new) for new in ("cat", "dog")]
    run_split(tmp_path, [])
    before, hashes = read_rows(tmp_path / "split.csv"), files.read_json(tmp_path / "data.json")["test_hash"]
    run_split(tmp_path, found)
    after, metrics = read_rows(tmp_path / "split.csv"), files.read_json(tmp_path / "data.json")
    assert [row["label"] for row in after[:30]] == ["dog"] * 30
    assert [row["label"] for row in after[30:]] == [row["label"] for row in before[30:]]
    assert [row["split"] for row in after[30:35]] == [LEFT_OUT] * 5
    assert [row["split"] for row in after[:30] + after[35:]] == [row["split"] for row in before[:30] + before[35:]]
    counts = {name: metrics[name] for name in metrics if name.startswith("decisions_")}
    assert counts == {"decisions_missing": 1, "decisions_outdated": 1, "decisions_contradictory": 2}
    assert (metrics["relabelled"], metrics["confirmed"], metrics["excluded"], metrics["left_out"]) == (20, 10, 5, 5)
    compared = files.read_json(tmp_path / "images.json")
    assert (compared["relabelled"], compared["excluded"]) == (20, 5)
    assert metrics["test_hash"] != hashes
    printed = capsys.readouterr().out
    assert "labels.csv: 20 labels changed, 5 images excluded, 10 labels confirmed\n" in printed
    assert (
        "2 decisions not applied, because they contradict each other: fifty (frog → cat), fifty (frog → dog)" in printed
    )
    assert read_split(tmp_path / "split.csv").classes == ["cat", "dog", "frog"]


def run_split(top: Path, found: list[Decision]) -> None:
    (top / "params.yaml").write_text("seed: 0\ndatasets: {mine: {pack: {image_size: 16}, split: {near_copies: 0}}}\n")
    decisions.write(top / "labels.csv", found)
    outs = {"labels": "labels.csv", "test-images": "test.json", "out": "split.csv", "copies": "copies.csv"}
    paths = {"params": "params.yaml", "packed": "packed", "metrics": "data.json", "counts": "images.json", **outs}
    split.main(
        ["--dataset", "mine", *[part for name, file in paths.items() for part in (f"--{name}", f"{top}/{file}")]]
    )
