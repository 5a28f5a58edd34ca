"""One of the projects that Darkroom grew out of: photographs with uneven classes get better labels and more images."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from darkroom.foundations import files
from tests.clones import GIT, clone, run
from tests.curated import curating
from tests.pictures import encode, pixels, write_folder

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

COUNTS = {"plain": 400, "art": 400, "poster": 32}
MORE = 40


def street_box(label: str, number: int) -> bytes:
    """Return a photograph of a box that is painted with stripes, carries a poster, or neither."""
    generator = np.random.default_rng([number, list(COUNTS).index(label)])
    image = pixels(int(generator.integers(2**30)), 32, 32) * 0.6 + 40
    down, across = np.mgrid[:32, :32]
    if label == "art":
        angle, width = generator.uniform(0, np.pi), generator.uniform(0.8, 1.6)
        image += 35 * np.sign(np.sin((across * np.cos(angle) + down * np.sin(angle)) * width))[..., None]
    if label == "poster":
        (top, left), (height, wide) = generator.integers(2, 14, 2), generator.integers(10, 16, 2)
        part = np.s_[top : top + height, left : left + wide]
        image[part] = image[part] * 0.3 + generator.uniform(60, 200, 3)
    return encode(np.clip(image + generator.normal(0, 12, image.shape), 0, 255).astype(np.uint8))


def fewer(parameters: Any) -> None:
    """Keep one candidate, a probe, and what the story needs of the rest."""
    parameters["dataset"] = "folder"
    folder = parameters["datasets"]["folder"]
    folder["pack"]["image_size"] = 32
    folder["split"].update({"test": 0.4, "near_copies": 0})
    parameters["scratch"] = {}
    parameters["transfer"]["cifar10_backbone"]["method"] = "probe"
    parameters["robustness"]["images"] = 0


@pytest.fixture
def page() -> Any:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.set_default_timeout(120_000)
        yield opened
        browser.close()


def decide(page: "Page") -> tuple[int, int]:
    """Look at each image as a person would, who knows the truth; return how many labels were changed and kept."""
    changed = kept = 0
    while True:
        page.locator("body[data-ready], #end:not([hidden])").first.wait_for()
        if page.locator("#end").is_visible():
            return changed, kept
        label, _, name = str(page.locator("#name").text_content()).partition("/")
        truth = name.rstrip("0123456789.png")
        if truth == label:
            page.keyboard.press("k")
            kept += 1
        elif page.locator("#accept bdi").text_content() == truth:
            page.keyboard.press("Enter")
            changed += 1
        else:
            page.keyboard.press(str(sorted(COUNTS).index(truth) + 1))
            changed += 1


def commit(folder: Path, message: str) -> str:
    run(folder, "git", "add", ".")
    run(folder, *GIT, "commit", "--quiet", "--message", message)
    return run(folder, "git", "rev-parse", "HEAD").strip()


def test_wrong_labels_are_corrected_and_more_images_added_until_the_review_calls_it_better(
    tmp_path: Path, page: "Page"
) -> None:
    folder = clone(tmp_path / "project", fewer)
    run(folder, "git", "config", "user.name", "Ada")
    members = {}
    for label, count in COUNTS.items():
        for number in range(count):
            given = "plain" if label == "art" and number % 5 == 0 else label  # a fifth of one class
            members[f"{given}/{label}{number:03}.png"] = street_box(label, number)
    write_folder(folder / "data" / "inbox", members)
    run(folder, "dvc", "repro", "report")
    before = commit(folder, "The first result")

    # The report says that labels are wrong, and about how many.
    report = (folder / "reports" / "report.md").read_text(encoding="utf-8")
    summary = files.read_json(folder / "plots" / "labels" / "summary.json")
    assert 40 <= summary["expected"] <= 100
    assert f"About {round(summary['expected'])} of these labels are expected to be wrong." in report
    assert "Some images labelled plain resemble art: either about" in report

    with curating(folder) as address:
        page.goto(address)
        changed, kept = decide(page)
    assert changed >= 60
    assert kept < changed
    commit(folder, "Correct labels")

    run(folder, "dvc", "repro", "evaluate", "labels")
    corrected = files.read_json(folder / "plots" / "labels" / "summary.json")["corrected"]
    print(corrected)
    assert corrected["train"] + corrected["test"] == changed
    assert corrected["after"] > corrected["before"]
    commit(folder, "Train with the corrected labels")
    plan = json.loads(run(folder, "darkroom", "plan", "--add", str(MORE), "--json"))
    first = next(each for each in plan["forecasts"] if each["class"] is not None)
    assert first["class"] == "poster"
    assert first["gain"] > 0
    more = range(COUNTS["poster"], COUNTS["poster"] + MORE)
    write_folder(
        folder / "data" / "inbox", {f"poster/poster{number:03}.png": street_box("poster", number) for number in more}
    )
    run(folder, "dvc", "repro", "evaluate")
    commit(folder, "More posters")

    review = json.loads(run(folder, "darkroom", "review", before, "--html", "review.html", "--json"))
    text = run(folder, "darkroom", "review", before)
    print(json.dumps(review, indent=1)[:3000], text)
    assert "significant gain" in text
    assert "the gate passes" in text
    page.goto((folder / "review.html").as_uri())
    assert page.get_by_role("heading", name="Confusion").is_visible()
