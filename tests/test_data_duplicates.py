import hashlib
import tarfile

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_digits

from darkroom import images
from darkroom.data.split import duplicates
from darkroom.data.split.duplicates import Copies
from darkroom.data.split.thumbnails import DETAIL, Thumbnails
from darkroom.packed import Record
from tests import renderings
from tests.pictures import encode, pixels

TOLERANCE = 8


def find(members: list[tuple[str, bytes]], size: int = 32, tolerance: int = TOLERANCE) -> Copies:
    """Find copies among (class, file) pairs that are decoded here as packing does it."""
    records, squares = [], []
    for number, (label, data) in enumerate(members):
        decoded = images.decode(data, size)
        digest, phash = hashlib.sha256(data).hexdigest(), str(imagehash.phash(Image.fromarray(decoded.pixels)))
        records.append(Record(f"{number}", label, "", decoded.width, decoded.height, digest, phash))
        squares.append(decoded.pixels)
    return duplicates.find(records, np.stack(squares), tolerance)


def clusters(copies: Copies) -> list[list[int]]:
    """Return the rows of each cluster of several."""
    groups = (np.flatnonzero(copies.clusters == number).tolist() for number in np.unique(copies.clusters))
    return sorted(group for group in groups if len(group) > 1)


def resized(picture: np.ndarray, factor: float) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


