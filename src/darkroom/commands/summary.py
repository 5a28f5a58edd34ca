"""What the last run came to, in a few lines."""

from pathlib import Path
from typing import Any

from darkroom import doubt, files
from darkroom.errors import DarkroomError

# Outputs that dvc.yaml names; a test compares.
EVALUATION = Path("metrics/evaluation.json")
BEST = Path("models/best.json")
REPORTS = Path("reports")


def summary() -> str:
    """Return the candidates with their test accuracies, which is best and why, and what to do next.

    Raises DarkroomError when the pipeline has not run yet.
    """
    for path in (EVALUATION, BEST):
        if not path.is_file():
            raise DarkroomError(f"{path} is missing: run `make run` or `dvc repro` first")
    evaluation, best = files.read_json(EVALUATION), files.read_json(BEST)
    candidates: dict[str, Any] = evaluation["candidates"]
    width = max(map(len, candidates))
    lines = ["", "Test accuracy, with its 95% interval"]
    for name, scores in sorted(candidates.items(), key=lambda item: -item[1]["test"]["accuracy"]):
        test = scores["test"]
        mark = "  ← best network on validation" if name == best["name"] else ""
        interval = f"{test['accuracy_low']:.2%} to {test['accuracy_high']:.2%}"
        lines.append(f"  {name:<{width}}  {test['accuracy']:7.2%}   {interval}{mark}")
    return "\n".join(
        [
            *lines,
            "",
            best["reason"],
            *_foreign(evaluation),
            "",
            f"  Report   {REPORTS / 'report.html'}  (also .pdf, .md, slides.pptx)",
            "  Serve    make serve, then open http://localhost:3000/ui",
            "  Compare  dvc metrics diff, dvc plots diff",
            "",
        ]
    )


def _foreign(evaluation: dict[str, Any]) -> list[str]:
    """Say how many images that show none of the classes get a confident answer."""
    worth = evaluation.get("best", {}).get("doubt") or {"outsiders": {}}
    text = doubt.describe({kind: figures["confident"] for kind, figures in worth["outsiders"].items()})
    return [text] if text else []
