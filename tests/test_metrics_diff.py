"""What a reviewer reads: `dvc metrics diff` after a change of the networks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from darkroom.candidate import Predictions, read_predictions, write_predictions
from darkroom.data.split import summary
from darkroom.foundations import files
from stages import cost, robustness
from tests import factories
from tests.imports import ROOT
from tests.test_stage_evaluate import run as evaluate

MOST = 25
NETWORKS = ("small", "medium", "large")


def call(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def write_counts(top: Path, **more: object) -> None:
    """Write the counts as the stage split does; `more` replaces facts about the data."""
    data = {**files.read_json(top / "metrics" / "data.json"), **more}
    files.write_json(top / "metrics" / "data.json", data)
    files.write_json(top / "metrics" / "images.json", {name: data[name] for name in summary.COMPARED})


def run_stages(top: Path) -> None:
    """Run the stages that write metrics after training."""
    write_counts(top)
    evaluate(top)
    places = {name: top / place for name, place in {"params": "params.yaml", "candidates": "models/candidates"}.items()}
    evaluated = {
        "best": top / "models" / "best.json",
        "packed": top / "data" / "packed",
        "split": top / "data/split.csv",
    }
    scores = {"evaluation": top / "plots" / "tables" / "scores.json"}
    for stage, asked in ((robustness, evaluated), (cost, scores)):
        name = stage.__name__.rpartition(".")[2]
        written = {"metrics": top / "metrics" / f"{name}.json", "out": top / "plots" / name}
        arguments = {**places, **asked, **written}
        stage.main([part for key, path in arguments.items() for part in (f"--{key}", str(path))])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with four evaluated candidates, and the metrics that dvc.yaml names committed."""
    top = factories.write_project(tmp_path_factory.mktemp("project"), networks=NETWORKS, noise=120)
    run_stages(top)
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    metrics = [name for stage in stages for entry in stage.get("metrics", []) for name in entry]
    YAML().dump({"metrics": metrics}, top / "dvc.yaml")
    identity = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    call(top, "git", "init", "--quiet")
    call(top, sys.executable, "-m", "dvc", "init", "--quiet")
    call(top, "git", "add", "dvc.yaml", "metrics")
    call(top, "git", *identity, "commit", "--quiet", "--message", "first")
    return top


def test_a_change_of_every_network_prints_few_rows_all_worth_reading(project):
    split = project / "data" / "split.csv"
    for place, name in enumerate(("baseline", *NETWORKS)):
        error = 0.1 + 0.05 * place
        folder = project / "models" / "candidates" / name
        factories.write_candidate(
            folder, project / "data" / "packed", split, "baseline" if name == "baseline" else "scratch", error
        )
    run_stages(project)
    printed = call(project, sys.executable, "-m", "dvc", "metrics", "diff").strip().splitlines()
    rows = [line.split() for line in printed[1:]]
    assert 8 <= len(rows) <= MOST, "\n".join(printed)
    assert {Path(row[0]).name for row in rows} <= {"evaluation.json", "robustness.json", "cost.json"}
    for row in rows:
        assert row[-1] not in ("0.0", "-0.0"), row
    shown = json.loads(call(project, sys.executable, "-m", "dvc", "metrics", "diff", "--json", "--all"))
    leaves = [key for path, keys in shown.items() if path != "metrics/images.json" for key in keys]
    assert len(leaves) <= MOST
    assert "metrics/data.json" not in shown
    assert not any("seconds" in key.removesuffix("milliseconds") for key in leaves)


def test_added_images_are_a_few_more_rows_and_no_hash(project):
    """Uses the networks of the test above, which all differ from the commit."""
    data = files.read_json(project / "metrics" / "data.json")
    counts = {"images": data["images"] + 10, "train": data["train"] + 8, "validation": data["validation"] + 2}
    write_counts(project, **counts, hash="0" * 64, test_hash="1" * 64, title="Other", per_class={})
    printed = call(project, sys.executable, "-m", "dvc", "metrics", "diff").strip().splitlines()
    rows = [line.split() for line in printed[1:]]
    assert 11 <= len(rows) <= MOST, "\n".join(printed)
    assert {row[1] for row in rows if row[0].endswith("images.json")} == set(counts)
    assert max(map(len, printed)) <= 120


def test_another_processors_rounding_does_not_show(project):
    before = (project / "metrics" / "evaluation.json").read_bytes()
    random = np.random.default_rng(0)
    for folder in (project / "models" / "candidates").iterdir():
        found = read_predictions(folder)
        parts = [
            part + random.normal(0, 1e-6, part.shape).astype(np.float32) for part in (found.validation, found.test)
        ]
        write_predictions(folder, Predictions(*parts))
    scores = (project / "plots" / "tables" / "scores.json").read_bytes()
    evaluate(project)
    assert (project / "plots" / "tables" / "scores.json").read_bytes() != scores
    assert (project / "metrics" / "evaluation.json").read_bytes() == before


def test_the_metrics_are_the_rounded_scores_that_the_report_tells(project):
    scores = files.read_json(project / "plots" / "tables" / "scores.json")
    compared = files.read_json(project / "metrics" / "evaluation.json")
    best = scores["candidates"][compared["best"]["name"]]["test"]
    for key in ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high", "log_loss"):
        assert compared["best"][f"test_{key}"] == round(best[key], 4)
    for name, each in compared["candidates"].items():
        test = scores["candidates"][name]["test"]
        assert each == {"test_accuracy": round(test["accuracy"], 4), "test_macro_f1": round(test["macro_f1"], 4)}
