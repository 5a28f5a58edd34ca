"""The page of `darkroom curate` in a real browser, key by key."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from darkroom.commands.curate import cases, curate
from darkroom.packed import read_rows, read_split
from tests import curated
from tests.curated import CLASSES, ODD, Project, serving, write_project
from tests.pictures import encode, pixels, write_folder
from tests.test_serving_http import CONTRASTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=options) as browser:
        yield browser


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return write_project(tmp_path_factory.mktemp("curate") / "project", per_class=40)


@pytest.fixture
def project(original: Project, tmp_path: Path) -> Project:
    top = tmp_path / "project"
    shutil.copytree(original.top, top)
    return Project(top, original.records)


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """Return a page that must not complain, and must not contact another server."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        found: list[str] = []
        page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: found.append(str(error)))
        page.on("request", lambda request: found.append(request.url) if "//127.0.0.1:" not in request.url else None)
        yield page
        # The browser itself reports a refused decision, and a server that has ended.
        assert [text for text in found if "status of 409" not in text and "ERR_CONNECTION_REFUSED" not in text] == []


def ready(page: "Page") -> None:
    """Wait until the next image is visible, or none is left."""
    page.locator("body[data-ready], #end:not([hidden])").first.wait_for()


def press(page: "Page", *keys: str) -> None:
    for key in keys:
        ready(page)
        page.keyboard.press(key)


def shows(page: "Page", name: str) -> None:
    """Wait until the page shows this image."""
    deadline = time.monotonic() + 300
    while (shown := page.locator("#name").text_content()) != name:
        assert time.monotonic() < deadline, shown
        page.wait_for_timeout(50)


def stored(page: "Page", text: str) -> None:
    """Wait until the server knows all decisions."""
    page.locator("#progress-text").get_by_text(text, exact=True).wait_for()


def news(project: Project) -> dict[str, str]:
    return {each.image: each.new for each in project.decided()}


@pytest.mark.slow
def test_fifty_planted_label_errors_are_corrected_with_fifty_keys(page: "Page", project: Project) -> None:
    """A third of the proposals is wrong: the class is then given by its number."""
    records = project.records
    planted = list(range(5, 55))
    project.write_issues(planted)
    truth = {row: CLASSES[(CLASSES.index(records[row].label) + 1 + (row % 3 == 0)) % 3] for row in planted}
    keys = ["Enter" if row % 3 else str(CLASSES.index(truth[row]) + 1) for row in planted]
    with serving(project) as (address, _):
        page.goto(address)
        ready(page)
        shows(page, records[5].name)
        assert page.locator("#now bdi").inner_text() == records[5].label
        start = time.monotonic()
        press(page, *keys)
        page.get_by_role("heading", name="All images are decided").wait_for()
        seconds = time.monotonic() - start
        assert page.locator("#end-counts").inner_text() == "Labels: 50 changed, 0 confirmed. Images: 0 excluded."
    assert news(project) == {records[row].name: truth[row] for row in planted}
    assert len(keys) == 50
    assert seconds < 300
    project.split()
    labels = [row["label"] for row in read_rows(project.top / "data" / "split.csv")]
    assert labels == [truth.get(row, record.label) for row, record in enumerate(records)]


def test_classes_that_are_digits_have_their_own_keys(
    page: "Page", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curated, "CLASSES", ("0", "1", "7"))
    project = curated.write_project(tmp_path, per_class=12)
    project.write_issues([5, 15])
    with serving(project) as (address, _):
        page.goto(address)
        ready(page)
        assert page.locator("#classes kbd").all_inner_texts() == ["0", "1", "7"]
        press(page, "7", "2", "0")  # no class has the key 2
        page.get_by_role("heading", name="All images are decided").wait_for()
    assert news(project) == {project.records[5].name: "7", project.records[15].name: "0"}


