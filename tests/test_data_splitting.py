import hashlib
from collections import Counter
from collections.abc import Collection

import numpy as np
import pytest

from darkroom.data.settings import SplitSettings
from darkroom.data.split import duplicates, splitting, summary
from darkroom.data.split.splitting import Division
from darkroom.foundations.errors import DarkroomError
from darkroom.packed import Packed, Record

SETTINGS = SplitSettings(validation=0.2, test=0.3)


def record(name: str, label: str, content: str = "", split: str = "", group: str = "") -> Record:
    return Record(name, label, split, 8, 8, content or name, "0" * 16, group)


def many(label: str, count: int, split: str = "") -> list[Record]:
    return [record(f"{label}{split}{number}", label, split=split) for number in range(count)]


def divide(records: list[Record], settings: SplitSettings, seed: int, held: Collection[str] = ()) -> Division:
    copies = duplicates.find(records, np.zeros((len(records), 8, 8, 3), dtype=np.uint8), 0)
    return splitting.divide(records, copies, settings, seed, held)


def scored(records: list[Record], splits: list[str]) -> list[str]:
    return [item.sha256 for item, split in zip(records, splits, strict=True) if split == "test"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [10, 100, 1000])
def test_shares_hold_in_every_class(count, seed):
    records = many("a", count) + many("b", 40)
    splits = divide(records, SETTINGS, seed).splits
    counts = Counter(zip((item.label for item in records), splits, strict=True))
    for label, images in (("a", count), ("b", 40)):
        assert counts[label, "test"] == pytest.approx(0.3 * images, rel=splitting.SLACK)
        assert counts[label, "validation"] == pytest.approx(0.2 * images, rel=splitting.SLACK)


def test_the_seed_decides_and_the_order_does_not():
    records = many("a", 50)
    first = dict(zip((item.name for item in records), divide(records, SETTINGS, 1).splits, strict=True))
    again = records[::-1]
    second = dict(zip((item.name for item in again), divide(again, SETTINGS, 1).splits, strict=True))
    assert first == second
    assert divide(records, SETTINGS, 2).splits != divide(records, SETTINGS, 1).splits


