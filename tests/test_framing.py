"""Every fit gives the square that it promises, from every kind of file, and square images are the same with all."""

import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from darkroom import candidate, framing, images, packed
from darkroom.data.archives import origin
from darkroom.data.pack import opening, packing
from darkroom.data.settings import PackSettings
from darkroom.data.sources import cifar10, digits
from darkroom.data.split import duplicates
from darkroom.foundations import files, params
from darkroom.foundations.errors import DarkroomError
from darkroom.framing import FITS, Box
from darkroom.packed import Record
from tests import cifar_archive, factories
from tests.pictures import encode, pixels, write_zip

PHOTO = Image.fromarray(pixels(3, 90, 60))


def decode(data, size, fit):
    return images.decode(data, size, fit=fit).pixels


def apart(left, right):
    """Return the largest difference of two images in grey levels."""
    return int(np.abs(left.astype(int) - right.astype(int)).max())


@pytest.mark.parametrize(
    ("width", "height", "side", "box"),
    [
        (30, 30, 16, Box(0, 0, 16, 16)),
        (32, 16, 16, Box(0, 4, 16, 12)),
        (16, 32, 16, Box(4, 0, 12, 16)),
        (3, 2, 16, Box(0, 2, 16, 13)),  # 10.67 rows are 11
        (4000, 1, 224, Box(0, 111, 224, 112)),  # never none
        (1, 4000, 224, Box(111, 0, 112, 224)),
    ],
)
def test_a_padded_image_is_in_the_middle_in_its_proportions(width, height, side, box):
    assert framing.content(width, height, side, "pad") == box
    for fit in ("crop", "stretch"):
        assert framing.content(width, height, side, fit) == Box(0, 0, side, side)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("side", [7, 32, 33, 200])
def test_square_images_are_the_same_with_every_fit(side, kind):
    data = encode(pixels(1, side, side), kind)
    expected = decode(data, 32, "crop")
    for fit in FITS:
        assert np.array_equal(decode(data, 32, fit), expected)


def test_digits_and_cifar_are_packed_to_the_same_bytes_as_ever(tmp_path):
    raw, cifar = tmp_path / "digits", tmp_path / "cifar"
    raw.mkdir()
    cifar.mkdir()
    origin.write_origin(raw, digits.fetch(raw))
    pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    batch = cifar_archive.batch(pictures, [number % 10 for number in range(20)])
    cifar_archive.write(cifar / cifar10.NAME, {"data_batch_1": batch, "test_batch": batch})
    origin.write_origin(cifar, cifar10.ORIGIN)
    for folder, size in ((raw, 16), (cifar, 32)):
        contents = []
        for fit in FITS:
            out = tmp_path / f"{folder.name}-{fit}"
            out.mkdir()
            packing.pack(folder, PackSettings(image_size=size, fit=fit, limit_per_class=4), out)
            names = ("images.npy", "index.csv", "moments.npy", "checksums.json")
            contents.append([(out / name).read_bytes() for name in names])
            assert packed.open_packed(out).fit == fit
        assert contents[0] == contents[1] == contents[2]
    rows = packed.open_packed(tmp_path / "cifar-pad")
    for record, image in zip(rows.records, rows.images, strict=True):
        assert np.array_equal(image, pictures[int(record.name[-9:-4])])
    rows, truth = packed.open_packed(tmp_path / "digits-pad"), load_digits().images
    for record, image in zip(rows.records, rows.images, strict=True):
        grey = (truth[int(record.name[-8:-4])] * 255 / 16).round().astype(np.uint8)
        larger = Image.fromarray(grey).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(image, np.repeat(np.asarray(larger)[:, :, np.newaxis], 3, axis=2))