def test_with_twelve_classes_the_others_are_found_by_typing(
    page: "Page", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = tuple(f"{letter}{place}-bird" for place, letter in enumerate("abcdefghijkl"))
    monkeypatch.setattr(curated, "CLASSES", classes)
    project = curated.write_project(tmp_path, per_class=6)
    project.write_issues([0, 1, 2])
    with serving(project) as (address, _):
        page.goto(address)
        ready(page)
        assert page.locator("#classes kbd").all_inner_texts() == [*"1234567890"]
        press(page, "0", "/")  # the tenth class; then the search
        page.keyboard.type("11")
        assert page.locator("#classes li:visible").all_inner_texts() == [classes[11]]
        page.keyboard.press("Enter")
        stored(page, "2 of 3 decided")
        press(page, "/")
        page.keyboard.type("no such class")
        page.keyboard.press("Enter")  # decides nothing
        page.keyboard.press("Escape")
        press(page, "/")
        page.keyboard.type("K10")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="All images are decided").wait_for()
    names = [project.records[row].name for row in range(3)]
    assert news(project) == dict(zip(names, (classes[9], classes[11], classes[10]), strict=True))


def test_scenes_are_kept_thinned_out_or_taken_apart_by_keys(page: "Page", project: Project) -> None:
    used = [row for row, split in enumerate(read_split(project.top / "data" / "split.csv").splits) if split == "train"]
    rows = [row for row in used if project.records[row].label == "dog"]
    scenes = [rows[:3], rows[3:5], rows[5:8], rows[8:21]]
    project.write_scenes(*scenes)
    with serving(project) as (address, ledger):
        page.goto(address)
        ready(page)
        images = page.locator("#scene button")
        assert images.all_inner_texts() == ["train\n1", "train\n2", "train\n3"]
        assert page.locator("#why").inner_text().startswith("These 3 images of the class dog seem to show one scene.")
        assert page.locator("#figure, #classes, #compared").filter(visible=True).count() == 0
        press(page, "Enter", "/", "9")  # none of them decides
        press(page, "2", "3", "2", "1")  # the second mark on 2 removes it
        assert page.locator("#exclude").inner_text() == "Exclude 2\nX"
        press(page, "x")
        stored(page, "1 of 4 decided")
        assert page.locator("#last").inner_text() == f"Excluded 2 of 3: {project.records[rows[0]].name}"
        ready(page)
        assert page.locator("#exclude").inner_text() == "Exclude all\nX"
        press(page, "k", "n")
        stored(page, "3 of 4 decided")
        ready(page)
        assert images.count() == 13
        press(page, "ArrowLeft", "Space", "ArrowRight", "ArrowRight", "Space", "ArrowLeft", "ArrowLeft")
        assert images.nth(12).evaluate("button => button === document.activeElement")
        press(page, "n")
        page.get_by_role("heading", name="All images are decided").wait_for()
        press(page, "u")
        stored(page, "3 of 4 decided")
        ready(page)
        assert page.locator("#scene [aria-pressed=true]").count() == 0
        press(page, "k")
        stored(page, "4 of 4 decided")
        assert (ledger.counts().kept, ledger.counts().excluded) == (3, 1)
    found = {each.image: (each.new, each.alone) for each in project.decided()}
    kept, alone = ("dog", False), ("dog", True)
    expected = [("", False), kept, ("", False), kept, kept, alone, alone, alone, *[kept] * 13]
    assert [found[project.records[row].name] for row in rows[:21]] == expected


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "dark"), (1280, 800, "light")])
def test_a_scene_can_be_read_and_tapped(
    page: "Page", project: Project, width: int, height: int, scheme: Literal["light", "dark"]
) -> None:
    project.write_scenes([5, 6, 7, 8], [9, 10])
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    with serving(project) as (address, _):
        page.goto(address)
        ready(page)
        page.locator("#scene button").nth(1).click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        contrasts = page.evaluate(CONTRASTS)
        assert [pair for pair in contrasts if pair[1] < 4.5] == []
        boxes = [button.bounding_box() for button in page.locator("#actions button:visible, #scene button").all()]
        assert len(boxes) == 9
        assert all(box and box["height"] >= 44 and box["width"] >= 44 for box in boxes)
        assert all(box and box["y"] + box["height"] <= height for box in boxes)  # no scrolling
        page.get_by_role("button", name="Another scene").click()
        ready(page)
        page.get_by_role("button", name="Keep all").click()
        stored(page, "2 of 2 decided")
        page.get_by_role("button", name="Undo the last decision").click()
        ready(page)
        page.get_by_role("button", name="Exclude all").click()
        stored(page, "2 of 2 decided")
    decided = {each.image: (each.new, each.alone) for each in project.decided()}
    assert [decided[project.records[row].name] for row in range(5, 11)] == [
        ("cat", False), ("cat", True), ("cat", False), ("cat", False), ("", False), ("", False)
    ]  # fmt: skip