@pytest.mark.parametrize(("count", "most"), [(50, 0.05), (200, 0.02), (2000, 0.002)])
def test_a_fifth_more_pictures_move_few_of_the_old(count, most):
    moved = []
    for seed in range(20):
        records = many("a", count)
        before = divide(records, SETTINGS, seed).splits
        after = divide(many("a", count * 6 // 5), SETTINGS, seed).splits[:count]
        moved.append(np.mean([old != new for old, new in zip(before, after, strict=True)]))
    assert np.mean(moved) < most


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [3, 10, 50, 400])
def test_test_images_from_before_are_drawn_again_alike(count, seed):
    records = many("a", count) + [record(f"{n}", "b", f"{n // 2}", group=f"g{n // 6}") for n in range(60)]
    splits = divide(records, SETTINGS, seed).splits
    assert divide(records, SETTINGS, seed, scored(records, splits)).splits == splits


@pytest.mark.parametrize("seed", range(3))
def test_added_images_go_to_training_and_validation(seed):
    old, added = many("a", 100) + many("b", 300), [record(f"new{n}", "a") for n in range(100)]
    before = divide(old, SETTINGS, seed).splits
    after = divide([*old, *added], SETTINGS, seed, scored(old, before)).splits
    assert scored([*old, *added], after) == scored(old, before)
    assert Counter(after[400:])["validation"] == pytest.approx(20, abs=12)
    assert Counter(after[:100] + after[400:])["validation"] == pytest.approx(0.2 * 200, rel=splitting.SLACK)
    assert after[100:400] == before[100:]
    assert np.mean([one != other for one, other in zip(before, after, strict=False)]) < 0.02  # of the old


def test_a_new_class_gets_test_images_and_images_that_are_gone_are_not_replaced():
    old = many("a", 100)
    held = scored(old, divide(old, SETTINGS, 0).splits)
    records = [item for item in old if item.sha256 not in held[10:]] + many("b", 50)
    splits = divide(records, SETTINGS, 0, held).splits
    assert scored(records, splits)[:10] == held[:10]
    assert Counter(item.label for item, split in zip(records, splits, strict=True) if split == "test")["b"] == 14


def test_what_belongs_together_with_a_test_image_from_before_is_left_out():
    old = [*many("a", 40), *(record(f"g{n}", "a", group=f"group{n}") for n in range(40))]
    held = scored(old, divide(old, SETTINGS, 0).splits)
    alone = next(content for content in held if content[0] == "a")
    member = next(item for item in old if item.sha256 in held and item.group)
    copies = [record("0 first by name", "a", alone), record("z last", "a", alone)]
    added = [copies[0], *old, copies[1], record("mate", "a", group=member.group), *many("b", 9)]
    splits = divide(added, SETTINGS, 0, held).splits
    together = [split for item, split in zip(added, splits, strict=True) if item.sha256 == alone]
    assert sorted(together) == [splitting.LEFT_OUT] * 2 + ["test"]
    assert splits[82] == splitting.LEFT_OUT
    conflict = [*old, record("c", "b", alone), *many("b", 9)]
    splits = divide(conflict, SETTINGS, 0, held).splits
    assert set(scored(conflict, splits)) >= set(held) - {alone}
    assert splits[80] == splits[[item.sha256 for item in old].index(alone)] == splitting.LEFT_OUT


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_word_of_the_source_comes_before_the_test_images_from_before(split):
    records = [*many("a", 20, "train"), *many("a", 8, split), *many("b", 20, "train"), *many("b", 8, split)]
    splits = divide(records, SETTINGS, 0, [records[0].sha256, records[20].sha256]).splits
    assert splits[20:28] == [split] * 8
    assert (splits[0] == "test") == (split == "validation")


def test_copies_stay_together_and_one_of_them_is_scored():
    records = [record(f"{number}-{copy}", "a", f"content{number}") for number in range(20) for copy in range(3)]
    division = divide(records, SETTINGS, 0)
    found = [tuple(division.splits[3 * number : 3 * number + 3]) for number in range(20)]
    left = splitting.LEFT_OUT
    assert set(found) == {("train",) * 3, ("validation", left, left), ("test", left, left)}


def test_groups_stay_together_through_copies_too():
    records = [record(f"{number}", "ab"[number % 2], group=f"g{number // 5}") for number in range(200)]
    records += [record("bridge", "a", "0", group="g39")]
    division = divide(records, SETTINGS, 0)
    sides = [set(division.splits[5 * number : 5 * number + 5]) for number in range(40)]
    assert all(len(side) == 1 for side in sides)
    assert sides[0] == sides[39]
    assert division.splits[-1] in ({"train"} & sides[0] or {splitting.LEFT_OUT})  # a copy of "0", scored once at most
    assert Counter(division.splits)["test"] == pytest.approx(60, rel=0.3)


def test_copies_near_copies_and_groups_connect_images():
    groups = ["", "", "x", "x", "", "", "x"]
    records = [record(name, "a", group=group) for name, group in zip("abcdefg", groups, strict=True)]
    clusters = np.array([0, 0, 1, 2, 2, 3, 4])  # a and b are copies, so are d and e
    copies = duplicates.Copies(np.arange(7), clusters, np.zeros(7, dtype=np.bool_))
    numbers = splitting.together(records, copies).tolist()
    assert numbers[0] == numbers[1]
    assert len({numbers[place] for place in (2, 3, 4, 6)}) == 1
    assert len(set(numbers)) == 3


def test_a_group_may_grow_and_stays():
    contents = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(400)]
    groups = [record(f"{n}", "a", content, group=f"g{n % 50}") for n, content in enumerate(contents)]
    before = divide(groups[:300], SETTINGS, 0).splits
    assert divide(groups, SETTINGS, 0).splits[:300] == before


