from collections import Counter

import pytest

from darkroom.data import splitting
from darkroom.data.settings import SplitSettings
from darkroom.errors import DarkroomError
from darkroom.packed import Record

SETTINGS = SplitSettings(validation=0.2, test=0.3)


def record(name: str, label: str, content: str = "", split: str = "") -> Record:
    return Record(name, label, split, 8, 8, content or name, "0" * 16)


def many(label: str, count: int, split: str = "") -> list[Record]:
    return [record(f"{label}{split}{number}", label, split=split) for number in range(count)]


def test_shares_hold_in_every_class():
    records = many("a", 100) + many("b", 10)
    splits = splitting.divide(records, SETTINGS, 0).splits
    counts = Counter(zip((item.label for item in records), splits, strict=True))
    assert counts == {
        ("a", "train"): 50, ("a", "validation"): 20, ("a", "test"): 30,
        ("b", "train"): 5, ("b", "validation"): 2, ("b", "test"): 3,
    }  # fmt: skip


def test_the_seed_decides_and_the_order_does_not():
    records = many("a", 50)
    first = dict(zip((item.name for item in records), splitting.divide(records, SETTINGS, 1).splits, strict=True))
    again = records[::-1]
    second = dict(zip((item.name for item in again), splitting.divide(again, SETTINGS, 1).splits, strict=True))
    assert first == second
    assert splitting.divide(records, SETTINGS, 2).splits != splitting.divide(records, SETTINGS, 1).splits


def test_more_pictures_move_few_of_the_old():
    records = many("a", 1000)
    before = splitting.divide(records, SETTINGS, 0).splits
    after = splitting.divide(records + [record(f"new{n}", "a") for n in range(20)], SETTINGS, 0).splits[:1000]
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 20


def test_copies_stay_together_and_are_counted():
    records = [record(f"{number}-{copy}", "a", f"content{number}") for number in range(20) for copy in range(3)]
    division = splitting.divide(records, SETTINGS, 0)
    for number in range(20):
        assert len(set(division.splits[3 * number : 3 * number + 3])) == 1
    assert (division.copies, division.conflicts) == (40, 0)


def test_a_copy_under_two_classes_is_left_out():
    records = [*many("a", 10), *many("b", 10), record("x", "a", "same"), record("y", "b", "same")]
    division = splitting.divide(records, SETTINGS, 0)
    assert division.splits[-2:] == [splitting.LEFT_OUT] * 2
    assert (division.copies, division.conflicts) == (1, 2)


def test_a_given_split_is_kept_and_what_it_lacks_is_taken_from_training():
    records = many("a", 20, "train") + many("a", 5, "test")
    splits = splitting.divide(records, SETTINGS, 0).splits
    assert Counter(splits[:20]) == {"train": 16, "validation": 4}
    assert set(splits[20:]) == {"test"}
    records += many("a", 7, "validation")
    assert Counter(splitting.divide(records, SETTINGS, 0).splits) == {"train": 20, "test": 5, "validation": 7}


def test_a_training_copy_of_a_given_test_picture_is_left_out():
    records = [*many("a", 10, "train"), record("t", "a", "same", "test"), record("c", "a", "same", "train")]
    assert splitting.divide(records, SETTINGS, 0).splits[-2:] == ["test", splitting.LEFT_OUT]


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_is_named(count):
    with pytest.raises(DarkroomError, match=rf"too few different pictures to train on in b \({count}\): .* at least 3"):
        splitting.divide(many("a", 10) + many("b", count), SETTINGS, 0)
    splitting.divide(many("a", 10) + many("b", 3), SETTINGS, 0)