def test_every_key_and_odd_names(page: "Page", project: Project) -> None:
    rows = [next(row for row, each in enumerate(project.records) if each.name == f"cat/{name}") for name in ODD]
    project.write_issues([*rows, 30, 31])
    with serving(project) as (address, _):
        page.goto(address)
        for name in ODD:
            ready(page)
            shows(page, f"cat/{name}")
            press(page, {ODD[0]: "k", ODD[1]: "x", ODD[2]: "s"}.get(name, "Enter"))
        stored(page, "3 of 6 decided, 1 skipped")
        assert news(project) == {f"cat/{ODD[0]}": "cat", f"cat/{ODD[1]}": "", f"cat/{ODD[3]}": "dog"}
        press(page, "u")
        stored(page, "2 of 6 decided, 1 skipped")
        shows(page, f"cat/{ODD[3]}")
        press(page, "Control+k", "Shift+?", "k", "Escape", "7", "z")  # none of them decides
        press(page, "3", "2", "X")
        page.get_by_role("heading", name="All other images are decided").wait_for()
        stored(page, "5 of 6 decided, 1 skipped")
        page.get_by_role("button", name="Show the skipped images again").click()
        ready(page)
        shows(page, f"cat/{ODD[2]}")
        press(page, "Enter")
        page.get_by_role("heading", name="All images are decided").wait_for()
        press(page, *"uuu")
        stored(page, "3 of 6 decided")
        shows(page, f"cat/{ODD[2]}")
    assert set(news(project)) == {f"cat/{ODD[0]}", f"cat/{ODD[1]}", f"cat/{ODD[3]}"}


def test_after_a_reload_the_page_goes_on_and_can_undo(page: "Page", project: Project) -> None:
    project.write_issues(list(range(10, 20)))
    with serving(project) as (address, _):
        page.goto(address)
        press(page, "Enter", "Enter", "k")
        stored(page, "3 of 10 decided")
        page.reload()
        ready(page)
        shows(page, project.records[13].name)
        press(page, "u")
        stored(page, "2 of 10 decided")
        ready(page)
        shows(page, project.records[12].name)
    with serving(project) as (address, _):  # a new session shows what is left
        page.goto(address)
        ready(page)
        assert page.locator("#progress-text").inner_text() == "0 of 8 decided"


def test_what_users_sent_gets_a_class_and_goes_to_the_inbox(
    page: "Page", project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.top)
    contents = {label: encode(pixels(900 + place, 50, 40)) for place, label in enumerate(CLASSES)}
    digests = {label: hashlib.sha256(content).hexdigest() for label, content in contents.items()}
    rows = [
        {"sha256": digests[label], "label": "cat", "probability": 0.4, "confident": label == "cat"} for label in CLASSES
    ]
    log = "".join(json.dumps({**row, "in_distribution": True, "version": "1"}) + "\n" for row in rows)
    members = {f"pictures/{digests[label]}.png": contents[label] for label in CLASSES}
    members |= {f"corrections/frog/{digests['frog']}.png": contents["frog"], "darkroom/data/data.1.log": log.encode()}
    write_folder(project.top / "logs", members)
    with serving(project) as (address, _):
        page.goto(address)
        ready(page)
        assert page.locator("#why").inner_text() == "A user of the service gave this image the class frog."
        assert page.locator("#now").is_hidden()
        press(page, "k", "Enter")  # there is no class to keep
        stored(page, "1 of 2 decided")
        ready(page)
        assert page.locator("#why").inner_text() == "The service's prediction was uncertain."
        press(page, "2", "u")
        stored(page, "1 of 2 decided")
        assert not Path(f"data/inbox/dog/{digests['dog']}.png").exists()
        press(page, "2")
        stored(page, "2 of 2 decided")
    for label in ("frog", "dog"):
        assert Path(f"data/inbox/{label}/{digests[label]}.png").read_bytes() == contents[label]
    found = {each.sha256: (each.old, each.new, each.reason) for each in project.decided()}
    assert found == {
        digests["frog"]: ("frog", "frog", "correction by a user"),
        digests["dog"]: ("cat", "dog", "uncertain prediction"),
    }
    assert curate.sent(cases.open_project(), project.decided(), print) == []