@pytest.mark.parametrize("turned", [False, True])
def test_each_fit_shows_what_it_promises(turned):
    photo = PHOTO.transpose(Image.Transpose.ROTATE_90) if turned else PHOTO
    bicubic = Image.Resampling.BICUBIC
    stretched = np.asarray(photo.resize((24, 24), bicubic))
    small = np.asarray(photo.resize((16, 24) if turned else (24, 16), bicubic))
    middle = (0, 15, 60, 75) if turned else (15, 0, 75, 60)
    data = encode(photo)
    assert apart(decode(data, 24, "crop"), np.asarray(photo.crop(middle).resize((24, 24), bicubic))) <= 1
    assert apart(decode(data, 24, "stretch"), stretched) <= 1
    padded = decode(data, 24, "pad")
    inside = padded[:, 4:20] if turned else padded[4:20]
    bars = np.delete(padded, np.s_[4:20], axis=1 if turned else 0)
    assert apart(inside, small) <= 1
    assert (bars == bars[0, 0]).all()
    assert np.abs(bars[0, 0] - inside.reshape(-1, 3).mean(axis=0)).max() <= 0.5  # the mean of each channel
    assert len(set(bars[0, 0].tolist())) > 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "within"), [("PNG", 2), ("JPEG", 8)])
def test_the_orientation_does_not_matter(orientation, fit, kind, within):
    turns = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }[orientation]  # fmt: skip
    stored = PHOTO
    for turn in turns:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    # At 27 pixels, 18 rows are shown below a bar of 4 and above one of 5: bars do not turn with the image.
    decoded = images.decode(encode(stored, kind, exif=exif, **options), 27, fit=fit)
    assert (decoded.width, decoded.height) == (90, 60)
    assert apart(decoded.pixels, decode(encode(PHOTO, kind, **options), 27, fit)) <= within


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize(("width", "height"), [(1, 4000), (4000, 1), (1, 1), (2, 3)])
def test_the_strangest_proportions_are_images_too(width, height, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(np.full((height, width, 3), 90, dtype=np.uint8), kind, **options)
    for fit, size in itertools.product(FITS, (16, 224)):
        decoded = images.decode(data, size, fit=fit)
        assert (decoded.pixels.shape, decoded.width, decoded.height) == ((size, size, 3), width, height)
        assert apart(decoded.pixels, np.full((size, size, 3), 90)) <= 2


@pytest.mark.parametrize("fit", FITS)
def test_clear_pixels_are_white_and_palettes_are_colours(fit):
    clear = np.zeros((30, 60, 4), dtype=np.uint8)
    clear[:, 15:30] = (200, 0, 0, 255)
    on_white = np.full((30, 60, 3), 255, dtype=np.uint8)
    on_white[:, 15:30] = (200, 0, 0)
    expected = decode(encode(Image.fromarray(on_white)), 16, fit)
    assert (
        apart(decode(encode(Image.fromarray(clear)), 16, fit), expected) <= 60
    )  # at the edge, clear black is mixed in
    assert apart(decode(encode(Image.fromarray(clear)), 16, fit)[8, -2:], expected[8, -2:]) <= 3
    palette = Image.fromarray(on_white).quantize(4)
    assert apart(decode(encode(palette), 16, fit), expected) <= 2
    fully = encode(Image.fromarray(np.zeros((30, 60, 4), dtype=np.uint8)))
    assert (decode(fully, 16, fit) == 255).all()  # bars included


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [24, 64])
def test_a_large_jpeg_is_opened_smaller_and_hardly_differs(size, fit, monkeypatch):
    data = encode(Image.fromarray(pixels(7, 605, 305)), "JPEG", quality=95)
    drafted = decode(data, size, fit)
    monkeypatch.setattr(images, "KEEP", 1e9)
    difference = np.abs(drafted.astype(int) - decode(data, size, fit))
    assert 0 < difference.mean() < 1.0
    assert difference.max() < 12


