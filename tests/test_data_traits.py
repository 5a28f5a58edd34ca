"""What files say about their origin."""

import pytest
from PIL import Image

from darkroom import frames
from darkroom.data.archives import origin
from darkroom.data.pack import packing, traits
from darkroom.data.pack.traits import Traits
from darkroom.data.settings import PackSettings
from tests.pictures import encode, pixels, write_zip


def photo(make="Maker", model=" M1\0", taken="2024:05:01 17:30:00", **options):
    image = Image.fromarray(pixels(0))
    exif = image.getexif()
    exif[traits.MAKE], exif[traits.MODEL] = make, model
    exif.get_ifd(traits.SUB_IFD)[traits.TAKEN] = taken
    return encode(image, "JPEG", exif=exif, **options)


def test_a_photo_has_camera_hour_and_tables():
    data = photo(quality=80)
    found = traits.read(data)
    assert (found.bytes, found.format, found.camera, found.hour) == (len(data), "JPEG", "Maker M1", "17")
    assert len(found.quantization) == 8
    assert found.quantization == traits.read(encode(pixels(1), "JPEG", quality=80)).quantization
    assert found.quantization != traits.read(encode(pixels(0), "JPEG", quality=70)).quantization


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Traits(0)),
        (b"no image", Traits(8)),
        (encode(pixels(0), "PNG"), Traits(len(encode(pixels(0), "PNG")), "PNG")),
    ],
    ids=["empty", "text", "PNG"],
)
def test_other_files_have_fewer_facts(data, expected):
    assert traits.read(data) == expected


@pytest.mark.parametrize("taken", ["", "yesterday", "2024:05:01 99:00:00", "2024-05-01T10:00:00"])
def test_a_wrong_time_is_none(taken):
    found = traits.read(photo(taken=taken))
    assert (found.hour, found.taken) == ("", "")


@pytest.mark.parametrize(
    ("taken", "expected"),
    [("2024:05:01 17:30:09", "2024-05-01T17:30:09"), ("0000:00:00 00:00:00", ""), ("2024:05:01 17:30:60", "")],
)
def test_the_time_is_kept_to_the_second(taken, expected):
    assert traits.read(photo(taken=taken)).taken == expected


def test_damaged_exif_data_does_no_harm():
    data = photo()
    for place in range(20, 120, 7):
        broken = data[:place] + b"\xff\x00\xff" + data[place + 3 :]
        assert traits.read(broken).bytes == len(data)


def test_pack_writes_a_row_for_each_packed_image(tmp_path):
    members = {"cat/1.jpg": photo(), "cat/bad.png": b"x", "dog/=2.png": encode(pixels(1))}
    (tmp_path / "raw").mkdir()
    (tmp_path / "out").mkdir()
    write_zip(tmp_path / "raw" / "set.zip", members)
    origin.write_origin(tmp_path / "raw", origin.Origin("Set", "here", "CC0"))
    packing.pack(tmp_path / "raw", PackSettings(image_size=8), tmp_path / "out")
    found = frames.read(tmp_path / "out" / "files.csv")
    assert list(found["name"]) == ["cat/1.jpg", "dog/=2.png"]
    assert list(found["bytes"].astype(int)) == [len(members["cat/1.jpg"]), len(members["dog/=2.png"])]
    assert list(found["format"]) == ["JPEG", "PNG"]
    assert list(found["hour"]) == ["17", ""]
