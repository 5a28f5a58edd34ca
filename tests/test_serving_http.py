"""The service for real: `bentoml serve` on a port, from a project and from the Bento alone, and in a browser."""

import base64
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import bentoml
import httpx
import numpy as np
import psutil
import pytest
from bentoml.exceptions import BentoMLException

from darkroom import candidate, images
from darkroom.predictor import Predictor
from darkroom.serving import guard, served
from darkroom.serving.build import bento
from darkroom.serving.settings import PackageSettings
from darkroom.thresholds import Thresholds
from tests.factories_serving import LIMITS, ROOT, picture, png, serving, write_served

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Locator, Page

MARK = "served from the Bento"
HTTP = httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
"""Makes a new connection for each request. `httpx.get` would load the certificates each time, which takes longest."""
PICTURES = [picture(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("project")
    settings = PackageSettings(neighbors="thumbnails")
    write_served(top, LIMITS.model_copy(update={"log": str(top / "log")}), settings)
    _doubt_some(top / served.FOLDER)
    shutil.copyfile(ROOT / "bentofile.yaml", top / "bentofile.yaml")
    return top


def _doubt_some(folder: Path) -> None:
    """Give the served card thresholds by which two of `PICTURES` are none of the classes, and two more unsure."""
    card = candidate.read_card(folder)
    pixels = np.stack([images.decode(content, card.image_size).pixels for content in PICTURES])
    low, high = np.sort(Predictor(folder).probabilities(pixels).max(axis=1))[[2, 4]] - 1e-6
    candidate.write_card(folder, replace(card, thresholds=Thresholds("max_probability", low, high, 0.5)))
    served.write(folder, replace(served.read(folder), version=served.version(folder)))


@pytest.fixture(scope="module")
def address(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a Bento in its own folder; its page is marked, so that one sees whose modules answer."""
    out = tmp_path_factory.mktemp("elsewhere")
    bento.build(
        project / served.FOLDER, ROOT / "bentofile.yaml", ROOT / "requirements-serve.txt", out / "darkroom.bento"
    )
    (page,) = out.glob("**/page/index.html")
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", f"<p>{MARK}</p></main>"), encoding="utf-8")
    with serving(out / "darkroom.bento", tmp_path_factory.mktemp("home")) as address:
        yield address


def test_the_bento_answers_with_its_own_modules(address: str) -> None:
    assert MARK in HTTP.get(f"{address}/ui").text
    files = [("images", (f"{seed}.png", picture(seed))) for seed in range(3)]
    answer = HTTP.post(f"{address}/predict", files=files).json()
    assert [prediction["name"] for prediction in answer["predictions"]] == ["0.png", "1.png", "2.png"]
    assert all(len(prediction["labels"]) == LIMITS.top_k for prediction in answer["predictions"])
    assert answer["model"] == HTTP.get(f"{address}/info").json()["model"]


def test_bentoml_counts_the_mounted_routes(address: str) -> None:
    HTTP.post(f"{address}/predict", content=picture(), headers={"content-type": "image/png"})
    metrics = HTTP.get(f"{address}/metrics").text
    assert 'bentoml_service_request_total{endpoint="/predict"' in metrics


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs.json", "/"])
def test_what_bentoml_brings_still_answers(address: str, path: str) -> None:
    assert HTTP.get(address + path).status_code == 200


def test_bentoml_s_own_client_works(address: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        path.write_bytes(picture(seed))
    with bentoml.SyncHTTPClient(address) as client:
        answer = client.predict(images=paths, top_k=1)
        explained = client.explain(image=paths[0]).read_bytes()
        label = answer["predictions"][0]["labels"][0]["label"]
        same = client.explain(image=paths[0], label=label).read_bytes()
        assert client.correct(image=paths[0], label=label) == {"kept": True}
        info = client.info()
        with pytest.raises(BentoMLException, match="invalid_top_k"):
            client.predict(images=paths, top_k=0)
        client._temp_dir.cleanup()  # BentoML leaves that to the garbage collector, which warns
    files = [("images", (path.name, path.read_bytes())) for path in paths]
    expected = HTTP.post(f"{address}/predict?top_k=1", files=files).json()
    assert answer == expected
    assert same == explained == HTTP.post(f"{address}/explain", files={"image": picture(0)}).content
    assert info["model"] == expected["model"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/static_content/nothing", 404, "not_found"),
        ("PUT", "/predict", 405, "method_not_allowed"),
        ("POST", "/readyz", 405, "method_not_allowed"),
    ],
)
def test_what_bentoml_would_refuse_is_json_with_strict_headers(
    address: str, method: str, path: str, status: int, code: str
) -> None:
    response = HTTP.request(method, address + path, headers={"x-request-id": "mine"})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert {name: response.headers[name] for name in guard.HEADERS} == guard.HEADERS
    assert response.headers["x-request-id"] == "mine"
    assert f'endpoint="{path}"' not in HTTP.get(f"{address}/metrics").text or status != 404


def test_a_body_without_length_is_cut_off(address: str) -> None:
    body = (b"x" * 50_000 for _ in range(40))
    response = HTTP.post(f"{address}/predict", content=body, headers={"content-type": "image/png"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_half_sent_bodies_keep_nobody_out(address: str) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nhalf"
    with ExitStack() as stack:
        for _ in range(guard.AT_ONCE):
            host, port = address.removeprefix("http://").split(":")
            stack.enter_context(socket.create_connection((host, int(port)))).sendall(head)
        time.sleep(0.3)
        assert HTTP.post(f"{address}/predict", files={"images": picture()}).status_code == 200


def test_headers_have_a_limit(address: str) -> None:
    """The protocol is really ours; its own tests are in test_serving_protocol.py."""
    response = HTTP.get(f"{address}/info", headers={"X-Long": "x" * 70_000})
    assert (response.status_code, response.json()["error"]["code"]) == (431, "request_header_fields_too_large")


ELSEWHERE = "https://elsewhere.example"
CORS = (
    "services.Classifier.http.cors.enabled=true "
    f"services.Classifier.http.cors.access_control_allow_origins={ELSEWHERE} "
    "services.Classifier.http.cors.access_control_allow_methods=POST"
)


@pytest.fixture(scope="module")
def ending(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the project with BentoML's CORS setting, and with time to drain."""
    top = tmp_path_factory.mktemp("ending")
    shutil.copytree(project, top, dirs_exist_ok=True)
    found = served.read(top / served.FOLDER)
    limits = found.limits.model_copy(update={"drain_seconds": 6.0, "log": None})
    served.write(top / served.FOLDER, replace(found, limits=limits))
    with serving(top, tmp_path_factory.mktemp("home"), BENTOML_CONFIG_OPTIONS=CORS) as address:
        yield address


def test_bentoml_s_cors_setting_covers_our_routes(ending: str) -> None:
    asks = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "POST"}
    allowed = HTTP.options(f"{ending}/predict", headers=asks)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ELSEWHERE)
    for method, path in (("POST", "/predict"), ("GET", "/info"), ("GET", "/nowhere"), ("GET", "/readyz")):
        response = HTTP.request(method, ending + path, headers={"Origin": ELSEWHERE})
        assert response.headers["access-control-allow-origin"] == ELSEWHERE, path
    other = HTTP.get(f"{ending}/info", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_without_that_setting_no_page_elsewhere_may_read_answers(address: str) -> None:
    response = HTTP.get(f"{address}/info", headers={"Origin": ELSEWHERE})
    assert "access-control-allow-origin" not in response.headers


def test_no_connection_is_reset_while_the_service_ends(ending: str) -> None:
    """Ends the service of the fixture `ending`: new connections and requests are answered until the time is over."""
    port = int(ending.rsplit(":", 1)[1])
    (process,) = [child for child in psutil.Process().children() if str(port) in child.cmdline() and child.is_running()]
    half = socket.create_connection(("127.0.0.1", port))
    half.sendall(b"GET /info HTTP/1.1\r\n")
    process.terminate()
    while (ready := HTTP.get(f"{ending}/readyz")).status_code == 200:
        time.sleep(0.02)
    assert ready.status_code == 503
    for _ in range(10):  # each on a new connection
        assert HTTP.post(f"{ending}/predict", files={"images": PICTURES[0]}).status_code == 200
    half.sendall(b"Host: a\r\n\r\n")
    assert half.makefile("rb").readline().startswith(b"HTTP/1.1 200 ")
    half.close()
    assert process.wait(120) == 0


def test_bentoml_serve_needs_no_arguments(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(project, tmp_path_factory.mktemp("home")) as address:
        answer = HTTP.post(f"{address}/predict", files={"images": picture()}).json()
    assert answer["predictions"][0]["labels"]


@pytest.fixture(scope="module")
def page(address: str) -> Iterator["Page"]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=options) as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(f"{address}/ui")
        page.get_by_text("small distinguishes 3 classes with a test accuracy of 88.0 %").wait_for()
        yield page


@pytest.fixture
def problems(page: "Page") -> list[str]:
    """Return a list that collects what the browser complains of, and every request that leaves the service."""
    found: list[str] = []
    inside = (page.evaluate("location.origin"), "blob:", "data:")
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: found.append(request.url) if not request.url.startswith(inside) else None)
    page.reload()
    page.get_by_text("small distinguishes 3 classes").wait_for()
    return found


def upload(name: str, content: bytes) -> "FilePayload":
    return {"name": name, "mimeType": "image/png", "buffer": content}


@pytest.mark.browser
def test_the_page_says_what_the_service_says_or_why_not(page: "Page", problems: list[str], address: str) -> None:
    files = [upload(f"{place}.png", content) for place, content in enumerate(PICTURES)]
    damaged, large = upload("damaged.png", b"no picture"), upload("large.png", bytes(300_000))
    page.set_input_files("#files", [*files[:3], damaged, large, *files[3:]])
    page.get_by_role("status").get_by_text("8 pictures done, 2 failed").wait_for()
    cards = page.locator("#results > li")
    names = [*("0.png", "1.png", "2.png"), "damaged.png", "large.png", *("3.png", "4.png", "5.png")]
    assert cards.locator("h3").all_inner_texts() == names
    assert "Not a supported image" in cards.nth(3).inner_text()
    assert "Larger than the limit of 0.2 MB" in cards.nth(4).inner_text()
    notes = []
    for place, content in zip([0, 1, 2, 5, 6, 7], PICTURES, strict=True):
        answer = HTTP.post(f"{address}/predict?top_k=3", files={"images": content}).json()["predictions"][0]
        shares = zip(cards.nth(place).locator(".name").all_inner_texts(), _shares(cards.nth(place)), strict=True)
        expected = [(label["label"], pytest.approx(100 * label["probability"], abs=0.05)) for label in answer["labels"]]
        assert list(shares) == expected
        note = cards.nth(place).locator(".doubt").inner_text()
        notes.append(note[:8])
        assert note.startswith("Probably") is (not answer["in_distribution"])
        assert (note == "") is answer["confident"]
    assert sorted(notes) == ["", "", "Low conf", "Low conf", "Probably", "Probably"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert problems == []
    page.get_by_role("button", name="Clear").click()
    assert cards.count() == 0


@pytest.mark.browser
def test_the_page_shows_the_most_similar_training_images(page: "Page", problems: list[str], address: str) -> None:
    page.set_input_files("#files", [upload("0.png", PICTURES[0])])
    page.get_by_role("status").get_by_text("1 picture done").wait_for()
    similar = page.locator("#results > li .similar")
    assert similar.get_by_text("Most similar training images").is_visible()
    answer = HTTP.post(f"{address}/predict?neighbors=3", files={"images": PICTURES[0]}).json()["predictions"][0]
    found = answer["neighbors"]
    assert similar.locator("img").count() == len(found) == 3
    for place, neighbor in enumerate(found):
        row = similar.locator("li").nth(place)
        assert neighbor["label"] in row.inner_text()
        assert neighbor["name"] in str(row.get_attribute("title"))
        image = row.locator("img")
        assert image.get_attribute("src") == neighbor["thumbnail"]
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth") > 0
        response = HTTP.get(f"{address}/{neighbor['thumbnail']}")
        assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
    assert HTTP.get(f"{address}/neighbors/100000.jpg").status_code == 404
    assert problems == []
    page.get_by_role("button", name="Clear").click()


CONTRASTS = """() => {
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const [r, g, b, alpha = 1] = parts(getComputedStyle(element).backgroundColor);
            if (alpha === 1) return [r, g, b];
        }
        return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
        if (!text || !element.checkVisibility() || element.disabled) continue;
        const [a, b] = [parts(getComputedStyle(element).color).slice(0, 3), behind(element)].map(light);
        found.push([text.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
    }
    return found;
}"""
"""Each text that is seen, with the contrast to what lies behind it, 1 to 21, as WCAG 2 has it."""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_can_be_read_on_every_screen(
    page: "Page", problems: list[str], width: int, scheme: Literal["light", "dark"]
) -> None:
    before = page.viewport_size
    assert before is not None
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    try:
        files = [upload(f"{place}-{'long' * 20}.png", content) for place, content in enumerate(PICTURES)]
        page.set_input_files("#files", [*files, upload("damaged.png", b"no picture")])
        page.get_by_role("status").get_by_text("7 pictures done, 1 failed").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 20
        assert [pair for pair in contrasts if pair[1] < 4.5] == []
        page.get_by_role("button", name="About the model").click()
        drawer = page.get_by_role("dialog").bounding_box()
        assert drawer is not None
        assert drawer["x"] >= 0
        assert drawer["x"] + drawer["width"] <= width
        page.keyboard.press("Escape")
        assert problems == []
    finally:
        page.emulate_media(color_scheme=None)
        page.set_viewport_size(before)


def _shares(card: "Locator") -> list[float]:
    return [float(text.strip("%\u00a0")) for text in card.locator(".share").all_inner_texts()]


@pytest.mark.browser
def test_an_example_is_explained_and_corrected(page: "Page", problems: list[str], project: Path) -> None:
    page.locator("#examples button").first.click()
    page.get_by_role("status").get_by_text("1 picture done").wait_for()
    why = page.get_by_role("button", name="Why")
    why.click()
    page.get_by_text("blue regions contradict it").wait_for()
    heat = page.locator(".heat")
    assert heat.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [256, 277]  # with a scale
    assert heat.evaluate("(image) => image.clientWidth") >= 250  # of 390: large enough to see the colours
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert why.get_attribute("aria-pressed") == "true"
    why.click()
    assert not heat.is_visible()
    assert page.get_by_role("button", name="Wrong?").count() == 0  # what an example is is known
    page.set_input_files("#files", [upload("mine.png", mine := picture(77))])
    page.get_by_role("status").get_by_text("2 pictures done").wait_for()
    page.get_by_role("button", name="Wrong?").click()
    page.get_by_role("button", name="Send correction").click()
    assert page.get_by_role("button", name="Send correction").count() == 1  # a class must be chosen first
    choice = page.get_by_label("Correct class").last
    label = choice.locator("option").nth(1).inner_text()
    choice.select_option(label)
    page.get_by_role("button", name="Send correction").click()
    page.get_by_text(f"stored as {label}").wait_for()
    assert mine in [path.read_bytes() for path in (project / "log" / "corrections" / label).iterdir()]
    assert list((project / "log" / "darkroom" / "data").iterdir())
    assert problems == []


@pytest.mark.browser
def test_the_drawer_tells_about_the_model(page: "Page", problems: list[str]) -> None:
    page.get_by_role("button", name="About the model").click()
    drawer = page.get_by_role("dialog", name="About the model")
    assert "88.0 % (84.0 % to 92.0 %)" in drawer.inner_text().replace("\u00a0", " ")
    assert "cat, dog, frog" in drawer.inner_text()
    page.keyboard.press("Escape")
    assert not drawer.is_visible()
    assert page.evaluate("document.activeElement.id") == "open"
    assert problems == []


@pytest.mark.browser
@pytest.mark.parametrize("event", ["paste", "drop"])
def test_pictures_can_be_pasted_and_dropped(page: "Page", problems: list[str], event: str) -> None:
    data = base64.b64encode(png(np.zeros((8, 8, 3), np.uint8))).decode()
    page.evaluate(
        """([event, data]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
            transfer.items.add(new File([bytes], "black.png", { type: "image/png" }));
            document.body.dispatchEvent(event === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        [event, data],
    )
    page.get_by_role("status").get_by_text("1 picture done").wait_for()
    assert page.locator("#results ol li").count() == 3
    assert problems == []


@pytest.mark.browser
def test_the_keyboard_reaches_everything(page: "Page", problems: list[str]) -> None:
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.firstChild.alt"))
    assert reached[:2] == ["open", "files"]
    assert reached[-1].startswith("Example: ")
    assert page.get_by_label("Choose pictures").count() == 1
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("1 picture done").wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "why":
            break
    page.keyboard.press("Space")
    page.get_by_text("blue regions contradict it").wait_for()
    assert problems == []


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/predict", "/explain", "/correct"])
def test_swagger_s_form_asks_for_real(page: "Page", address: str, tmp_path: Path, path: str) -> None:
    (tmp_path / "a.png").write_bytes(PICTURES[0])
    assert page.context.browser is not None
    swagger = page.context.browser.new_page()
    swagger.goto(f"{address}/")
    swagger.locator(f"[data-path='{path}'] >> text={path}").click()
    swagger.get_by_role("button", name="Try it out").click()
    if path == "/predict":
        swagger.get_by_role("button", name="Add string item").click()
    swagger.locator("input[type=file]").set_input_files(tmp_path / "a.png")
    with swagger.expect_response(lambda response: path in response.url) as answered:
        swagger.get_by_role("button", name="Execute").click()
    assert answered.value.status == 200
    swagger.close()


@pytest.mark.browser
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_heat_map_covers_what_the_model_sees(page: "Page", problems: list[str], address: str, fit: str) -> None:
    about = HTTP.get(f"{address}/info").json()
    about["card"]["fit"] = fit
    heat_map = np.zeros((128 if fit != "crop" else 256, 256, 3), np.uint8)
    with_scale = np.concatenate([heat_map, np.full((21, 256, 3), 255, np.uint8)])
    page.route("**/info", lambda route: route.fulfill(json=about))
    page.route(
        "**/explain",
        lambda route: route.fulfill(body=png(with_scale), content_type="image/png", headers={"X-Strongest": "0.5"}),
    )
    try:
        page.reload()
        page.locator("#about", has_text="small distinguishes").wait_for()
        page.set_input_files("#files", [upload("wide.png", picture(1, 60, 30))])
        page.get_by_role("status").get_by_text("1 picture done").wait_for()
        page.get_by_role("button", name="Why").click()
        page.get_by_text("blue regions contradict it").wait_for()
        thumb, heat = (page.locator(place).bounding_box() for place in (".thumb", ".heat"))
        assert thumb is not None
        assert heat is not None
        photo = page.locator(".thumb img").first
        assert photo.evaluate("(image) => getComputedStyle(image).objectFit") == (
            "cover" if fit == "crop" else "contain"
        )
        share = 1 if fit == "crop" else 0.5  # of the thumbnail's height
        assert heat["width"] == pytest.approx(thumb["width"], abs=1)
        assert heat["height"] == pytest.approx(share * thumb["height"], abs=1)
        assert heat["y"] - thumb["y"] == pytest.approx((1 - share) / 2 * thumb["height"], abs=1)
        page.get_by_role("button", name="About the model").click()
        words = {"crop": "the central square", "pad": "between bars", "stretch": "stretched to a square"}[fit]
        assert words in page.get_by_role("dialog").inner_text()
        page.keyboard.press("Escape")
        assert problems == []
    finally:
        page.unroute("**/info")
        page.unroute("**/explain")
