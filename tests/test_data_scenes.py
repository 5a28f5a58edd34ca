"""Scenes: generated images with other crops, views and bursts of them."""

import dataclasses
import functools
import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from darkroom.data.pack import traits
from darkroom.data.split import bursts, descriptors, scenes
from darkroom.data.split.alignment import agreement
from darkroom.data.split.descriptors import SIDE, Descriptors
from darkroom.packed import Record

RANDOM = 40


@functools.cache
def scene(seed: int, size: int = 128) -> Image.Image:
    """Return an image with shapes of several sizes on a smooth background."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((size, size), 3)
    result = np.array(coarse)
    for _ in range(12):
        top, left = random.integers(0, size - 10, 2)
        height, width = random.integers(size // 12, size // 3, 2)
        result[top : top + height, left : left + width] = random.integers(0, 256, 3)
    return Image.fromarray(result).filter(ImageFilter.GaussianBlur(1))


CHANGES = {
    "crop": lambda image: image.crop((8, 4, 124, 120)),
    "shift": lambda image: image.crop((7, 0, 128, 121)),
    "mirror": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brightness": lambda image: image.point(lambda value: value * 0.6 + 60),
    "stretch": lambda image: image.resize((140, 128)).crop((6, 0, 134, 128)),
}


def packed(members: list[Image.Image], label: str = "a", names: list[str] | None = None, side: int = 128):
    names = names or [f"{chr(97 + number % 26)}{number * 7}x" for number in range(len(members))]
    records = [Record(name, label, "", side, side, name, "0" * 16) for name in names]
    return records, np.stack([np.asarray(image.resize((64, 64), Image.Resampling.BOX)) for image in members])


def groups(numbers: np.ndarray) -> list[list[int]]:
    found = (np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers))
    return sorted(group for group in found if len(group) > 1)


def find(records, images, **options):
    return scenes.find(records, images, np.arange(len(records)), **options)


@pytest.mark.parametrize("change", CHANGES)
def test_other_views_of_a_scene_are_found_and_nothing_else(change):
    originals = [scene(seed) for seed in range(RANDOM)]
    members = originals + [CHANGES[change](image) for image in originals[:10]]
    assert groups(find(*packed(members))) == [[row, RANDOM + row] for row in range(10)]


def test_scenes_are_found_within_a_class_only():
    records, images = packed(
        [scene(seed) for seed in range(RANDOM)] + [CHANGES["crop"](scene(seed)) for seed in (0, 1)]
    )
    records[RANDOM] = dataclasses.replace(records[RANDOM], label="b")
    assert groups(find(records, images)) == [[1, RANDOM + 1]]


def test_copies_stay_connected_and_connect_their_scenes():
    records, images = packed([scene(seed) for seed in range(RANDOM)] + [CHANGES["crop"](scene(0))])
    clusters = np.array([*range(RANDOM), RANDOM])
    clusters[5] = clusters[RANDOM]
    assert groups(scenes.find(records, images, clusters)) == [[0, 5, RANDOM]]


@pytest.mark.parametrize(
    ("alone", "expected"),
    [
        ([], [[0, 1, 2, 3], [4, 5]]),
        ([0], [[0, 1], [2, 3], [4, 5]]),
        ([2, 4], [[0, 1, 3]]),
        ([0, 2, 3], [[0, 1], [4, 5]]),
    ],
)
def test_an_image_that_is_in_no_scene_stays_with_its_copies(alone, expected):
    found, clusters = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3, 4])
    assert groups(scenes.without(found, clusters, np.isin(np.arange(6), alone))) == expected


@pytest.mark.parametrize(("width", "size"), [(SIDE - 1, 64), (128, SIDE - 1)])
def test_small_images_are_in_no_scene(width, size):
    records, _ = packed([scene(0), scene(0)], side=width)
    images = np.stack([np.asarray(scene(0).resize((size, size)))] * 2)
    assert groups(find(records, images)) == []


def test_images_of_one_colour_are_in_no_scene():
    assert groups(find(*packed([Image.new("RGB", (128, 128), (value, 90, 90)) for value in range(30)]))) == []


def test_a_family_of_similar_objects_is_no_scene():
    family = [CHANGES["brightness"](scene(0))] * 12 + [CHANGES["crop"](scene(0))] * 12
    rest = [scene(seed) for seed in range(1, 20)]
    assert groups(find(*packed(family + rest))) == []
    assert groups(find(*packed(family + [scene(seed) for seed in range(1, 100)]))) == [list(range(24))]


def test_the_agreement_of_a_mirror_image_and_of_noise_is_small():
    grey = np.stack([np.asarray(scene(seed, SIDE).convert("L"), dtype=np.float32) for seed in range(4)])
    moved = np.roll(grey, 2, axis=2)
    assert agreement(grey, moved).min() > 0.7
    assert agreement(grey, moved, aligned=False).max() < 0.5
    assert agreement(grey, grey[::-1]).max() < 0.4


def test_a_mirror_image_has_the_mirrored_descriptor():
    _, images = packed([scene(seed) for seed in range(20)])
    described = Descriptors(np.concatenate([images, images[:, :, ::-1]]), np.arange(40))
    assert np.allclose(described.upright[20:], described.mirror[:20], atol=2e-3)
    assert np.allclose(np.linalg.norm(described.upright, axis=1), 1, atol=1e-3)


def test_similarities_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    _, images = packed([scene(seed) for seed in range(20)])
    described, (first, second) = Descriptors(images, np.arange(20)), np.triu_indices(20, 1)
    whole = described.similarity(first, second)
    monkeypatch.setattr(descriptors, "PAIRS", 7)
    assert (described.similarity(first[::-1], second[::-1]) == whole[::-1]).all()
    assert np.isclose(whole[3], max(described.upright[0] @ part[4] for part in (described.upright, described.mirror)))


def shot(image: Image.Image, taken: str) -> bytes:
    """Return a JPEG file with camera and time."""
    file = io.BytesIO()
    exif = image.getexif()
    exif[traits.MAKE], exif[traits.MODEL] = "Maker", "M1"
    exif.get_ifd(traits.SUB_IFD)[traits.TAKEN] = taken
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def loosely_alike(other: int, share: float = 0.5) -> Image.Image:
    """Return an image that is similar to `scene(2)`, but not sufficiently to be found without knowing more."""
    return Image.blend(scene(2), scene(other), share)


def test_a_burst_is_found_by_its_exif_data():
    times = [f"2024:05:01 17:30:{second:02}" for second in (0, 9, 30, 31)]
    facts = [traits.read(shot(scene(2), time)) for time in times]
    assert [each.taken for each in facts[:2]] == ["2024-05-01T17:30:00", "2024-05-01T17:30:09"]
    members = [scene(2), loosely_alike(502), loosely_alike(700), *(scene(seed) for seed in range(100, 100 + RANDOM))]
    records, images = packed(members)
    assert groups(find(records, images)) == []
    facts += facts[-1:] * (len(records) - 4)
    options = {"cameras": [each.camera for each in facts], "taken": [each.taken for each in facts]}
    assert groups(find(records, images, **options)) == [[0, 1]]
    members[5] = CHANGES["crop"](scene(100))  # the same scene as 3, but no burst
    records, images = packed(members)
    assert groups(find(records, images, **options)) == [[0, 1], [3, 5]]
    assert groups(scenes.find_bursts(records, images, np.arange(len(records)), **options)) == [[0, 1]]


@pytest.mark.parametrize(
    ("cameras", "taken", "expected"),
    [
        (["C"] * 3, ["2024-05-01T10:00:00", "2024-05-01T10:00:10", "2024-05-01T10:00:21"], [(0, 1)]),
        (["C"] * 3, ["2024-05-01T10:00:08", "2024-05-01T10:00:00", "2024-05-01T10:00:16"], [(1, 0), (0, 2)]),
        (["C", "D", "C"], ["2024-05-01T10:00:00"] * 3, [(0, 2)]),
        (["", "", ""], ["2024-05-01T10:00:00"] * 3, []),
        (["C"] * 3, ["", "?", "2024-05-01T10:00:00"], []),
        (["C"] * 3, ["2023-12-31T23:59:58", "2024-01-01T00:00:02", ""], [(0, 1)]),
    ],
)
def test_shots_of_a_burst(cameras, taken, expected):
    records = [Record(f"a/{row}", "a", "", 64, 64, str(row), "0") for row in range(3)]
    assert bursts.shots(records, cameras, taken) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/IMG_0009.jpg", "a/IMG_0010.jpg", "a/IMG_0012.jpg"], [(0, 1)]),
        (["a/frame2.png", "a/frame1.png", "a/frame3.png"], [(1, 0), (0, 2)]),
        (["a/1/7.jpg", "a/2/8.jpg", "a/7.png"], []),
        (["cat.jpg", "dog.jpg", "x" + "9" * 30], []),
    ],
)
def test_successive_file_numbers(names, expected):
    assert bursts.numbered([Record(name, "a", "", 64, 64, name, "0") for name in names]) == expected


def test_successive_numbers_need_one_size_and_class():
    records = [Record(f"{row}.jpg", "ab"[row // 2], "", 64 + (row == 1), 64, "", "0") for row in range(4)]
    assert bursts.numbered(records) == [(2, 3)]


def test_successive_numbers_join_similar_images_only():
    members = [scene(2), loosely_alike(502, 0.45), *(scene(seed) for seed in range(100, 100 + RANDOM))]
    names = [f"a/IMG_{row:04}.jpg" for row in range(len(members))]
    assert groups(find(*packed(members))) == []
    assert groups(find(*packed(members, names=names))) == [[0, 1]]