def test_an_unlabelled_image_gets_its_class_with_one_key(
    page: "Page", project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.top)
    project.write_model()
    contents = {f"new/{place}.png": encode(pixels(700 + place, 50, 40)) for place in range(3)}
    write_folder(project.top / "data" / "unlabelled", contents)
    with serving(project) as (address, ledger):
        proposed = {case.upload.name: case.suspicion.proposed for case in ledger.cases if case.upload}
        page.goto(address)
        ready(page)
        shown = page.locator("#name").inner_text()
        assert page.locator("#split").inner_text() == "unlabelled"
        assert page.locator("#why").inner_text().startswith(f"Unlabelled. Most probable classes: {proposed[shown]} (")
        assert page.locator("#now").is_hidden()
        press(page, "k", "Enter", "x", "s")  # there is no class to keep
        stored(page, "2 of 3 decided, 1 skipped")
    assert Path("data/inbox", proposed[shown], Path(shown).name).read_bytes() == contents[shown]
    assert sorted(news(project).values()) == ["", proposed[shown]]
    assert len(list(Path("data/inbox").rglob("*.png"))) == 1


def test_two_windows_never_decide_the_same_image_twice(page: "Page", project: Project) -> None:
    project.write_issues(list(range(10, 16)))
    with serving(project) as (address, ledger):
        page.goto(address)
        other = page.context.new_page()
        other.goto(address)
        ready(other)
        press(page, "Enter")
        stored(page, "1 of 6 decided")
        press(other, "x")
        other.get_by_text("This image was decided in another window").wait_for()
        stored(other, "1 of 6 decided")
        shows(other, project.records[11].name)
        press(other, "k")
        stored(other, "2 of 6 decided")
        assert other.get_by_role("alert").is_hidden()
        press(page, "x")
        page.get_by_text("This image was decided in another window").wait_for()
        assert ledger.counts().decided == 2
    assert news(project) == {project.records[10].name: "dog", project.records[11].name: "cat"}


def test_when_the_command_has_ended_nothing_more_is_decided(page: "Page", project: Project) -> None:
    project.write_issues([10, 11, 12])
    with serving(project) as (address, _):
        page.goto(address)
        press(page, "Enter")
        stored(page, "1 of 3 decided")
    press(page, "Enter")
    page.get_by_text("darkroom curate has ended: start it again").wait_for()
    assert page.locator("#case").is_hidden()
    assert len(project.decided()) == 1


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "dark"), (1280, 800, "light")])
def test_the_page_can_be_read_and_tapped(
    page: "Page", project: Project, width: int, height: int, scheme: Literal["light", "dark"]
) -> None:
    project.write_issues([10, 11, 12])
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    with serving(project) as (address, _):
        page.goto(address)
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 12
        assert [pair for pair in contrasts if pair[1] < 4.5] == []
        boxes = [button.bounding_box() for button in page.locator("#actions button:visible, #classes button").all()]
        assert all(box and box["height"] >= 44 and box["width"] >= 44 for box in boxes)
        assert all(box and box["y"] + box["height"] <= height for box in boxes)  # no scrolling
        page.get_by_role("button", name="Accept dog").click()
        ready(page)
        page.get_by_role("button", name="frog").click()
        stored(page, "2 of 3 decided")
        page.get_by_role("button", name="Undo").click()
        stored(page, "1 of 3 decided")
        page.get_by_role("button", name="Exclude").click()
        stored(page, "2 of 3 decided")
    assert news(project) == {project.records[10].name: "dog", project.records[11].name: ""}