@pytest.mark.parametrize("seed", range(5))
def test_where_groups_are_large_the_nearest_share_is_taken(seed):
    records = [record(f"{number}", "a", group=f"g{number // 10}") for number in range(60)]
    counts = Counter(divide(records, SETTINGS, seed).splits)
    assert counts == {"test": 20, "validation": 10, "train": 30}


def test_a_copy_under_two_classes_is_left_out():
    records = [*many("a", 10), *many("b", 10), record("x", "a", "same"), record("y", "b", "same")]
    division = divide(records, SETTINGS, 0)
    assert division.splits[-2:] == [splitting.LEFT_OUT] * 2
    assert splitting.LEFT_OUT not in division.splits[:-2]


def test_a_given_split_is_kept_and_what_it_lacks_is_taken_from_training():
    records = many("a", 50, "train") + many("a", 5, "test")
    splits = divide(records, SETTINGS, 0).splits
    assert Counter(splits[:50])["validation"] == pytest.approx(10, rel=splitting.SLACK)
    assert set(splits[:50]) == {"train", "validation"}
    assert set(splits[50:]) == {"test"}
    records += many("a", 7, "validation")
    assert Counter(divide(records, SETTINGS, 0).splits) == {"train": 50, "test": 5, "validation": 7}


def test_a_training_copy_of_a_given_test_picture_is_left_out_and_the_leak_marked():
    records = [*many("a", 10, "train"), record("t", "a", "same", "test"), record("c", "a", "same", "train")]
    division = divide([*records, *many("a", 5, "test")], SETTINGS, 0)
    assert division.splits[10:12] == ["test", splitting.LEFT_OUT]
    assert np.flatnonzero(division.leaks).tolist() == [10]


def test_a_given_test_split_stays_whole():
    records = [*many("a", 10, "train"), *many("b", 10, "train"), *many("a", 3, "test"), *many("b", 3, "test")]
    records += [record("t", "a", "x", "test"), record("u", "b", "x", "test"), record("c", "b", "x", "train")]
    division = divide(records, SETTINGS, 0)
    assert division.splits[-3:] == ["test", "test", splitting.LEFT_OUT]


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_is_named(count):
    with pytest.raises(DarkroomError, match=rf"too few distinct images to train on in b \({count}\): .* at least 3"):
        divide(many("a", 10) + many("b", count), SETTINGS, 0)
    for seed in range(9):
        divide(many("a", 10) + many("b", 3), SETTINGS, seed)


def test_copies_and_groups_count_as_one():
    few = [record(f"{number}", "b", group=f"g{number % 2}") for number in range(40)]
    with pytest.raises(DarkroomError, match=r"in b \(2 of 40\): .* copies or images of one group count as one"):
        divide(many("a", 10) + few, SETTINGS, 0)
    for seed in range(9):
        large = [record(f"{number}", "b", group="large" if number < 30 else "") for number in range(32)]
        splits = divide(many("a", 10) + large, SETTINGS, seed).splits[10:]
        assert set(splits) == {"train", "validation", "test"}


def test_a_class_that_a_given_validation_split_lacks_gets_some_from_training():
    records = [*many("a", 2, "validation"), *many("a", 20), *many("b", 20)]
    splits = divide(records, SETTINGS, 0).splits
    assert splits[:2] == ["validation"] * 2
    assert set(splits[2:22]) == {"train", "test"}
    assert Counter(splits[22:])["validation"] == 4


def test_validation_pictures_that_are_all_test_pictures_are_replaced():
    records = [*many("a", 20, "train"), *many("b", 20, "train")]
    for label in ("a", "b"):
        for split in ("test", "validation"):
            records += [record(f"{label}{split}{n}", label, f"{label}{n} twice", split) for n in range(5)]
    counts = Counter(divide(records, SETTINGS, 0).splits)
    assert counts == {"train": 32, "validation": 8, "test": 10, splitting.LEFT_OUT: 10}


