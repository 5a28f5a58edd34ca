import io
import re
import shutil
import subprocess
import zipfile

import numpy as np
import pypandoc
import pytest
from PIL import Image
from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE
from pptx.util import Inches

from darkroom.candidate import Predictions, read_predictions, write_predictions
from darkroom.candidate_names import read_names
from darkroom.foundations import files, naming
from darkroom.packed import read_sheet
from darkroom.reporting.facts import Sources, gather
from darkroom.reporting.rendering import render
from darkroom.reporting.settings import ReportSettings
from stages import report
from tests import factories, report_cases
from tests.test_stage_evaluate import run as evaluate
from tests.test_stage_evaluate import write_right

NASTY = (
    "$5|note*",
    "<b>cat</b>",
    "猫_犬",
    "</script><script>alert(1)</script>",
    "=1+1",
    '#eval("1") @ref',
    "[x](javascript:alert(1))",
    "a\u202eb",
)


def run(top):
    arguments = {
        "params": "params.yaml",
        "candidates": "models/candidates",
        "best": "models/best.json",
        "data": "metrics/data.json",
        "evaluation": "plots/tables/scores.json",
        "card": "data/card.md",
        "per-class": "plots/per_class.csv",
        "confusion": "plots/confusion.csv",
        "tables": "plots/tables",
        "robustness": "plots/robustness/summary.json",
        "cost": "plots/cost",
        "served": "models/served",
        "labels": "plots/labels",
        "out": "reports",
    }
    figures = [
        "--figures",
        *(str(top / "plots" / name) for name in ("data", "labels", "evaluation", "robustness", "cost")),
    ]
    report.main([*figures, *(part for name, path in arguments.items() for part in (f"--{name}", str(top / path)))])
    return (top / "reports" / "report.md").read_text(encoding="utf-8")


def sources(top):
    """Return where the facts about a project stand."""
    return Sources(
        candidates=top / "models" / "candidates",
        best=top / "models" / "best.json",
        data=top / "metrics" / "data.json",
        evaluation=top / "plots" / "tables" / "scores.json",
        card=top / "data" / "card.md",
        per_class=top / "plots" / "per_class.csv",
        confusion=top / "plots" / "confusion.csv",
        tables=top / "plots" / "tables",
        robustness=top / "plots" / "robustness" / "summary.json",
        cost=top / "plots" / "cost",
        served=top / "models" / "served",
        labels=top / "plots" / "labels",
    )


def written(top):
    """Return the report as Markdown, without the files that are made of it."""
    evaluation = [path.stem for path in (top / "plots" / "evaluation").glob("*.png")]
    data = [path.stem for path in (top / "plots" / "data").glob("*.png")]
    facts = gather(sources(top), read_names(top / "params.yaml"), ReportSettings(), "digits", seed=0)
    return render(facts, {*evaluation, *data}, "github")


def slides(top):
    """Return the text of each slide, in order."""
    with zipfile.ZipFile(top / "reports" / "slides.pptx") as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"ppt/slides/slide\d+\.xml", name)]
        names.sort(key=lambda name: int(re.findall(r"\d+", name)[0]))
        return ["".join(re.findall(r"<a:t>([^<]*)</a:t>", archive.read(name).decode())) for name in names]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    top = factories.write_project(tmp_path_factory.mktemp("evaluated"))
    evaluate(top)
    return top


@pytest.fixture
def project(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)


def test_every_form_is_written_and_pictures_lie_beside_the_markdown(project):
    markdown = run(project)
    folder = project / "reports"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["figures", "report.html", "report.md", "report.pdf", "slides.pptx"]
    referenced = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", markdown)
    assert len(referenced) == len(set(referenced)) >= 11
    captions = re.findall(r"^\*Figure (\d+)\.\*", markdown, re.MULTILINE)
    assert captions == [str(number) for number in range(1, len(referenced) + 1)]
    for name in referenced:
        with Image.open(folder / name) as image:
            image.verify()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == page.count('src="data:image/png;base64,') == len(referenced)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "the page needs another file"
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert 10 <= len(slides(project)) <= 14


def test_equal_results_give_equal_bytes(project):
    run(project)
    first = {path: path.read_bytes() for path in sorted((project / "reports").rglob("*.*"))}
    with zipfile.ZipFile(project / "reports" / "slides.pptx") as archive:
        assert b"1970-01-01" in archive.read("docProps/core.xml")
    shutil.rmtree(project / "reports")
    run(project)
    assert {path: path.read_bytes() for path in sorted((project / "reports").rglob("*.*"))} == first


