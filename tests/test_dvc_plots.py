"""What `dvc plots` draws: the pipeline's own plots section on a small repository."""

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from darkroom import frames, plot_labels
from darkroom.evaluation import tables
from tests.imports import ROOT

CURVES = "candidate,epoch,train_loss,validation_loss,validation_accuracy\n"


def dvc(folder, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def repository(tmp_path):
    yaml = YAML(typ="safe", pure=True)
    plots = yaml.load(ROOT / "dvc.yaml")["plots"]
    assert [name for name in plots if isinstance(name, str)] == ["plots/evaluation", "plots/data"]
    git(tmp_path, "init")
    dvc(tmp_path, "init", "--quiet")
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots")
    shutil.copyfile(ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")
    with (tmp_path / "dvc.yaml").open("w") as file:
        yaml.dump({"plots": [plot for plot in plots if not isinstance(plot, str)]}, file)
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "learning_curves.csv").write_text(f"{CURVES}a,1,2.0,3.0,0.5\nb,1,2.5,3.5,0.25\n")
    (tmp_path / "plots" / "confusion.csv").write_text("actual,predicted\ncat,dog\ndog,dog\n")
    for name, columns, line in (
        ("tables/reliability", "candidate,confidence,accuracy,images", "a,0.5,0.4,7"),
        ("tables/precision_recall", "candidate,recall,precision", "a,0.5,0.4"),
        ("tables/risk_coverage", "candidate,coverage,risk,threshold", "a,0.5,0.4,0.9"),
        ("cost/cost", "candidate,milliseconds,test_accuracy", "a,0.5,0.4"),
    ):
        (tmp_path / "plots" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "plots" / f"{name}.csv").write_text(f"{columns}\n{line}\n")
    dvc(tmp_path, "add", "--quiet", "plots/tables", "plots/cost")  # in DVC's cache, as the pipeline keeps them
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--message", "first")
    (tmp_path / "plots" / "learning_curves.csv").write_text(f"{CURVES}a,1,1.0,1.5,0.75\n")
    (tmp_path / "plots" / "tables" / "reliability.csv").write_text(
        "candidate,confidence,accuracy,images\na,0.5,0.6,7\n"
    )
    return tmp_path


def test_curves_have_a_line_a_candidate_and_a_dash_a_revision(repository):
    shown = json.loads(dvc(repository, "plots", "diff", "HEAD", "--json"))
    assert "errors" not in shown
    fields = {
        "Validation accuracy": ("epoch", "validation_accuracy"),
        "Validation loss": ("epoch", "validation_loss"),
        "Training loss": ("epoch", "train_loss"),
        "Reliability diagram": ("confidence", "accuracy"),
        "Precision-recall curve": ("recall", "precision"),
        "Risk-coverage curve": ("coverage", "risk"),
        "Accuracy against latency": ("milliseconds", "test_accuracy"),
    }
    for title, (along, field) in fields.items():
        (plot,) = shown["data"][title]
        text = json.dumps(plot)
        assert "<DVC_METRIC" not in json.dumps(plot["content"]), "an anchor was left unfilled"
        encoding = plot["content"]["encoding"]
        assert encoding["x"]["field"] == along
        assert encoding["y"]["field"] == field
        assert encoding["color"]["field"] == "candidate"
        lines = plot["content"]["layer"][0]["encoding"]
        assert {lines[channel]["field"] for channel in ("strokeDash", "opacity", "size")} == {"rev"}
        assert plot["revisions"] == ["workspace", "HEAD"], text
    (confusion,) = shown["data"]["Confusion matrix of the best"]
    values = shown["data"]["Reliability diagram"][0]["content"]["data"]["values"]
    assert {value["rev"]: value["accuracy"] for value in values} == {"workspace": "0.6", "HEAD": "0.4"}
    assert confusion["content"]["spec"]["encoding"]["x"]["field"] == "actual"


def test_the_guide_says_how_to_compare_with_a_revision_whose_plots_were_not_pushed(repository):
    remedy = "dvc push --all-commits"
    guide = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert f"`{remedy}`" in guide
    assert "failed to load directory" in guide
    dvc(repository, "remote", "add", "--default", "team", str(repository.parent / "team"))
    git(repository, "commit", "--all", "--message", "second")  # a commit's own settings name its remote
    dvc(repository, "add", "--quiet", "plots/tables")
    git(repository, "commit", "--all", "--message", "third")
    dvc(repository, "push", "--quiet")
    other = repository.parent / "other"
    git(repository.parent, "clone", str(repository), str(other))
    dvc(other, "pull", "--quiet")
    for revisions in (["workspace"], ["workspace", "HEAD~1"]):
        shown = json.loads(dvc(other, "plots", "diff", "HEAD~1", "--json"))
        (plot,) = shown["data"]["Reliability diagram"]
        assert plot["revisions"] == revisions
        reasons = {error["msg"].partition(" (")[0] for error in shown.get("errors", [])}
        assert reasons == ({"failed to load directory"} if len(revisions) == 1 else set())
        dvc(repository, *remedy.split()[1:], "--quiet")


@pytest.mark.browser
def test_images_of_two_revisions_lie_side_by_side_on_the_page(repository):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    image = repository / "plots" / "wide.png"
    Image.new("RGB", (1600, 900)).save(image)
    with (repository / "dvc.yaml").open("a") as file:
        file.write("- plots/wide.png\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "wide")
    Image.new("RGB", (1600, 900), "red").save(image)
    address = dvc(repository, "plots", "diff", "HEAD").strip()
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=options) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        boxes = [each.bounding_box() for each in page.locator("img").all()]
    assert len(boxes) == 2
    assert max(box["x"] + box["width"] for box in boxes) <= 1280
    assert boxes[0]["y"] == boxes[1]["y"]


HOSTILE = ["</script><script>document.title = 'attacked'</script>", "<!--<script>", "<\\/script>", "a < b"]


def write_confusion(repository, classes):
    labels = np.arange(len(classes))
    best = SimpleNamespace(card=SimpleNamespace(classes=classes), predicted=labels)
    frames.write(repository / "plots" / "confusion.csv", tables.confusion(best, labels), escape=False)


def scripts(page):
    """Return the scripts of a page as a browser finds them."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append("") if tag == "script" else None
    parser.handle_data = lambda text: found.append(found.pop() + text) if parser.cdata_elem == "script" else None
    parser.feed(page)
    return found


def test_a_class_name_runs_nothing_in_the_page(repository):
    write_confusion(repository, HOSTILE)
    address = dvc(repository, "plots", "show").strip()
    page = Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    (plot,) = [script for script in scripts(page) if "attacked" in script]
    values = json.loads(plot.partition("var spec = ")[2].partition(";\n")[0])["data"]["values"]
    assert [plot_labels.restore(value["actual"]) for value in values] == HOSTILE
    assert "<!--" not in plot, "with it the script would not end where it should"


@pytest.mark.browser
def test_the_page_draws_every_chart_without_a_network(repository):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    write_confusion(repository, HOSTILE)
    address = dvc(repository, "plots", "show").strip()
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=options) as browser:
        page = browser.new_page()
        asked, problems = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.locator("canvas").nth(7).wait_for()
        assert page.locator("canvas").count() == 8
        assert page.title() != "attacked"
    assert problems == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
