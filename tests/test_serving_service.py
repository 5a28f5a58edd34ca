"""The service in process: its answers, its limits, its refusals, and what BentoML adds."""

import asyncio
import io
import json
import re
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom import candidate, images, packed
from darkroom.serving import facts, guard, routes, served, service
from darkroom.serving.journal import Journal
from darkroom.thresholds import Outputs, Thresholds
from tests.factories_serving import (
    EVALUATION,
    LIMITS,
    TEMPERATURE,
    Client,
    picture,
    png,
    served_in_process,
    write_served,
)

A, B, DAMAGED = picture(0), picture(1), b"\xff\xd8\xff no picture"
LARGE = picture(2, 260, 265)  # 0.207 MB
WIDE = png(np.zeros((100, 501, 3), np.uint8))  # 50,100 pixels in a small file


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[Client]:
    with served_in_process(project) as client:
        yield client


def form(*contents: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("images", (f"{place}.png", content, "image/png")) for place, content in enumerate(contents)]


def labels(client: Client, content: bytes) -> Any:
    return client.post("/predict", files=form(content)).json()["predictions"][0]["labels"]


def test_answers_come_in_order_and_one_bad_image_disturbs_no_other(client: Client) -> None:
    response = client.post("/predict", files=form(A, DAMAGED, B, WIDE))
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    assert [prediction["name"] for prediction in predictions] == ["0.png", "1.png", "2.png", "3.png"]
    assert predictions[0]["labels"] == labels(client, A)
    assert predictions[2]["labels"] == labels(client, B)
    assert predictions[1]["error"]["code"] == predictions[3]["error"]["code"] == "invalid_image"
    assert "50,000 pixels allowed" in predictions[3]["error"]["message"]


def test_served_answers_equal_judged_ones(client: Client, project: Path) -> None:
    images = packed.open_packed(project / "data" / "packed").images
    split = packed.read_split(project / "data" / "split.csv")
    logits = candidate.read_predictions(project / "models" / "candidates" / "small").validation
    evaluated = candidate.softmax(logits, TEMPERATURE)
    for row, expected in zip(split.rows("validation"), evaluated, strict=True):
        answer = client.post("/predict", files=form(png(images[row])), data={"top_k": "3"}).json()
        served = {item["label"]: item["probability"] for item in answer["predictions"][0]["labels"]}
        assert [served[name] for name in split.classes] == pytest.approx(expected, abs=1e-5)
        assert list(served) == sorted(served, key=served.__getitem__, reverse=True)


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream"])
def test_a_picture_may_be_the_whole_body(client: Client, content_type: str) -> None:
    response = client.post("/predict", content=A, headers={"content-type": content_type})
    assert response.json()["predictions"] == [
        {"name": "image", "labels": labels(client, A), "confident": None, "in_distribution": None}
    ]


@pytest.mark.parametrize(
    ("query", "field", "count"),
    [("", None, LIMITS.top_k), ("?top_k=1", None, 1), ("", "3", 3), ("?top_k=1", "3", 3), ("?top_k=999", None, 3)],
)
def test_top_k(client: Client, query: str, field: str | None, count: int) -> None:
    data = {} if field is None else {"top_k": field}
    answer = client.post(f"/predict{query}", files=form(A), data=data).json()
    assert len(answer["predictions"][0]["labels"]) == count


async def in_chunks() -> AsyncIterator[bytes]:
    for _ in range(4):
        yield b"x" * 200_000


def body(content: Any, content_type: str) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": content_type}}


