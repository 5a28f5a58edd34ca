import subprocess

import pytest
from ruamel.yaml import YAML

from darkroom import revision
from darkroom.commands import main, summary
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from tests.imports import ROOT


def scores(accuracy, low, high, macro_f1=0.5):
    return {"test": {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high, "macro_f1": macro_f1}}


def counts(**tests):
    return {"per_class": {name: {"train": 3 * n, "validation": n, "test": n} for name, n in tests.items()}}


def test_the_summary_names_the_best_its_interval_and_the_next_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files.write_json(
        summary.EVALUATION,
        {
            "candidates": {"net": scores(0.985, 0.96, 0.99), "baseline": scores(0.9, 0.85, 0.94)},
            "best": {"selective_prediction": {"out_of_distribution": {"photographs": {"confident": 0.53}}}},
        },
    )
    files.write_json(summary.DATA, counts(cat=40, dog=40))
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    main.run(["summary"])
    printed = capsys.readouterr().out
    assert "net        98.50%   96.00% to 99.00%  ← selected" in printed
    assert "baseline   90.00%   85.00% to 94.00%\n" in printed
    for part in ("acro", "always", "Fewer than", "These results differ from the commit"):
        assert part not in printed
    for part in (
        "It is the best.",
        "Warning: ",
        "53% of photographs still get a confident prediction",
        "report.html",
        "make serve",
        "/ui",
        "dvc metrics diff",
    ):
        assert part in printed


@pytest.mark.parametrize(("bar", "told"), [(0.95, True), (0.9, False)])
def test_a_baseline_that_leads_is_followed_by_advice(tmp_path, monkeypatch, bar, told):
    monkeypatch.chdir(tmp_path)
    candidates = {"net": scores(0.9, 0.85, 0.94), "baseline": scores(bar, 0.85, 0.99)}
    files.write_json(summary.EVALUATION, {"candidates": candidates})
    files.write_json(summary.DATA, counts(cat=40, dog=40))
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    advised = [line for line in summary.summary().splitlines() if "Try to improve net" in line]
    assert len(advised) == told
    assert advised == [line for line in summary.document()["warnings"] if "Try to improve net" in line]
    for line in advised:
        for fact in ("95.0% on test, compared with 90.0%", "docs/experiments.md"):
            assert fact in line


def test_macro_figures_and_the_majority_share_stand_there_where_classes_are_uneven(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    candidates = {"net": scores(0.97, 0.96, 0.98, 0.95), "blind": scores(0.98, 0.97, 0.99, 0.5)}
    files.write_json(summary.EVALUATION, {"candidates": candidates})
    files.write_json(summary.DATA, counts(common=380, rare=8, scarce=12))
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    lines = summary.summary().splitlines()
    heading = next(place for place, line in enumerate(lines) if line.startswith("Test scores: macro F1"))
    shown = [line.split() for line in lines[heading + 1 : heading + 4]]
    assert [row[0] for row in shown] == ["net", "blind", "always"]
    assert shown[0][1:3] == ["0.950", "97.00%"]
    assert shown[2][1:] == ["common", f"{2 * 0.95 / 1.95 / 3:.3f}", "95.00%"]
    assert "Fewer than 30 test images, so their scores are unreliable: rare (8), scarce (12)" in lines


@pytest.mark.parametrize(
    ("edited", "told"), [(["metrics/data.json"], True), (["metrics/data.json", "params.yaml"], False)]
)
def test_results_that_differ_from_the_commit_though_nothing_else_does_are_explained(
    tmp_path, monkeypatch, edited, told
):
    monkeypatch.chdir(tmp_path)
    files.write_json(summary.EVALUATION, {"candidates": {"net": scores(0.97, 0.96, 0.98)}})
    files.write_json(summary.DATA, counts(cat=40, dog=40))
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    files.write_text(tmp_path / "params.yaml", "seed: 0\n")
    commit()
    assert "These results differ from the commit" not in summary.summary()
    for name in edited:
        path = tmp_path / name
        path.write_text(f"{path.read_text(encoding='utf-8')}\n", encoding="utf-8")
    printed = summary.summary()
    assert ("These results differ from the commit" in printed) == told
    assert ("metrics/data.json. " in printed.replace("\n", " ")) == told
    assert revision.remade() == ["metrics/data.json"]


def commit():
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "One"]):
        subprocess.run(["git", *command], check=True)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (("a", "a", 153), ("b", "b", 183), "The test images differ from those of the last commit (153 then, 183 now)"),
        (("a", "a", 153), ("b", "a", 153), "The test images are the same, so the scores are comparable"),
        (("a", "a", 153), ("a", "a", 153), None),
        (("a", None, 153), ("b", "b", 183), None),  # a commit from before test_hash
        (None, ("b", "b", 183), None),
    ],
)
def test_a_change_of_the_data_since_the_commit_is_reported(tmp_path, monkeypatch, before, now, expected):
    def data(content, test, number):
        known = {"test_hash": test} if test else {}
        return {**counts(cat=40, dog=40), **known, "hash": content, "test": number, "images": 5 * number}

    monkeypatch.chdir(tmp_path)
    files.write_json(summary.EVALUATION, {"candidates": {"net": scores(0.97, 0.96, 0.98)}})
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    if before:
        files.write_json(summary.DATA, data(*before))
        commit()
    files.write_json(summary.DATA, data(*now))
    printed = summary.summary()
    assert "processor" not in printed
    if expected:
        assert expected in printed
    else:
        assert "comparable" not in printed


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
    assert {summary.EVALUATION.parent.as_posix(), summary.BEST.as_posix(), summary.REPORTS.as_posix()} <= outputs