@pytest.mark.parametrize("fit", FITS)
def test_copies_are_found_and_nothing_else_among_images_of_all_proportions(fit):
    sizes = [(40, 40), (60, 36), (36, 60), (90, 36)]
    originals = [Image.fromarray(pixels(seed, *sizes[seed % 4])) for seed in range(60)]
    half = [photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BICUBIC) for photo in originals[:10]]
    content = [encode(photo) for photo in originals] + [encode(photo) for photo in half]
    content += [encode(photo, "JPEG", quality=60) for photo in originals[10:20]]
    records, squares = [], []
    for name, opened in opening.open_all(((str(place), data) for place, data in enumerate(content)), 32, 1, fit):
        records.append(Record(name, "a", "", opened.width, opened.height, opened.sha256, opened.phash))
        squares.append(opened.pixels)
    found = duplicates.find(records, np.stack(squares), 8).clusters
    pairs = [np.flatnonzero(found == number).tolist() for number in np.unique(found)]
    assert sorted(pair for pair in pairs if len(pair) > 1) == [[row, 60 + row] for row in range(20)]


def test_bars_are_not_part_of_the_hash():
    for width, height in ((90, 30), (30, 90)):
        data = encode(pixels(5, width, height))
        hashes = {fit: next(opening.open_all([("a", data)], 96, 1, fit))[1].phash for fit in FITS}
        apart = (int(hashes["pad"], 16) ^ int(hashes["stretch"], 16)).bit_count()
        assert apart <= 6, (width, height)


def test_packing_with_workers_gives_the_same_squares(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "CHUNK", 2)
    members = [(str(seed), encode(pixels(seed, 30, 20))) for seed in range(6)]
    for fit in FITS:
        squares = [opened.pixels for _, opened in opening.open_all(members, 8, 2, fit)]
        assert np.array_equal(np.stack(squares), np.stack([decode(data, 8, fit) for _, data in members]))


def test_the_fit_goes_from_the_parameters_into_the_packed_folder(tmp_path):
    members = {f"{label}/{seed}.png": encode(pixels(seed, 30, 20)) for label in "ab" for seed in range(4)}
    raw = tmp_path / "raw"
    raw.mkdir()
    write_zip(raw / "set.zip", members)
    origin.write_origin(raw, origin.Origin("Set", "here", "CC0"))
    for fit in FITS:
        out = tmp_path / fit
        out.mkdir()
        packing.pack(raw, PackSettings(image_size=8, fit=fit), out)
        found = packed.open_packed(out)
        assert found.fit == packed.read_fit(out) == fit
        for record, square in zip(found.records, found.images, strict=True):
            assert np.array_equal(square, decode(members[record.name], 8, fit))


def test_what_does_not_name_a_fit_is_older_and_was_cropped(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    assert not (folder / "packing.json").exists()
    assert packed.open_packed(folder).fit == "crop"
    split = factories.write_split(tmp_path / "split.csv", folder)
    path = factories.write_candidate(tmp_path / "small", folder, split, fit="pad")
    assert candidate.read_card(path).fit == "pad"
    fields = files.read_json(path / "card.json")
    del fields["fit"]
    files.write_json(path / "card.json", fields)
    assert candidate.read_card(path).fit == "crop"


def test_an_unknown_fit_is_refused_with_what_is_allowed(tmp_path):
    folder = factories.write_packed(tmp_path / "packed")
    split = factories.write_split(tmp_path / "split.csv", folder)
    card = factories.write_candidate(tmp_path / "small", folder, split) / "card.json"
    files.write_json(folder / "packing.json", {"fit": "zoom"})
    files.write_json(card, files.read_json(card) | {"fit": ["zoom"]})
    words = (
        r"fit is .*zoom.*, and this version has crop, pad, stretch: install a newer version, or run `dvc repro` again"
    )
    with pytest.raises(DarkroomError, match=rf"packing.json: {words}"):
        packed.open_packed(folder)
    with pytest.raises(DarkroomError, match=rf"card.json: {words}"):
        candidate.read_card(card.parent)
    path = tmp_path / "params.yaml"
    path.write_text("pack: {image_size: 64, fit: streched}\n")
    with pytest.raises(
        DarkroomError, match=r"pack.fit: 'streched' is not one of the choices. Did you mean 'stretch'\?"
    ):
        params.load(path, PackSettings, "pack")