CHANGES = {
    "jpeg": lambda picture: encode(picture, "JPEG", quality=60),
    "half": lambda picture: encode(resized(picture, 0.5)),
    "larger": lambda picture: encode(resized(picture, 1.5)),
    "brighter": lambda picture: encode((picture * 0.8 + 40).astype(np.uint8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(change):
    originals = [pixels(seed, 40, 40) for seed in range(60)]
    members = [("a", encode(picture)) for picture in originals]
    members += [("a", CHANGES[change](picture)) for picture in originals[:20]]
    copies = find(members)
    assert clusters(copies) == [[row, 60 + row] for row in range(20)]
    assert len(np.unique(copies.exact)) == 80
    assert not copies.conflicts.any()


def test_pixels_that_leave_no_doubt_need_no_hash():
    """In pictures as smooth as these, JPEG turns up to 24 bits of the hash; more of them than one block holds."""
    originals = [pixels(seed, 40, 40) for seed in range(150)]
    members = [("a", encode(picture)) for picture in originals]
    members += [("a", CHANGES["jpeg"](picture)) for picture in originals[::-1]]
    assert clusters(find(members, tolerance=1)) == [[row, 299 - row] for row in range(150)]


def test_without_tolerance_only_exact_copies_count():
    picture = pixels(1, 40, 40)
    members = [("a", encode(picture)), ("a", encode(picture)), ("a", encode(picture, "JPEG", quality=60))]
    assert clusters(find(members, tolerance=0)) == [[0, 1]]
    assert clusters(find(members)) == [[0, 1, 2]]


@pytest.mark.parametrize("change", ["exact", "jpeg"])
def test_a_copy_under_another_class_is_a_conflict_of_these_two_alone(change):
    picture = pixels(1, 40, 40)
    other = CHANGES.get(change, encode)(picture)
    members = [("a", encode(picture)), ("b", other), ("a", encode(pixels(2, 40, 40)))]
    copies = find(members)
    assert clusters(copies) == [[0, 1]]
    assert copies.conflicts.tolist() == [True, True, False]


def test_copies_connect_through_others():
    chain = [encode(resized(pixels(1, 80, 80), factor)) for factor in (1, 0.7, 0.5)]
    copies = find([("a", data) for data in [*chain, *chain[::-1]]])
    assert clusters(copies) == [[0, 1, 2, 3, 4, 5]]


def test_the_same_few_shapes_are_no_copies():
    """One hash fits both, a sky with something small in it; only the pixels differ."""
    sky = np.linspace(120, 200, 32)[:, None, None].repeat(32, 1).repeat(3, 2)
    bird, plane = sky.copy(), sky.copy()
    bird[4:12, 4:12], plane[18:30, 14:30] = 20, 250
    hashes = ["0" * 16] * 2
    records = [Record(str(row), "a", "", 32, 32, str(row), phash) for row, phash in enumerate(hashes)]
    different = duplicates.find(records, np.stack([bird, plane]).astype(np.uint8), TOLERANCE)
    same = duplicates.find(records, np.stack([bird, bird]).astype(np.uint8), TOLERANCE)
    assert (clusters(different), clusters(same)) == ([], [[0, 1]])


def test_flat_pictures_are_no_copies_of_one_another():
    members = [("a", encode(np.full((32, 32, 3), grey, dtype=np.uint8))) for grey in (0, 90, 255)]
    assert clusters(find([*members, members[0]])) == [[0, 3]]


def test_the_digits_are_all_different():
    digits = load_digits()
    members = [
        (str(label), encode(np.round(grey * (255 / 16)).astype(np.uint8)))
        for grey, label in zip(digits.images, digits.target, strict=True)
    ]
    assert clusters(find([*members, members[7]])) == [[7, 1797]]


def test_a_large_burst_is_one_cluster_and_quickly_found():
    random = np.random.default_rng(0)
    scene = pixels(1, 32, 32)
    noisy = [np.clip(scene + random.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(2000)]
    records = [Record(str(row), "a", "", 32, 32, str(row), "ff00" * 4) for row in range(2000)]
    copies = duplicates.find(records, np.stack(noisy), TOLERANCE)
    assert len(np.unique(copies.clusters)) == 1


@pytest.mark.shared
def test_two_thousand_photographs_raise_no_false_alarm_and_hide_no_planted_copy(shared):
    """Every thirtieth picture of CIFAR-10."""
    members = []
    with tarfile.open(shared / "data" / "cifar10-images.tar.gz", "r|*") as tar:
        for number, member in enumerate(entry for entry in tar if entry.isfile()):
            if number % 30 == 0 and (file := tar.extractfile(member)):
                members.append((member.name.split("/")[-2], file.read()))
    assert len(members) == 2000
    natural = clusters(find(members))
    assert natural == []
    planted = []
    for row in range(0, 1200, 10):
        picture = images.decode(members[row][1], 32).pixels
        planted.append((members[row][0], CHANGES[("jpeg", "half", "larger")[row // 10 % 3]](picture)))
    found = clusters(find([*members, *planted]))
    assert found == [[10 * number, 2000 + number] for number in range(120)]


@pytest.mark.parametrize("kind", renderings.KINDS)
def test_renderings_on_plain_backgrounds_are_no_copies_but_their_copies_are(kind):
    """Before what they have in common was removed, nearly all of them counted as one picture under ten classes."""
    drawn = [(str(label), renderings.draw(kind, label, seed)) for label in range(6) for seed in range(25)]
    members = [(label, encode(image)) for label, image in drawn]
    planted = [(label, encode(image, "JPEG", quality=80)) for label, image in drawn[::10]]
    copies = find([*members, *planted])
    assert not copies.conflicts.any()
    assert len(np.unique(copies.clusters[:150])) > 90
    pairs = zip(copies.clusters[:150:10], copies.clusters[150:], strict=True)
    assert sum(original == copy for original, copy in pairs) >= 14


def coins(marks: int, count: int, seed: int = 0) -> list[bytes]:
    """Return coins of one coinage, each turned by another angle: every one is like the next, but they are no copies."""
    random = np.random.default_rng(seed)
    angles = random.permutation(count) * 2 * np.pi / count / marks
    files = []
    for angle in angles:
        image = Image.new("RGB", (96, 96))
        canvas = ImageDraw.Draw(image)
        middle = 48 + random.uniform(-2, 2)
        canvas.ellipse((middle - 38, middle - 38, middle + 38, middle + 38), fill=(225, 215, 190))
        for turn in angle + np.arange(marks) * 2 * np.pi / marks:
            x, y = middle + 26 * np.cos(turn), middle + 26 * np.sin(turn)
            canvas.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(170, 160, 130))
        files.append(encode(image.filter(ImageFilter.GaussianBlur(1))))
    return files


def test_a_class_of_one_shape_is_not_one_image():
    members = [("other", encode(pixels(seed, 40, 40))) for seed in range(80)]
    members += [(f"coin of {marks}", data) for marks in (3, 7) for data in coins(marks, 60)]
    members += [members[90]] * 3  # exact copies stay together
    copies = find(members)
    assert not copies.conflicts.any()
    assert len(np.unique(copies.clusters[:80])) == 80
    for begin in (80, 140):
        assert len(np.unique(copies.clusters[begin : begin + 60])) >= 5
    assert {*copies.clusters[200:]} == {copies.clusters[90]}


def test_many_copies_of_one_image_stay_one_cluster():
    photo = np.clip(pixels(1, 60, 60) + np.random.default_rng(0).normal(0, 12, (60, 60, 3)), 0, 255)
    random = np.random.default_rng(1)
    members = [("other", encode(pixels(seed, 40, 40))) for seed in range(100, 160)]
    for _ in range(30):
        changed = (photo * random.uniform(0.7, 0.9) + random.uniform(0, 25)).astype(np.uint8)
        changed = resized(changed, random.uniform(0.7, 1.5))
        members.append(("same", encode(changed, "JPEG", quality=int(random.integers(60, 95)))))
    copies = find(members)
    assert len(np.unique(copies.clusters[60:])) == 1
    assert len(np.unique(copies.clusters)) == 61


@pytest.mark.parametrize("size", [8, 16, 30, 33, 100])
def test_thumbnails_are_those_of_pillow_one_by_one(size):
    images = np.random.default_rng(size).integers(0, 256, (130, size, size, 3), dtype=np.uint8)
    box = Image.Resampling.BOX
    expected = [np.asarray(Image.fromarray(each).resize((DETAIL, DETAIL), box)).reshape(-1) for each in images]
    assert (Thumbnails(images)._values == expected).all()