def test_the_numbers_are_those_of_the_results(project):
    evaluation, best = evaluate(project)
    markdown = written(project)
    scores = evaluation["candidates"]["small"]["test"]
    assert f"small reaches an accuracy of {scores['accuracy']:.1%} on 24 test images" in markdown
    assert f"(95% confidence interval {scores['accuracy_low']:.1%} to {scores['accuracy_high']:.1%})" in markdown
    assert best["reason"] in markdown
    for name in ("baseline", "small", "large"):
        assert f"{evaluation['candidates'][name]['test']['log_loss']:.3f} |" in markdown


@pytest.mark.parametrize(
    ("bar", "right", "expected"),
    [
        (1.0, 1.0, "The baseline reaches the same accuracy"),
        (0.75, 0.875, "The baseline reaches an accuracy of 75.0%; the difference is not statistically significant"),
        (1.0, 0.5, "50.0 percentage points below that of the baseline, which reaches 100.0%"),
        (0.25, 0.75, "50.0 percentage points above that of the baseline, which reaches 25.0%"),
    ],
)
def test_the_report_compares_the_best_with_the_baseline(project, bar, right, expected):
    for name, share in (("baseline", bar), ("small", right), ("large", right)):
        write_right(project, name, np.arange(24) < share * 24)
    evaluate(project)
    markdown = run(project)
    assert markdown.count(expected) == 2
    assert markdown.count("above that of the baseline") == (2 if "above" in expected else 0)
    assert expected in "".join(slides(project))


def test_names_from_people_are_printed_as_they_are(tmp_path):
    top = factories.write_project(tmp_path, NASTY, ("only",))
    evaluate(top)
    run(top)
    command = [
        pypandoc.get_pandoc_path(),
        "--from=html",
        "--to=plain",
        "--wrap=none",
        str(top / "reports" / "report.html"),
    ]
    plain = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    for name in NASTY:
        assert re.search(rf"^\s*{re.escape(naming.escape(name))}  +8  +\d", plain, re.MULTILINE), name
    page = (top / "reports" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|href=\"(?!#)", page)
    assert "\u202e" not in page + "".join(slides(top))
    assert [row["class"] for row in read_sheet(top / "plots" / "per_class.csv")] == sorted(NASTY) * 2
    assert ",'=1+1," in (top / "plots" / "per_class.csv").read_text(encoding="utf-8")
    assert "All 8 classes have fewer than 30 test images (8 each), so their scores are unreliable" in plain
    assert "reference for the network." in plain


def test_robustness_is_reported_if_it_was_measured(project):
    assert "corrupted" not in written(project)
    files.write_json(project / "plots" / "robustness" / "summary.json", report_cases.ROBUSTNESS)
    markdown = written(project)
    text = markdown.split("## Robustness\n")[1].split("## ")[0]
    for fact in ("20 test images", "2 types of corruption", "72.5%", "60.0% to 80.0%", "95.0%", "Blur", "55.0%"):
        assert fact in text
    assert "- Accuracy is lower on images of poor quality" in markdown


@pytest.mark.parametrize(
    ("accuracy", "milliseconds", "accepted", "expected"),
    [
        (0.94, 0.25, True, "small loses 1.0 percentage point of accuracy on 24 validation images, has 25.0% of its "
         "original size and takes 50.0% less time per image. The largest acceptable loss is 2.0 percentage points, so "
         "the int8 network is served"),
        (0.9, 0.6, False, "small loses 5.0 percentage points of accuracy on 24 validation images, has 25.0% of its "
         "original size and takes 20.0% more time per image. The largest acceptable loss is 2.0 percentage points, so "
         "the float32 network is served"),
        (0.95, 0.25, True, "small keeps its accuracy on 24 validation images"),
    ],
)  # fmt: skip
def test_integers_stand_beside_floats(project, accuracy, milliseconds, accepted, expected):
    assert "8-bit" not in written(project)
    floats = {"accuracy": 0.95, "bytes": 1_000_000, "milliseconds": 0.5}
    integers = {"accuracy": accuracy, "bytes": 250_000, "milliseconds": milliseconds}
    found = {"float32": floats, "int8": integers, "largest_difference": 0.1, "max_loss": 0.02, "accepted": accepted}
    files.write_json(project / "models" / "served" / "quantization.json", found)
    markdown = written(project)
    assert expected in markdown
    assert f"| float32 | 95.0% | 1.00\u00a0MB | 0.5\u00a0ms | {'no' if accepted else 'yes'} |" in markdown
    assert (
        f"| int8 | {accuracy:.1%} | 0.25\u00a0MB | {milliseconds:.2g}\u00a0ms | {'yes' if accepted else 'no'} |"
        in markdown
    )