def test_a_class_without_a_training_picture_is_told_apart_from_a_small_one():
    with pytest.raises(DarkroomError, match=r"no training images in b \(5\): the source assigns all of them to"):
        divide([*many("a", 10), *many("b", 5, "test")], SETTINGS, 0)


def test_the_hash_of_the_test_images_changes_with_them_alone():
    def hash_of(records, splits):
        return summary._test_hash(Packed(np.zeros(0), records, [], {}), Division(splits, []))

    records, splits = many("a", 3), ["test", "test", "train"]
    first = hash_of(records, splits)
    assert hash_of(records[::-1], splits[::-1]) == first
    assert hash_of([*records, record("new", "a")], [*splits, "train"]) == first
    assert hash_of([*records, record("new", "a")], [*splits, "test"]) != first


def with_scenes(records: list[Record], scenes: list[int], seed: int, held: Collection[str] = ()) -> Division:
    copies = duplicates.find(records, np.zeros((len(records), 8, 8, 3), dtype=np.uint8), 0)
    return splitting.divide(records, copies, SETTINGS, seed, held, scenes=np.array(scenes))


@pytest.mark.parametrize("seed", range(5))
def test_images_of_a_scene_stay_together_and_all_are_used(seed):
    records = many("a", 200)
    scenes = [row // 4 if row < 100 else row for row in range(200)]
    division = with_scenes(records, scenes, seed)
    for first in range(0, 100, 4):
        assert len(set(division.splits[first : first + 4])) == 1
    assert "left out" not in division.splits
    assert not any(division.scene_leaks)
    assert division.splits.count("test") == pytest.approx(60, rel=splitting.SLACK)


def test_without_a_scene_nothing_changes():
    records = many("a", 100) + [record(f"{n}", "b", f"{n // 2}") for n in range(60)]
    assert with_scenes(records, list(range(160)), 3).splits == divide(records, SETTINGS, 3).splits


@pytest.mark.parametrize("seed", range(3))
def test_recorded_test_images_stay_when_scenes_are_found(seed):
    records = many("a", 100)
    before = divide(records, SETTINGS, seed).splits
    held = scored(records, before)
    division = with_scenes(records, [row // 2 for row in range(100)], seed, held)
    assert scored(records, division.splits) == held
    assert "left out" not in division.splits
    leaks = [split == "test" and before[row ^ 1] != "test" for row, split in enumerate(before)]
    assert any(leaks)
    assert division.scene_leaks == leaks


def test_scenes_of_the_sources_own_test_images_are_leaks_but_stay_in_training():
    records = many("a", 10, "test") + many("a", 40, "train") + [record("copy", "a", "atest0", "train")]
    scenes = [row if row < 10 else row - 10 if row < 14 else row for row in range(51)]
    scenes[50] = 0
    division = with_scenes(records, scenes, 0)
    assert division.splits[:10] == ["test"] * 10
    assert division.splits[50] == "left out"  # the copy, as without scenes
    assert "left out" not in division.splits[:50]
    assert [row for row, leak in enumerate(division.leaks) if leak] == [0]
    assert [row for row, leak in enumerate(division.scene_leaks) if leak] == [1, 2, 3]


def test_scenes_copies_and_groups_connect_images():
    records = [record(name, "a", content, group=group) for name, content, group in (
        ("1", "x", ""), ("2", "x", ""), ("3", "y", "g"), ("4", "z", "g"), ("5", "w", ""), ("6", "v", ""),
    )]  # fmt: skip
    copies = duplicates.find(records, np.zeros((6, 8, 8, 3), dtype=np.uint8), 0)
    found = splitting.together(records, copies, np.array([0, 1, 1, 2, 3, 3])).tolist()
    assert len({*found[:4]}) == 1
    assert found[4] == found[5] != found[0]
