"""Summary of the last run in a few lines."""

import json
from pathlib import Path
from typing import Any

from darkroom import balance, revision, thresholds
from darkroom.candidate_names import BASELINE
from darkroom.foundations import files, naming
from darkroom.foundations.errors import DarkroomError
from darkroom.markdown import percent, score
from darkroom.reporting import advice

# Outputs of the stages; a test compares them with dvc.yaml.
EVALUATION = Path("plots/tables/scores.json")
DATA = Path("metrics/data.json")
BEST = Path("models/best.json")
REPORTS = Path("reports")


def summary() -> str:
    """Return the candidates' test scores, which one was selected and why, warnings, and next steps.

    Raises DarkroomError when the pipeline has not run yet.
    """
    evaluation, best, data = _read()
    counts: balance.Counts = data["per_class"]
    return "\n".join(
        [
            "",
            *_scores(evaluation["candidates"], best["name"], counts),
            "",
            best["reason"],
            *_behind(evaluation["candidates"], best["name"], counts),
            *_foreign(evaluation),
            *_few_tests(counts),
            *_data(data),
            *_remade(data),
            "",
            f"  Report   {REPORTS / 'report.html'}  (also .pdf, .md, slides.pptx)",
            "  Serve    make serve, then open http://localhost:3000/ui",
            "  Compare  dvc metrics diff, dvc plots diff",
            "",
        ]
    )


def document() -> dict[str, Any]:
    """Return the same for JSON: selected candidate, test scores (fractions) of all candidates, warnings.

    Raises DarkroomError when the pipeline has not run yet.
    """
    evaluation, best, data = _read()
    counts = data["per_class"]
    advised = _behind(evaluation["candidates"], best["name"], counts)
    warnings = [*advised, *_foreign(evaluation), *_few_tests(counts), *_data(data)]
    return {
        "selected": best["name"],
        "reason": best["reason"],
        "candidates": {name: scores["test"] for name, scores in evaluation["candidates"].items()},
        "test_hash": data.get("test_hash"),
        "results_differ_from_commit": bool(_remade(data)),
        "warnings": warnings,
    }


def _read() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the evaluation, the selected candidate, and the facts of the data."""
    for path in (EVALUATION, DATA, BEST):
        if not path.is_file():
            raise DarkroomError(f"{path} is missing: run `make run` or `dvc repro` first")
    return files.read_json(EVALUATION), files.read_json(BEST), files.read_json(DATA)


def _behind(candidates: dict[str, Any], chosen: str, counts: balance.Counts) -> list[str]:
    """Return what to do if the baseline scores higher than the selected network."""
    if not (bar := candidates.get(BASELINE)):
        return []
    text = advice.behind(naming.shown(chosen), candidates[chosen], bar, balance.are_uneven(counts))
    return [f"{text}; docs/experiments.md shows how."] if text else []


def _foreign(evaluation: dict[str, Any]) -> list[str]:
    """Return how many out-of-distribution images get a confident prediction."""
    selective = evaluation.get("best", {}).get("selective_prediction") or {"out_of_distribution": {}}
    text = thresholds.describe(
        {kind: figures["confident"] for kind, figures in selective["out_of_distribution"].items()}
    )
    return [text] if text else []


def _scores(candidates: dict[str, Any], chosen: str, counts: balance.Counts) -> list[str]:
    """Return one line per candidate, sorted by test accuracy, or by macro F1 if classes are imbalanced."""
    uneven = balance.are_uneven(counts)
    always = balance.majority(counts)
    majority = f"always {naming.shown(always.name)}"
    width = max(map(len, [*candidates, majority] if uneven else candidates))
    lead = "macro_f1" if uneven else "accuracy"
    if uneven:
        lines = ["Test scores: macro F1, in which all classes have equal weight, and accuracy with its 95% interval"]
    else:
        lines = ["Test accuracy with its 95% confidence interval"]
    for name, scores in sorted(candidates.items(), key=lambda item: -item[1]["test"][lead]):
        test = scores["test"]
        macro = f"{score(test['macro_f1']):<6}  " if uneven else ""
        interval = f"{percent(test['accuracy_low'], 2)} to {percent(test['accuracy_high'], 2)}"
        mark = "  ← selected" if name == chosen else ""
        lines.append(f"  {name:<{width}}  {macro}{percent(test['accuracy'], 2):>7}   {interval}{mark}")
    if uneven:
        lines.append(f"  {majority:<{width}}  {score(always.macro_f1):<6}  {percent(always.accuracy, 2):>7}")
    return lines


def _few_tests(counts: balance.Counts) -> list[str]:
    """Return a warning about classes with too few test images for reliable scores, the smallest first."""
    if not (small := balance.with_few_tests(counts)):
        return []
    named = naming.listed([f"{name} ({images:,})" for name, images in small], most=5)
    scores = "its scores are" if len(small) == 1 else "their scores are"
    return [f"Fewer than {balance.FEW} test images, so {scores} unreliable: {named}"]


def _data(data: dict[str, Any]) -> list[str]:
    """Return what a change of the data since the last commit means for comparing scores with the committed ones."""
    before = _committed_data()
    if not before or before.get("test_hash") is None:  # a commit from before test_hash
        return []
    if before["test_hash"] != data.get("test_hash"):
        return [
            f"The test images differ from those of the last commit ({before['test']:,} then, {data['test']:,} now), "
            "so the scores are not comparable."
        ]
    if before["hash"] != data["hash"]:
        counts = f" ({before['images']:,} images then, {data['images']:,} now)" * (before["images"] != data["images"])
        return [
            f"The images or their splits differ from those of the last commit{counts}. The test images are the same, "
            "so the scores are comparable: see `dvc metrics diff`."
        ]
    return []


def _committed_data() -> dict[str, Any]:
    """Return `metrics/data.json` of the last commit, or an empty dictionary."""
    try:
        found: dict[str, Any] = json.loads(revision.committed(DATA) or "{}")
    except ValueError:  # a merge was committed with conflict markers
        return {}
    return found


def _remade(data: dict[str, Any]) -> list[str]:
    """Return an explanation and remedy if only the tracked results differ from the commit."""
    rebuilt = revision.remade()
    if not rebuilt or revision.changed() or _committed_data().get("hash", data.get("hash")) != data.get("hash"):
        return []
    return [
        "",
        "These results differ from the commit, although code, parameters and data do not: "
        f"{naming.listed(rebuilt, most=5)}.",
        "Another processor rounds differently. CONTRIBUTING.md describes what to do.",
    ]