def test_what_a_network_costs_stands_beside_it(project):
    assert re.search(
        r"^\| \*\*small\*\* \| [\w ]+ \| [\d,]+ \| 0.10\u00a0MB \| 0.5\u00a0ms \|", written(project), re.MULTILINE
    )
    assert re.search(r"^\| baseline \| .* \| – \| – \|", written(project), re.MULTILINE)


def test_networks_that_are_built_alike_are_drawn_once(project):
    markdown = run(project)
    assert "### small and large" in markdown
    assert markdown.count("(figures/architecture_") == 1
    assert "| dense | 3 | 2,307 |" in markdown
    assert "| **total** |  | **2,307** |" in markdown


def test_every_number_that_is_named_is_there(project):
    markdown = written(project)
    for kind in ("Figure", "Table"):
        named = set(re.findall(rf"{kind}\s(\d+)", markdown))
        assert named <= set(re.findall(rf"^\*{kind} (\d+)\.\*", markdown, re.MULTILINE))
    cited = set(re.findall(r"\\\[(\d+)\\\]", markdown))
    assert cited == set(re.findall(r"^(\d+)\. ", markdown.split("## References")[1], re.MULTILINE))
    assert "?" not in re.findall(r"(?:Figure|Table)\s(\S)", markdown)


def test_slides_have_notes_and_pictures_keep_their_shape(project):
    run(project)
    for slide in Presentation(str(project / "reports" / "slides.pptx")).slides:
        assert slide.notes_slide.notes_text_frame.text
        for shape in slide.shapes:
            assert shape.left >= 0
            assert shape.left + shape.width <= Inches(10)
            assert shape.top + shape.height <= Inches(5.625)
            if shape.shape_type == MSO_SHAPE_TYPE.PICTURE:
                with Image.open(io.BytesIO(shape.image.blob)) as image:
                    assert shape.width / shape.height == pytest.approx(image.width / image.height, rel=0.01)


def test_facts_about_the_data_are_told_when_there_are_any(project):
    assert "All files could be read" not in written(project)
    factories.write_data_report(
        project / "metrics" / "data.json",
        project / "plots" / "data",
        project / "data" / "card.md",
        project / "data" / "packed",
        project / "data" / "split.csv",
        copies=1,
        near_copies=4,
        conflicts=2,
        leaks=5,
        groups=6,
        left_out=3,
    )
    markdown = written(project)
    assert "- 1 image is an exact duplicate of another image" in markdown
    assert "- 2 images have a copy in another class" in markdown
    assert "- 3 images are excluded" in markdown
    assert "- 4 images are near duplicates of another image" in markdown
    assert "- 5 test images have a copy among the training images of the source" in markdown
    assert "- 6 groups of related images" in markdown
    assert "imbalanced" not in markdown
    assert "- 1 file could not be read and is excluded:\n\n  - cat/broken.png: the file is empty" in markdown
    assert "figures/duplicates.png" not in markdown
    shutil.copy(project / "plots" / "data" / "samples.png", project / "plots" / "data" / "duplicates.png")
    assert "(figures/duplicates.png)" in written(project)


@pytest.mark.parametrize(
    ("leaks", "expected"),
    [
        (
            18,
            "copies of 18 test images among its training or validation images. On the other 6 test images, only "
            "reaches an accuracy of 0.0% (95% confidence interval 0.0% to 39.0%) and the baseline 100.0%.",
        ),
        (24, "copies of all test images among its training or validation images"),
    ],
)
def test_the_report_gives_scores_without_leaks(tmp_path, leaks, expected):
    top = factories.write_project(tmp_path, networks=("only",), leaks=leaks)
    is_leak = np.arange(24) < leaks
    write_right(top, "only", is_leak)
    write_right(top, "baseline", ~is_leak)
    evaluate(top)
    assert expected in run(top)
    page = " ".join((top / "reports" / "report.html").read_text(encoding="utf-8").split())
    assert expected in page
    factories.write_split(top / "data" / "split.csv", top / "data" / "packed")
    data = top / "metrics" / "data.json"
    files.write_json(data, files.read_json(data) | {"leaks": 0})
    evaluate(top)
    markdown = run(top)
    assert "The source contains copies" not in markdown