REFUSALS = {
    "a damaged image": ({"files": form(DAMAGED)}, 422, "invalid_image", "not a supported image"),
    "an empty file": ({"files": form(b"")}, 422, "invalid_image", "empty"),
    "a large file": ({"files": form(LARGE)}, 413, "file_too_large", "0.2 MB allowed"),
    "too many pixels": ({"files": form(WIDE)}, 422, "invalid_image", "501 × 100"),
    "two bad images": ({"files": form(DAMAGED, b"")}, 422, "invalid_image", "none of the 2 images"),
    "too many images": ({"files": form(A, A, A, A, A)}, 422, "too_many_images", "more than 4"),
    "a large request": ({"files": form(LARGE, LARGE, LARGE)}, 413, "request_too_large", "0.5 MB"),
    "no images": ({"files": {"top_k": (None, "1")}}, 422, "no_images", "field images"),
    "an address": ({"files": {"images": (None, "http://127.0.0.1/a.png")}}, 422, "not_a_file", "not accepted"),
    "a wrong field": ({"files": [*form(A), ("image", ("a.png", A))]}, 422, "unknown_field", "'image'"),
    "a wrong option": ({"files": form(A), "params": {"topk": "1"}}, 422, "unknown_field", "'topk'"),
    "a wrong top_k": ({"files": form(A), "data": {"top_k": "few"}}, 422, "invalid_top_k", "'few'"),
    "a wrong top_k beside a right one": (
        {"files": form(A), "data": {"top_k": "1"}, "params": {"top_k": "x"}},
        422,
        "invalid_top_k",
        "'x'",
    ),
    "a top_k of 0": ({"files": form(A), "params": {"top_k": "0"}}, 422, "invalid_top_k", "positive integer"),
    "a large body in chunks": (body(in_chunks(), "image/png"), 413, "request_too_large", "0.5 MB"),
    "JSON": (body(b"{}", "application/json"), 415, "unsupported_media_type", "application/json"),
    "pickle": (body(b"x", "application/vnd.bentoml+pickle"), 415, "unsupported_media_type", "pickle"),
    "no content type": ({"content": b"x"}, 415, "unsupported_media_type", "multipart/form-data"),
    "a form without boundary": (body(b"x", "multipart/form-data"), 400, "bad_form", "boundary"),
    "another charset": (body(b"x", "multipart/form-data; boundary=b; charset=undefined"), 400, "bad_form", "UTF-8"),
    "a broken form": (body(b"--b\r\nx", "multipart/form-data; boundary=c"), 400, "bad_form", "Invalid"),
}


@pytest.mark.parametrize(("request_", "status", "code", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(client: Client, request_: dict[str, Any], status: int, code: str, words: str) -> None:
    response = client.post("/predict", **request_)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert words in error["message"]


def test_a_wrong_method_is_refused_as_json(client: Client) -> None:
    response = client.get("/predict")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=300),
    content_type=st.sampled_from(["image/png", "multipart/form-data; boundary=b", "multipart/form-data; boundary="]),
    framed=st.booleans(),
    top_k=st.text(max_size=5),
)
def test_no_body_is_our_fault(client: Client, body: bytes, content_type: str, framed: bool, top_k: str) -> None:
    if framed:
        head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        body = head + body + b"\r\n--b--\r\n"
    response = client.post("/predict", params={"top_k": top_k}, content=body, headers={"content-type": content_type})
    assert 400 <= response.status_code < 500
    assert response.json()["error"]["message"]


def test_a_body_that_stops_arriving_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield A[:100]
        await asyncio.sleep(30)

    model = service.app.state.model
    monkeypatch.setattr(model, "served", replace(model.served, limits=LIMITS.model_copy(update={"max_seconds": 0.2})))
    response = client.post("/predict", **body(stalls(), "image/png"))
    assert (response.status_code, response.json()["error"]["code"]) == (408, "too_slow")
    assert response.headers["connection"] == "close"


def test_bodies_that_need_too_much_room_together_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ROOM", 150_000)
    half, waiting = threading.Event(), threading.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        half.set()
        await asyncio.to_thread(waiting.wait, 60)
        yield b"x" * 100_000

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", **body(slow(), "image/png"))
        assert half.wait(60)
        second = client.post("/predict", content=b"x" * 60_000, headers={"content-type": "image/png"})
        assert client.post("/predict", files=form(A)).status_code == 200
        waiting.set()
        assert first.result().status_code == 422  # alone it may be larger: no picture, but read to its end
    assert (second.status_code, second.json()["error"]["code"]) == (429, "too_many_requests")
    assert second.headers["retry-after"] == "1"
    assert client.post("/predict", content=b"x" * 120_000, headers={"content-type": "image/png"}).status_code == 422


def test_no_request_leaves_a_timer_behind(client: Client) -> None:
    for _ in range(30):
        client.post("/predict", files=form(A))
    assert client.count_timers() < 10


