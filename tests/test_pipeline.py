"""The whole pipeline, as a user runs it, in a temporary clone with less of everything.

A training takes about ten seconds, whatever is trained, because Python imports torch and the exporter: so the tests
train as few networks as possible, and check much about each.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from darkroom import candidate
from darkroom.data.pack import contents
from darkroom.data.settings import KaggleSource
from darkroom.data.sources import kaggle
from darkroom.foundations import files
from darkroom.packed import open_packed
from tests.clones import GIT, clone, edit, ran, run
from tests.factories_serving import serving
from tests.imports import ROOT
from tests.kaggle_server import Kaggle, KaggleHandler, point_client_to
from tests.pictures import class_folders, encode, pixels, write_folder, write_zip
from tests.web import serve

pytestmark = pytest.mark.slow

STAGES = [
    "validate", "download", "pack", "split", "explore", "baseline", "scratch@lab_cnn", "scratch@resnet9",
    "pretrained@cifar10_backbone", "transfer@cifar10_backbone", "evaluate", "labels", "robustness", "explain", "cost",
    "describe", "package", "report",
]  # fmt: skip
FIGURES = (
    "metrics/data.json", "metrics/evaluation.json", "metrics/robustness.json", "plots/tables/risk_coverage.csv",
    "plots/tables/scores.json", "plots/confusion.csv", "plots/per_class.csv",
)  # fmt: skip
AFTER_TRAINING = {"evaluate", "robustness", "explain", "cost", "describe", "package", "report"}


def quick_digits(parameters: Any) -> None:
    parameters["datasets"]["digits"]["pack"] = {"image_size": 16, "limit_per_class": 30}
    parameters["datasets"]["digits"]["training"] = {"epochs": 2, "batch_size": 32}
    parameters["scratch"]["lab_cnn"]["width"] = parameters["scratch"]["resnet9"]["width"] = 8
    parameters["robustness"]["images"] = 40


def quick_folder(parameters: Any) -> None:
    parameters["dataset"] = "folder"
    parameters["datasets"]["folder"]["pack"]["image_size"] = 16
    parameters["datasets"]["folder"]["training"] = {"epochs": 2, "batch_size": 16}
    del parameters["scratch"]["resnet9"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone in which the pipeline has run."""
    folder = clone(tmp_path_factory.mktemp("clone"), quick_digits)
    (folder / "backbones" / "mine.pth").write_bytes(b"put here by hand, and in no other clone")
    assert ran(run(folder, "dvc", "repro")) == set(STAGES)
    return folder


def test_everything_is_there(place):
    for name in (
        "reports/report.html", "reports/report.pdf", "reports/report.md", "reports/slides.pptx",
        "metrics/data.json", "metrics/images.json", "metrics/evaluation.json", "plots/confusion.csv",
        "plots/learning_curves.csv",
        "plots/data/samples.png", "plots/evaluation/confusion.png", "metrics/robustness.json", "metrics/cost.json",
        "plots/tables/slices.csv", "plots/robustness/robustness.png", "plots/explanations/explanations.png",
        "plots/cost/cost.png", "models/served/model.onnx", "models/served/model_card.md", "dist/darkroom.bento",
    ):  # fmt: skip
        assert (place / name).stat().st_size > 0, name
    best = files.read_json(place / "models" / "best.json")
    assert best["name"] in ("lab_cnn", "resnet9", "cifar10_backbone")
    assert "temperature" not in best
    evaluated = files.read_json(place / "plots" / "tables" / "scores.json")["candidates"][best["name"]]
    card = candidate.read_card(place / "models" / "served")
    assert (card.temperature, asdict(card.thresholds)) == (evaluated["temperature"], evaluated["thresholds"])
    assert "← selected" in run(place, "darkroom", "summary")


def test_git_holds_the_figures_and_dvc_the_pictures(place):
    ignored = ("data/raw", "data/packed", "models/candidates", "reports", "dist/darkroom.bento", "plots/evaluation")
    assert run(place, "git", "check-ignore", *ignored).split() == list(ignored)
    run(place, "git", "check-ignore", "metrics/evaluation.json", "plots/confusion.csv", "dvc.lock", status=1)
    assert run(place, "git", "status", "--porcelain", "--untracked-files=all").splitlines()  # dvc.lock and figures


def test_a_second_run_has_nothing_to_do(place):
    output = run(place, "dvc", "repro")
    assert ran(output) == set()
    assert "Data and pipelines are up to date." in output


def check_up_to_date(folder: Path) -> None:
    """Check that a clone has all outputs that it committed, and nothing to do."""
    output = run(folder, "dvc", "repro")
    assert ran(output) == set()
    assert "Data and pipelines are up to date." in output
    assert run(folder, "git", "status", "--porcelain") == ""
    assert "← selected" in run(folder, "darkroom", "summary")


