"""The service and `darkroom predict` give images of all proportions to the model as packing did."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from darkroom import candidate, explaining, packed
from darkroom.commands import main
from darkroom.data.archives import origin
from darkroom.data.pack import packing
from darkroom.data.settings import PackSettings
from darkroom.framing import FITS, Fit
from darkroom.predictor import Predictor
from darkroom.serving import served
from tests.factories_serving import LIMITS, Client, picture, served_in_process, write_served
from tests.pictures import encode, pixels, write_folder, write_zip

SHAPES = ((40, 30), (30, 40), (90, 16), (1, 60), (33, 33))
PICTURES = {f"{'ab'[seed % 2]}/{seed}.png": picture(seed, *SHAPES[seed % 5]) for seed in range(20)}
PICTURES["a/photo.jpg"] = encode(pixels(1, 200, 120), "JPEG")


@pytest.fixture(scope="module", params=FITS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose served model was trained on images of one fit."""
    limits = LIMITS.model_copy(update={"max_megabytes": 5.0, "max_request_megabytes": 5.0, "max_megapixels": 5.0})
    top = write_served(tmp_path_factory.mktemp(request.param), limits)
    folder = top / served.FOLDER
    candidate.write_card(folder, replace(candidate.read_card(folder), fit=request.param))
    served.write(folder, replace(served.read(folder), version=served.version(folder)))
    write_folder(top / "photos", PICTURES)
    return top


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[Client]:
    with served_in_process(project) as client:
        yield client


def fit_of(project: Path) -> Fit:
    return candidate.read_card(project / served.FOLDER).fit


def judged(project: Path, folder: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Return the probabilities of the images as they are packed with the model's fit."""
    raw, out = folder / "raw", folder / "packed"
    raw.mkdir()
    out.mkdir()
    write_zip(raw / "set.zip", PICTURES)
    origin.write_origin(raw, origin.Origin("Set", "here", "CC0"))
    packing.pack(raw, PackSettings(image_size=16, fit=fit_of(project)), out)
    store = packed.open_packed(out)
    rows = Predictor(project / served.FOLDER).probabilities(store.images)
    return {record.name: row for record, row in zip(store.records, rows, strict=True)}


def test_served_and_predicted_answers_equal_judged_ones(
    client: Client, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = judged(project, tmp_path)
    classes = candidate.read_card(project / served.FOLDER).classes
    assert len(expected) == 21
    for name, data in PICTURES.items():
        answer = client.post("/predict", files={"images": (name, data)}, data={"top_k": "3"}).json()
        found = {item["label"]: item["probability"] for item in answer["predictions"][0]["labels"]}
        np.testing.assert_allclose([found[label] for label in classes], expected[name], rtol=0, atol=1e-5)
    monkeypatch.chdir(project)
    main.run(["predict", "photos", "--top-k", "3"])
    rows = {row["name"]: row for row in csv.DictReader(capsys.readouterr().out.splitlines())}
    assert len(rows) == 21
    for name, probabilities in expected.items():
        row = rows[f"photos/{name}"]
        assert float(row["probability"]) == pytest.approx(probabilities.max(), abs=1e-4)
        assert row["label"] == classes[int(probabilities.argmax())]


def test_the_fits_differ_where_images_are_not_square(client: Client, project: Path) -> None:
    assert client.get("/info").json()["card"]["fit"] == fit_of(project)
    left = np.zeros((16, 48, 3), np.uint8)
    left[:, :12] = 255  # outside the central square
    other = np.zeros((16, 48, 3), np.uint8)
    answers = [client.post("/predict", files={"images": encode(image)}).json() for image in (left, other)]
    first, second = (answer["predictions"][0]["labels"] for answer in answers)
    assert (first == second) is (fit_of(project) == "crop")


@pytest.mark.parametrize(("width", "height", "orientation"), [(600, 300, 1), (300, 600, 1), (300, 600, 6)])
def test_a_heat_map_lies_where_the_model_looked(
    client: Client, project: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int, orientation: int
) -> None:
    fit = fit_of(project)
    wide = (width > height) is (orientation == 1)

    def occlusion(predictor: Predictor, image: npt.NDArray[np.uint8], target: int) -> Any:
        """The first half of the model's square supports the class, and the bars do so a thousand times."""
        heat = np.zeros((16, 16), np.float32)
        heat[:, :8] = 1
        bars = np.zeros((16, 16), np.bool_)
        if fit == "pad":
            bars[:4] = bars[12:] = True
        heat[bars] = 1000
        return explaining.Occlusion(heat if wide else heat.T, 0.5)

    monkeypatch.setattr("darkroom.explaining.occlusion", occlusion)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = encode(np.full((height, width, 3), 128, np.uint8), exif=exif)
    response = client.post("/explain", files={"image": photo})
    with Image.open(io.BytesIO(response.content)) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    across, down = (300, 300) if fit == "crop" else (600, 300) if wide else (300, 600)
    assert shown.shape == (down + across // 12, across, 3)  # without bars, and above a scale
    orange = shown[:down, :, 0] - shown[:down, :, 2] > 100
    orange = orange if wide else orange.T
    middle = orange.shape[1] // 2
    assert orange[:, : middle - 30].all()
    assert not orange[:, middle + 30 :].any()


def test_the_narrowest_image_is_explained_too(client: Client, project: Path) -> None:
    for size in ((1, 3000), (3000, 1)):
        response = client.post("/explain", files={"image": encode(np.full((*size, 3), 9, np.uint8))})
        assert response.status_code == 200
        with Image.open(io.BytesIO(response.content)) as image:
            shown = (256, 277) if fit_of(project) == "crop" else (1, 784) if size[0] > size[1] else (768, 65)
            assert image.size == shown


def test_a_preview_keeps_the_upload_s_own_size_within_bounds(client: Client, project: Path) -> None:
    for size, cropped, whole in (((40, 20), 256, (256, 128)), ((2000, 1000), 768, (768, 384))):
        data = encode(Image.new("RGB", size, "grey"))
        with Image.open(io.BytesIO(client.post("/explain", files={"image": data}).content)) as image:
            width, height = (cropped, cropped) if fit_of(project) == "crop" else whole
            assert image.size == (width, height + max(16, width // 12))