def test_macro_figures_lead_when_classes_are_uneven(tmp_path):
    top = factories.write_project(tmp_path)
    evaluate(top)
    assert "| Model | Accuracy | 95% interval | Macro recall |" in written(top)
    data = top / "metrics" / "data.json"
    found = files.read_json(data)
    found["per_class"]["cat"]["train"] *= 5
    files.write_json(data, found | {"imbalance": 3.21})
    markdown = written(top)
    assert re.search(
        r"small reaches a macro F1 of [01]\.\d{3} \(95% confidence interval .*; always predicting cat would", markdown
    )
    assert "Because the classes are imbalanced" in markdown
    header = r"\| Model \| Macro F1 \| Macro recall \| Accuracy \|"
    row = r"\| baseline \| [01]\.\d{3} \| .*% \| .*% \| .*%\s–\s.*% \| "
    assert re.search(rf"^{header}.*\n.*\n{row}", markdown, re.MULTILINE)


def test_a_class_without_test_images_and_a_perfect_network(tmp_path):
    top = factories.write_project(tmp_path, networks=("only",), lacking="dog", noise=1)
    evaluate(top)
    markdown = written(top)
    assert "The test split has no images of dog" in markdown
    assert "only makes no mistakes on 16 test images." in markdown


def test_areas_stand_without_an_interval_where_classes_have_one_test_image(tmp_path):
    top = factories.write_project(tmp_path, networks=("only",), per_class=6)
    evaluate(top)
    markdown = written(top)
    area = next(line for line in markdown.splitlines() if "ROC AUC, one-vs-rest" in line)
    assert "–" not in area
    loss = next(line for line in markdown.splitlines() if line.startswith("| Brier"))
    assert "–" in loss


def test_networks_without_epochs_or_without_improvement(project):
    store = project / "models" / "candidates"
    for name, fields in (("small", {"epochs": 0, "best_epoch": 0}), ("large", {"best_epoch": 0})):
        shutil.rmtree(store / name / "history")
        (store / name / "augmented.png").unlink()
        card = files.read_json(store / name / "card.json")
        files.write_json(store / name / "card.json", card | fields)
    markdown = run(project)
    assert "Only the last layer of small (13 s) was fitted" in markdown
    assert "| 8 | start | 13\u00a0s |" in markdown
    assert "no epoch improved on the initial weights" in markdown
    assert "learning_curves" not in markdown
    assert "augmented" not in markdown
    text = "".join(slides(project))
    assert "small: only the last layer was fitted, in 13" in text
    assert "8 epochs in 13\u00a0s; no epoch improved" in text


def test_two_classes_and_a_network_that_knows_one(tmp_path):
    top = factories.write_project(tmp_path, ("cat", "dog"), ("only",))
    folder = top / "models" / "candidates" / "only"
    found = read_predictions(folder)
    always = [np.tile(np.float32([2, 0]), (len(logits), 1)) for logits in (found.validation, found.test)]
    write_predictions(folder, Predictions(*always))
    evaluate(top)
    markdown = run(top)
    assert (
        "Two models were trained to distinguish 2 classes on 48 images of Noisy patterns: a classical baseline and the "
        "network only. On validation, the baseline has a better accuracy" in markdown
    )
    assert "dog as cat (8 of 8 images)" in markdown
    assert "| dog | 8 | 0.0% | 0.0% | 0.000 |" in markdown
    assert "nan" not in markdown
    assert len(slides(top)) >= 10


def test_many_classes_and_models_stay_short(tmp_path):
    networks = [f"net_{number}" for number in range(7)]
    top = factories.write_project(tmp_path, [f"class {number:02}" for number in range(25)], networks, per_class=5)
    evaluate(top)
    markdown = run(top)
    assert "### The ten of 25 classes with the lowest F1" in markdown
    assert len(re.findall(r"^\| class \d+ \| 1 \|", markdown, re.MULTILINE)) == 10
    assert any(text.startswith("The models and their scores (7 of 8)") for text in slides(top))
    assert len(slides(top)) <= 14