def check_service(folder: Path, home: Path) -> None:
    """Check that the service of a clone answers."""
    with serving(folder, home, PYTHONPATH=str(folder / "src")) as address:
        example = next((folder / "models" / "served" / "examples").glob("*.png"))
        answer = httpx.post(f"{address}/predict", files={"images": example.read_bytes()}, timeout=120)
        assert answer.json()["predictions"][0]["labels"]


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files in a folder by their relative paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def readme_commands(section: str) -> list[str]:
    """Return the commands in a section of README.md, without their comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).splitlines()
    assert lines, section
    return [line.partition("  #")[0].strip() for line in lines]


def shell(command: str, instead: Mapping[str, object]) -> tuple[str, ...]:
    """Return a command of README.md for a shell, with another value for each placeholder."""
    assert all(placeholder in command for placeholder in instead), command
    # This environment instead of the clone's own, which would have to be installed first.
    ready = {"make ": f"make -o .venv/.ready BIN={Path(sys.executable).parent} "}
    for placeholder, value in {**ready, **instead}.items():
        command = command.replace(placeholder, str(value))
    return ("bash", "-e", "-o", "pipefail", "-c", command)


def test_a_team_works_with_the_commands_of_the_readme(place, tmp_path):
    """Sharing, an experiment, back again, and serving, each command as README.md has it."""
    origin, other, photos = tmp_path / "origin.git", tmp_path / "other", tmp_path / "photos"
    pictures = class_folders({"7": 2}).values()
    write_folder(photos, dict(zip(("one.png", "two.png"), pictures, strict=True)))
    run(place, "git", "branch", "--move", "main")
    run(place, "git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    run(place, "git", "remote", "add", "origin", str(origin))
    run(place, "git", "push", "--quiet", "--set-upstream", "origin", "main")
    run(place, "git", "clone", "--quiet", str(origin), str(other))
    for folder, (key, value) in product((place, other), (("user.name", "test"), ("user.email", "test@localhost"))):
        run(folder, "git", "config", key, value)

    remote, publish, fetch = readme_commands("Sharing")
    run(place, *shell(remote, {"/mnt/team/darkroom": tmp_path / "team"}))
    run(place, *shell(publish, {}))
    run(other, *shell(fetch, {}))
    assert "Data and pipelines are up to date." in run(other, "dvc", "status")
    check_up_to_date(other)
    check_service(other, tmp_path)
    served = contents_of(other / "models" / "served")
    assert served == contents_of(place / "models" / "served")

    experiment, metrics, plots, table, back = readme_commands("Recipe 3: change a parameter and review it")
    assert ran(run(other, *shell(experiment, {}))) == {"validate", "scratch@resnet9", *AFTER_TRAINING}
    changed = (other / "reports" / "report.md").read_text(encoding="utf-8")
    run(other, *shell(metrics, {}))
    assert "index.html" in run(other, *shell(plots, {}))
    assert "scratch.resnet9.learning_rate" in run(other, *shell(table, {}))
    run(other, *shell(back, {}))
    shutil.rmtree(other / "dvc_plots")
    check_up_to_date(other)
    assert contents_of(other / "models" / "served") == served  # so the service answers as before
    assert (other / "reports" / "report.md").read_text(encoding="utf-8") != changed
    (name,) = run(other, "dvc", "exp", "list", "--name-only").split()
    run(other, "dvc", "exp", "apply", name)
    assert (other / "reports" / "report.md").read_text(encoding="utf-8") == changed
    assert "Data and pipelines are up to date." in run(other, "dvc", "status")

    serve_to_all, ask, predict = readme_commands("Serving")
    table = run(other, *shell(predict, {"~/new-photos": photos}))
    assert re.findall(r"(?m)one\.png|two\.png", table) == ["one.png", "two.png"]
    instead = {"0.0.0.0": "127.0.0.1", "8000": '"$4"'}  # of the four arguments that `serving` appends
    command = [*shell(serve_to_all, instead), "serve"]
    with serving(other, tmp_path, command, PYTHONPATH=str(other / "src")) as address:
        images = {"one.png": photos / "one.png", "two.jpg": photos / "two.png"}
        answer = run(other, *shell(ask, {**images, "http://localhost:3000": address}))
    assert answer.count('"labels"') == 2


def test_pictures_of_the_inbox_are_shared_as_the_readme_says(tmp_path):
    (remedy,) = re.findall(r"`(tar -xf .* -C data/inbox)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    folder = clone(tmp_path / "clone", quick_folder)
    write_folder(folder / "data" / "inbox", class_folders({"cat": 4, "dog": 4}))
    run(folder, "dvc", "repro", "download")
    run(folder, "dvc", "remote", "add", "--default", "team", str(tmp_path / "team"))
    run(folder, "git", "add", ".")
    run(folder, *GIT, "commit", "--quiet", "--message", "pictures")
    run(folder, "dvc", "push")
    other = tmp_path / "other"
    run(folder, "git", "clone", "--quiet", str(folder), str(other))
    run(other, "dvc", "pull", "download")
    run(other, *remedy.split())
    assert "Data and pipelines are up to date." in run(other, "dvc", "status", "download")


def test_an_archive_from_kaggle_is_brought_by_hand_as_the_guide_says(tmp_path):
    (options,) = re.findall(
        r"dvc exp run (-S dataset=folder -S 'datasets.*)", (ROOT / "docs" / "data.md").read_text("utf-8")
    )
    source = YAML(typ="safe").load(ROOT / "params.yaml")["datasets"]["animals10"]["source"]
    assert kaggle._by_hand(KaggleSource(**source), "animals10").endswith(f"run `dvc exp run {options}`")
    folder = clone(tmp_path / "clone", lambda parameters: None)
    members = class_folders({f"raw-img/{name}": 3 for name in source["classes"]})
    write_zip(folder / "data" / "inbox" / "archive.zip", members)
    run(folder, "dvc", "exp", "run", *shlex.split(options), "download")
    items = contents.open_contents(folder / "data" / "raw").items
    assert {item.label for item in items} == set(source["classes"].values())


def test_images_added_later_leave_the_test_images_as_they_are(tmp_path):
    folder = clone(tmp_path / "clone", quick_folder)
    members = class_folders({"cat": 40, "dog": 60})
    more = {name: members.pop(name) for name in sorted(members)[-30:]}
    write_folder(folder / "data" / "inbox", members)

    def split_again(place: Path, *options: str) -> tuple[set[str], Any, str]:
        output = run(place, "dvc", "repro", "split", *options)
        return ran(output), files.read_json(place / "metrics" / "data.json"), output

    first, before, _ = split_again(folder)
    assert first == {"validate", "download", "pack", "split"}
    run(folder, "git", "add", ".")
    run(folder, *GIT, "commit", "--quiet", "--message", "results")
    write_folder(folder / "data" / "inbox", more)
    again, after, output = split_again(folder)
    assert again == {"download", "pack", "split"}
    assert after["images"] == before["images"] + 30
    assert after["test_hash"] == before["test_hash"]
    assert "The test images are unchanged" in output
    assert split_again(folder)[:2] == (set(), after)
    assert run(folder, "git", "status", "--porcelain", "data") == ""
    # In another clone, from the committed file alone.
    other = tmp_path / "other"
    run(folder, "git", "clone", "--quiet", str(folder), str(other))
    write_folder(other / "data" / "inbox", {**members, **more})
    split_again(other)
    for name in ("data/split.csv", "data/copies.csv", "metrics/data.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def test_reviewers_get_metrics_parameters_and_plots(place, tmp_path):
    assert "test_accuracy" in run(place, "dvc", "metrics", "show", "--md")
    assert "scratch.resnet9.learning_rate" in run(place, "dvc", "params", "diff", "--md", "--all")
    page = run(place, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    html = (tmp_path / "plots" / "index.html").read_text(encoding="utf-8")
    assert "index.html" in page
    assert "learning_curves" in html
    assert "confusion" in html


def test_a_change_to_the_report_reruns_the_report_alone(place):
    with (place / "stages" / "report.py").open("a") as file:
        file.write("# a change\n")
    assert ran(run(place, "dvc", "repro")) == {"report"}


def test_a_wrong_parameter_stops_everything_before_any_work(place):
    path = place / "params.yaml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("seed: 0", "seed: -1").replace("width: 8", "widht: 8"), encoding="utf-8")
    try:
        output = run(place, "dvc", "repro", status=255)
    finally:
        path.write_text(good, encoding="utf-8")
    assert ran(output) == {"validate"}
    assert "seed: -1 is not allowed" in output
    assert "scratch.lab_cnn.widht: unknown key. Did you mean 'width'?" in output
    assert "Traceback" not in output
    assert (place / "models" / "served" / "model.onnx").is_file()
    assert (place / "params.schema.json").is_file()


def test_a_change_to_the_loop_reruns_every_training_and_what_follows_with_the_same_figures(place, tmp_path):
    """In another folder, without what other runs left there, and with the data read, packed and split again as well."""
    other = tmp_path / "other"
    shutil.copytree(place, other, symlinks=True)
    (other / "backbones" / "mine.pth").unlink()
    for name in (".dvc/cache/runs", ".darkroom"):
        shutil.rmtree(other / name, ignore_errors=True)
    data = ("download", "pack", "split", "baseline")
    assert ran(run(other, "dvc", "repro", "--force", "--single-item", *data)) == set(data)
    with (other / "src" / "darkroom" / "training" / "engine" / "loop.py").open("a") as file:
        file.write("# a change\n")
    trainings = {"scratch@lab_cnn", "scratch@resnet9", "transfer@cifar10_backbone"}
    assert ran(run(other, "dvc", "repro")) == trainings | AFTER_TRAINING
    for name in FIGURES:
        assert (place / name).read_bytes() == (other / name).read_bytes(), name


def test_photos_with_odd_names_go_all_the_way_with_the_commands_of_the_readme(tmp_path):
    """From pretrained weights, without network access."""
    init, repro = readme_commands("Recipe 1: your own photos")
    folder, photos = clone(tmp_path / "clone", lambda parameters: None), tmp_path / "photos"
    names = ("été", "5 $ note", "日本語")
    members = {
        f"{name}/{number:02}.jpeg": encode(pixels(100 * place + number, 150, 130), "JPEG")
        for place, name in enumerate(names)
        for number in range(7)
    }
    broken = {"été/cut short.jpg": members["été/00.jpeg"][:80], "été/phone.heic": b"x", "cover.png": b"x"}
    write_folder(photos, {**members, **broken})
    run(folder, *shell(f"{init} --yes", {"~/photos": photos}))
    # A fifth of the pixels at which it was trained: most of the time would be spent in the network.
    edit(folder, lambda parameters: parameters["transfer"]["efficientnet_lite0"].update(input_size=96))
    stages = ran(run(folder, *shell(repro, {})))
    transfer = {"pretrained@efficientnet_lite0", "transfer@efficientnet_lite0"}
    assert stages == {
        "validate",
        "download",
        "pack",
        "split",
        "explore",
        "baseline",
        "labels",
        *transfer,
        *AFTER_TRAINING,
    }
    packed = open_packed(folder / "data" / "packed")
    assert {record.label for record in packed.records} == set(names)
    assert {item.name for item in packed.broken} == set(broken)
    data = files.read_json(folder / "metrics" / "data.json")
    assert (data["images"], data["broken"], data["unlabelled"], data["classes"]) == (21, 2, 1, 3)
    assert "日本語" in (folder / "reports" / "report.html").read_text(encoding="utf-8")
    card = candidate.read_card(folder / "models" / "served")
    assert (card.name, card.classes) == ("efficientnet_lite0", sorted(names))


def test_an_experiment_brings_animals_from_kaggle_all_the_way(tmp_path, monkeypatch):
    names = YAML(typ="safe").load(ROOT / "params.yaml")["datasets"]["animals10"]["source"]["classes"]
    members = class_folders({f"raw-img/{name}": 6 for name in names}, "JPEG")
    archive = write_zip(tmp_path / "animals10.zip", {**members, "translate.py": b"translate = {}"})

    def change(parameters: Any) -> None:
        parameters["scratch"] = {}  # the digits train these
        parameters["robustness"]["images"] = 10
        parameters["datasets"]["animals10"]["pack"]["image_size"] = 32

    folder = clone(tmp_path / "clone", change)
    (tmp_path / "home").mkdir()
    with serve(Kaggle({"/storage/animals10.zip": archive.read_bytes()}), KaggleHandler) as web:
        point_client_to(web, str(tmp_path / "home"), monkeypatch)
        settings = ["dataset=animals10", "datasets.animals10.training={epochs: 2, batch_size: 16}"]
        output = run(folder, "dvc", "exp", "run", *[part for setting in settings for part in ("-S", setting)])
        assert [call for call, _ in web.calls] == ["GetDatasetMetadata", "DownloadDataset"]
    assert ran(output) == set(STAGES) - {"scratch@lab_cnn", "scratch@resnet9"}
    assert "Ran experiment" in output
    data = files.read_json(folder / "metrics" / "data.json")
    assert (data["dataset"], data["licence"], data["images"]) == ("Animals-10", "GPL-2.0", 60)
    assert candidate.read_card(folder / "models" / "served").classes == sorted(names.values())
    report = (folder / "reports" / "report.md").read_text(encoding="utf-8")
    assert "https\\://www.kaggle.com/datasets/alessiocorrado99/animals10" in report
    assert "elephant" in report
    assert "elefante" not in report


@pytest.mark.shared
def test_cifar_as_jpeg_files_is_packed_and_split(shared, tmp_path):
    def change(parameters: Any) -> None:
        quick_folder(parameters)
        parameters["datasets"]["folder"]["source"]["path"] = str(shared / "data" / "cifar10-images.tar.gz")
        parameters["datasets"]["folder"]["pack"]["limit_per_class"] = 40

    folder = clone(tmp_path / "clone", change)
    run(folder, "dvc", "repro", "split")
    data = files.read_json(folder / "metrics" / "data.json")
    assert (data["classes"], data["images"], data["test"], data["broken"]) == (10, 800, 400, 0)
