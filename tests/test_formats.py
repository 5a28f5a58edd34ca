"""Every way in has one opinion of a file: its bytes decide, not its name."""

import numpy as np
import pytest
from PIL import Image

from darkroom import images
from darkroom.commands import answering
from darkroom.data.archives.origin import Origin, write_origin
from darkroom.data.pack import packing
from darkroom.data.settings import FolderSource, PackSettings
from darkroom.data.sources import folder
from darkroom.data.surveying import survey
from darkroom.predictor import Predictor
from darkroom.serving import service
from tests.factories_serving import in_process, write_served
from tests.pictures import class_folders, encode, pixels, write_folder

PHOTO = Image.fromarray(pixels(901, 40, 30))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
CONVERT = "HEIC is not supported, regardless of the file name: convert it to JPEG or PNG"
FILES = {
    "cat/a.heic": (encode(PHOTO, "JPEG"), ""),
    "cat/b.HEIF": (encode(PHOTO, "PNG"), ""),
    "cat/c.avif": (encode(PHOTO, "AVIF"), ""),
    "cat/d.jpg": (encode(PHOTO, "AVIF"), ""),
    "cat/e.avif": (encode(PHOTO, "WEBP"), ""),
    "cat/f.nef": (encode(PHOTO, "JPEG"), ""),
    "dog/a.heic": (HEIC, CONVERT),
    "dog/b.jpg": (HEIC, CONVERT),
    "dog/c.avif": (HEIC, CONVERT),
    "dog/d.psd": (b"8BPS\0\1" + bytes(50), CONVERT.replace("HEIC", "Photoshop")),
    "dog/e.avif": (encode(PHOTO, "AVIF")[:100], "damaged image"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    top = write_served(tmp_path_factory.mktemp("project"))
    write_folder(
        top / "photos", class_folders({"cat": 2, "dog": 2}) | {name: data for name, (data, _) in FILES.items()}
    )
    return top


def packed(top, monkeypatch):
    raw, out = top / "raw", top / "out"
    raw.mkdir()
    out.mkdir()
    folder.fetch(FolderSource(path=str(top / "photos")), top, top, raw)
    write_origin(raw, Origin("Photos", "", ""))
    return {item.name: item.reason for item in packing.pack(raw, PackSettings(image_size=32), out)[1]}


def surveyed(top, monkeypatch):
    return {item.name: item.reason for item in survey(top / "photos", near_copies=0).broken}


def predicted(top, monkeypatch):
    found = answering.answer(Predictor(top / "models" / "served"), answering.read([top / "photos"]), 1)
    return {item.name.removeprefix(f"{top}/photos/"): item.error for item in found}


def served(top, monkeypatch):
    monkeypatch.chdir(top)
    monkeypatch.setenv("BENTOML_HOME", str(top / "home"))
    found = {}
    with in_process(service.Classifier.to_asgi()) as client:
        for name, (data, _) in FILES.items():
            answer = client.post("/predict", files=[("images", (name, data, "image/jpeg"))]).json()
            found[name] = answer["predictions"][0].get("error", {}).get("message", "")
    return found


@pytest.mark.parametrize("way", [packed, surveyed, predicted, served])
def test_every_way_in_has_one_opinion_of_a_file(place, monkeypatch, way):
    found = way(place, monkeypatch)
    for name, (_, expected) in FILES.items():
        reason = found.get(name, "")
        assert reason.startswith(expected) if expected else not reason, (name, reason)


def test_the_pixels_are_those_of_the_format_itself():
    expected = images.decode(encode(PHOTO), 16).pixels
    for name in ("cat/a.heic", "cat/c.avif"):
        difference = np.abs(images.decode(FILES[name][0], 16).pixels.astype(int) - expected)
        assert difference.max() < 16