def test_an_answer_that_takes_too_long_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    model = service.app.state.model
    monkeypatch.setattr(model, "served", replace(model.served, limits=LIMITS.model_copy(update={"max_seconds": 0.2})))
    monkeypatch.setattr("darkroom.serving.decoding._decode", lambda *_: release.wait(60))
    response = client.post("/predict", files=form(A))
    release.set()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


def occupy(release: threading.Event) -> None:
    """Keep the threads that open large images busy until `release` is set."""
    model = service.app.state.model
    for _ in range(model._threads):
        model._slow.submit(release.wait, 60)


def test_the_time_counts_from_the_quick_threads_to_the_slow_ones(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    model = service.app.state.model
    monkeypatch.setattr(model, "served", replace(model.served, limits=LIMITS.model_copy(update={"max_seconds": 0.3})))
    monkeypatch.setattr("darkroom.serving.decoding.QUICK_PIXELS", 59 * 60)
    occupy(release)
    start = time.perf_counter()
    response = client.post("/predict", files=form(A, picture(4, 60, 60)))
    taken = time.perf_counter() - start
    release.set()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
    assert 0.3 <= taken < 30


def test_a_request_that_costs_too_much_is_not_opened_to_its_end(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.serving.decoding.COST", 0.0)
    predictions = client.post("/predict", files=form(*[A] * LIMITS.max_images)).json()["predictions"]
    assert "labels" in predictions[0]
    assert predictions[-1]["error"]["code"] == "too_costly"
    monkeypatch.setattr("darkroom.serving.decoding.COST", -1.0)
    response = client.post("/predict", files=form(A))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "too_costly")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects on which threads images are opened."""
    found: list[str] = []
    whole = images.decode

    def decode(*arguments: Any, **options: Any) -> images.Decoded:
        decoded = whole(*arguments, **options)
        found.append(threading.current_thread().name.partition("_")[0])
        return decoded

    monkeypatch.setattr("darkroom.serving.decoding.images.decode", decode)
    return found


def test_what_takes_long_keeps_to_threads_of_its_own(
    client: Client, monkeypatch: pytest.MonkeyPatch, threads: list[str]
) -> None:
    large, files = picture(4, 60, 60), form(A, picture(4, 60, 60), DAMAGED, B)
    client.post("/predict", files=files)  # the first image of a process takes long in any case
    threads.clear()
    expected = client.post("/predict", files=files).json()
    assert set(threads) == {"model"}
    threads.clear()
    monkeypatch.setattr("darkroom.serving.decoding.QUICK_PIXELS", 59 * 60)
    assert client.post("/predict", files=files).json() == expected
    assert sorted(threads) == ["model", "model", "slow"]
    threads.clear()
    assert client.post("/predict", files=form(large)).json()["predictions"][0]["labels"]
    assert client.post("/explain", files={"image": large}).status_code == 200
    assert client.post("/explain", files={"image": A}).status_code == 200
    assert threads == ["slow", "slow", "slow", "model", "model"]
    # All of the request's time is used up before it begins.
    monkeypatch.setattr("darkroom.serving.decoding.QUICK", -1.0)
    threads.clear()
    assert client.post("/predict", files=files).json() == expected
    assert threads == ["slow"] * 3
    monkeypatch.setattr("darkroom.serving.decoding.QUICK_PIXELS", 10**9)
    assert client.post("/predict", files=form(WIDE)).json()["error"]["message"].startswith("501 × 100 is more than")


def test_no_image_of_more_than_a_megapixel_is_opened_among_small_ones(
    client: Client, monkeypatch: pytest.MonkeyPatch, threads: list[str]
) -> None:
    model = service.app.state.model
    limits = LIMITS.model_copy(update={"max_megapixels": 50.0})
    monkeypatch.setattr(model, "served", replace(model.served, limits=limits))
    large = png(np.zeros((1000, 1100, 3), np.uint8))
    assert client.post("/predict", files=form(A, large)).status_code == 200
    assert sorted(threads) == ["model", "slow"]


def test_a_small_image_does_not_wait_for_large_ones(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.serving.decoding.QUICK_PIXELS", 59 * 60)
    release = threading.Event()
    occupy(release)
    with ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(client.post, "/predict", files=form(picture(4, 60, 60))) for _ in range(8)]
        assert client.post("/predict", files=form(A)).status_code == 200
        assert not any(each.done() for each in waiting)
        release.set()
        assert {each.result().status_code for each in waiting} == {200}


def test_answers_say_when_they_are_unsure(client: Client, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = service.app.state.model
    images = packed.open_packed(project / "data" / "packed").images[:40]
    logits = model.predictor.logits(images)
    largest = candidate.softmax(logits, model.card.temperature).max(axis=1)
    thresholds = Thresholds("max_probability", *np.quantile(largest, [0.3, 0.6]).tolist(), 0.4)
    monkeypatch.setattr(model.predictor, "card", replace(model.card, thresholds=thresholds))
    known, confident = thresholds.verdicts(Outputs(logits), model.card.temperature)
    assert 0 < confident.sum() < known.sum() < 40
    for place in range(0, 40, 4):
        answer = client.post("/predict", files=form(*map(png, images[place : place + 4]))).json()
        for offset, prediction in enumerate(answer["predictions"]):
            assert prediction["in_distribution"] is bool(known[place + offset])
            assert prediction["confident"] is bool(confident[place + offset])


def test_explain_answers_with_a_picture_of_the_places_that_matter(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = client.post("/explain", files={"image": A})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        overlaid = np.asarray(image.convert("RGB"))
    assert overlaid.shape == (256 + 21, 256, 3)
    assert len(np.unique(overlaid.reshape(-1, 3), axis=0)) > 50
    best, *others = labels(client, A)
    assert response.headers["x-label"] == best["label"]
    assert 0.01 < float(response.headers["x-strongest"]) < 1
    for sides, size in (((8, 768), (30, 46)), ((8, 20), (20, 36))):  # its own shorter side, within bounds
        with monkeypatch.context() as patch:
            patch.setattr("darkroom.serving.model.SHOWN", sides)
            assert Image.open(io.BytesIO(client.post("/explain", files={"image": A}).content)).size == size
    body = client.post("/explain", content=A, headers={"content-type": "image/png"}).content
    assert (
        body == response.content == client.post("/explain", files={"image": A}, data={"label": best["label"]}).content
    )
    assert client.post("/explain", files={"image": A}, data={"label": ""}).content == body
    assert client.post("/explain", files={"image": A}, data={"label": json.dumps(best["label"])}).content == body
    assert client.post("/explain", files={"image": A}, params={"label": others[0]["label"]}).content != body


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("/explain", {"files": {"image": DAMAGED}}, 422, "invalid_image"),
        ("/explain", {"files": {"image": LARGE}}, 413, "file_too_large"),
        ("/explain", {"files": [("image", A), ("image", B)]}, 422, "too_many_images"),
        ("/explain", {"files": {"images": A}}, 422, "unknown_field"),
        ("/explain", {"files": {"image": A}, "data": {"label": "unicorn"}}, 422, "unknown_label"),
        ("/explain", {"files": {"image": A}, "data": {"label": "null"}}, 422, "unknown_label"),
        ("/explain", {"files": {"image": A}, "data": {"label": "9" * 5000}}, 422, "unknown_label"),
        ("/explain", {"files": {"image": A}, "data": {"label": "[" * 99999}}, 422, "unknown_label"),
        ("/explain", {"files": {"image": A}, "data": {"label": '["circle"]'}}, 422, "unknown_label"),
        ("/correct", {"files": {"image": A}, "data": {"label": "circle"}}, 403, "no_log"),
    ],
)
def test_refusals_elsewhere(client: Client, path: str, request_: dict[str, Any], status: int, code: str) -> None:
    response = client.post(path, **request_)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_answers_and_corrections_are_kept_where_the_log_is_on(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = service.app.state.model
    journal = Journal(tmp_path, "v", model.card.classes, keep_pictures=False)
    monkeypatch.setitem(service.app.state._state, "journal", journal)
    monkeypatch.setattr("bentoml._internal.monitoring.api._MONITOR_INSTANCES", {})
    best = labels(client, A)[0]
    (line,) = next(tmp_path.glob("darkroom/data/*.log")).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["label"] == best["label"]
    assert json.loads(line)["probability"] == best["probability"]
    correction = client.post("/correct", files={"image": A}, data={"label": best["label"]})
    assert correction.json() == {"kept": True}
    assert [path.read_bytes() for path in tmp_path.glob(f"corrections/{best['label']}/*.png")] == [A]
    assert client.post("/correct", files={"image": DAMAGED}, data={"label": best["label"]}).status_code == 422
    assert client.post("/correct", files={"image": B}, data={"label": "../x"}).status_code == 422
    assert client.post("/correct", files={"image": B}).status_code == 422
    assert len(list(tmp_path.glob("corrections/**/*.png"))) == 1
    (tmp_path / "full").write_text("no folder can be made here")
    monkeypatch.setattr(journal, "folder", tmp_path / "full")
    response = client.post("/correct", files={"image": A}, data={"label": best["label"]})
    assert (response.status_code, response.json()["error"]["code"]) == (507, "not_kept")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://service"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"}, 200),
        ({"origin": "http://elsewhere"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000", "host": "localhost:3000"}, 200),
        ({}, 200),
    ],
)
def test_corrections_come_from_no_other_site(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: int
) -> None:
    model = service.app.state.model
    journal = Journal(tmp_path, "v", model.card.classes, keep_pictures=False)
    monkeypatch.setitem(service.app.state._state, "journal", journal)
    label = model.card.classes[0]
    response = client.post("/correct", files={"image": A}, data={"label": label}, headers=headers)
    assert response.status_code == status
    assert len(list(tmp_path.rglob("*.png"))) == (status == 200)
    if status == 403:
        assert response.json()["error"]["code"] == "cross_site"


def test_the_commit_is_of_this_folder_s_checkout_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_COMMIT", raising=False)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", facts.commit() or "")
    monkeypatch.chdir(tmp_path / "inside")
    assert facts.commit() is None
    monkeypatch.setenv("DARKROOM_COMMIT", "abc")
    assert facts.commit() == "abc"


def test_the_page_s_address_with_a_slash_leads_there(client: Client) -> None:
    response = client.get("/ui/")
    assert (response.status_code, response.headers["location"]) == (308, "../ui")


def test_info(client: Client, project: Path) -> None:
    info = client.get("/info").json()
    assert info["foreign"]["confident"] == {"photographs": 0.53}
    assert info["foreign"]["misleads"]
    assert "53% of photographs still get a confident prediction" in info["foreign"]["text"]
    assert info["model"]["name"] == info["card"]["name"] == "small"
    assert re.fullmatch("[0-9a-f]{12}", info["model"]["version"])
    assert info["card"]["temperature"] == TEMPERATURE
    assert not {"seconds", "scores"} & set(info["card"]), "a served card has neither"
    evaluated = EVALUATION["candidates"]["small"]
    assert info["metrics"] == {name: evaluated[name] for name in ("validation", "test")}
    assert info["limits"] == LIMITS.model_dump(exclude={"log", "log_pictures"})
    assert info["parity"]["rows"] == 24
    assert info["classes"] == info["card"]["classes"]
    assert info["data"] == packed.fingerprint(project / "data" / "packed", project / "data" / "split.csv")
    assert info["keeps"] == {"answers": False, "pictures": False}
    assert info["neighbors"] == "names"
    assert client.post("/info").json() == info
    assert set(info["versions"]) == {"python", "bentoml", "numpy", "onnxruntime", "pillow"}


def test_the_nearest_training_images_are_those_that_resemble_the_image_most(client: Client, project: Path) -> None:
    store = packed.open_packed(project / "data" / "packed")
    rows = packed.read_split(project / "data" / "split.csv").rows("train")
    pixels = store.images.reshape(len(store.images), -1)[rows].astype(np.float64)
    unit = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
    for place in (0, 7):
        answer = client.post("/predict", files={"images": png(store.images[rows[place]])}, data={"neighbors": "3"})
        (prediction,) = answer.json()["predictions"]
        found = prediction["neighbors"]
        assert found[0]["name"] == store.records[rows[place]].name
        assert found[0]["similarity"] == pytest.approx(1, abs=2e-3)
        labels = {record.name: record.label for record in store.records}
        assert all(each["label"] == labels[each["name"]] for each in found)
        expected = np.sort(unit @ unit[place])[::-1][:3]
        assert [each["similarity"] for each in found] == pytest.approx(expected.tolist(), abs=0.02)
        assert "thumbnail" not in found[0]
    assert "neighbors" not in client.post("/predict", files=form(A)).json()["predictions"][0]
    assert client.post("/predict?neighbors=0", files=form(A)).json()["predictions"][0]["neighbors"] == []
    assert len(client.post("/predict?neighbors=10", files=form(A)).json()["predictions"][0]["neighbors"]) == 10


@pytest.mark.parametrize("text", ["11", "-1", "x", "", "1e1"])
def test_the_number_of_neighbors_is_limited(client: Client, text: str) -> None:
    response = client.post(f"/predict?neighbors={text}", files=form(A))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_neighbors")
    assert response.json()["error"]["message"].endswith("give a whole number from 0 to 10")


def test_a_model_of_an_older_version_still_answers(
    client: Client, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.app.state.model.predictor, "index", None)
    assert "labels" in client.post("/predict", files=form(A)).json()["predictions"][0]
    assert client.post("/predict?neighbors=0", files=form(A)).status_code == 200
    response = client.post("/predict?neighbors=3", files=form(A))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "no_neighbors")


def test_the_examples_are_there_and_nothing_beside_them(client: Client, project: Path) -> None:
    shown = client.get("/info").json()["examples"]
    assert len(shown) >= 5
    for example in shown:
        response = client.get(f"/examples/{example['file']}")
        assert response.headers["content-type"] == "image/png"
        assert response.content == (project / served.FOLDER / "examples" / example["file"]).read_bytes()
    assert client.get("/examples/examples.json").status_code == 404
    assert client.get("/examples/..%2fcard.json").status_code == 404


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/livez", ""),
        ("/readyz", ""),
        ("/", "swagger-ui"),
        ("/ui", "<h1>Darkroom</h1>"),
        ("/ui/page.css", "--accent"),
        ("/ui/page.js", "showPrediction"),
        ("/ui/about.js", "describe"),
        ("/ui/words.js", "percent"),
    ],
)
def test_pages_answer_and_load_nothing_from_elsewhere(client: Client, path: str, words: str) -> None:
    client.post("/predict", files=form(A))
    response = client.get(path)
    assert response.status_code == 200
    assert words in response.text
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert not re.search(r"https?:|\*|unsafe", policy)
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["x", "..%2fservice.py", "%2e%2e/service.py"])
def test_the_page_gives_out_its_own_files_only(client: Client, name: str) -> None:
    assert client.get(f"/ui/{name}").status_code == 404


def test_the_page_names_no_address() -> None:
    for path in routes.PAGE.iterdir():
        assert not re.search(r"(https?:)?//[\w-]+\.", path.read_text(encoding="utf-8")), path.name


def test_the_description_covers_the_mounted_routes(client: Client) -> None:
    description = client.get("/docs.json").json()
    assert list(description["paths"])[:3] == ["/predict", "/explain", "/info"]
    assert "/readyz" in description["paths"]
    form = description["paths"]["/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"images", "top_k", "neighbors"}
    assert "bentoml.com" not in json.dumps(description)


def test_answers_are_what_the_description_promises(client: Client) -> None:
    # JSON Schema says what OpenAPI 3.0 calls nullable with a list of types.
    nullable = r'"type":"(\w+)","nullable":true'
    text, count = re.subn(nullable, r'"type":["\1","null"]', client.get("/docs.json").text)
    assert count >= 4
    description = json.loads(text)

    def check(response: httpx.Response, path: str) -> None:
        promised = description["paths"][path]["post"]["responses"][str(response.status_code)]
        schema = promised["content"]["application/json"]["schema"]
        jsonschema.validate(response.json(), {**schema, "components": description["components"]})

    check(client.post("/predict", files=form(A, DAMAGED)), "/predict")
    check(client.post("/predict?neighbors=3", files=form(A)), "/predict")
    check(client.post("/predict", files=form(DAMAGED)), "/predict")
    check(client.post("/predict", files=form(LARGE)), "/predict")
    check(client.post("/predict", content=b"x"), "/predict")
    check(client.post("/explain", files={"image": DAMAGED}), "/explain")
    check(client.post("/info"), "/info")
    broken = client.post("/predict", files=form(A)).json()
    del broken["predictions"][0]["name"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, {"$ref": "#/components/schemas/Answer", "components": description["components"]})
