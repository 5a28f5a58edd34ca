import pytest
from ruamel.yaml import YAML

from darkroom import files
from darkroom.commands import main, summary
from darkroom.errors import DarkroomError
from tests.imports import ROOT


def scores(accuracy, low, high):
    return {"test": {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}}


def test_the_summary_names_the_best_its_interval_and_the_next_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files.write_json(
        summary.EVALUATION,
        {
            "candidates": {"net": scores(0.985, 0.96, 0.99), "baseline": scores(0.9, 0.85, 0.94)},
            "best": {"doubt": {"outsiders": {"photographs": {"confident": 0.53}}}},
        },
    )
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    main.run(["summary"])
    printed = capsys.readouterr().out
    assert "net        98.50%   96.00% to 99.00%  ← best network on validation" in printed
    assert "baseline   90.00%   85.00% to 94.00%\n" in printed
    for part in (
        "It is the best.",
        "Warning: ",
        "53% of photographs still get a confident answer",
        "report.html",
        "make serve",
        "/ui",
        "dvc metrics diff",
    ):
        assert part in printed


def test_before_the_first_run_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkroomError, match="is missing: run `make run`"):
        summary.summary()


def test_its_paths_are_outputs_of_the_pipeline():
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    outputs = set()
    for stage in stages:
        for entry in [*stage.get("outs", []), *stage.get("metrics", [])]:
            outputs.add(next(iter(entry)) if isinstance(entry, dict) else entry)
    assert {summary.EVALUATION.as_posix(), summary.BEST.as_posix(), summary.REPORTS.as_posix()} <= outputs
