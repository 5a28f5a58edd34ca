"""Write the report as a web page, PDF, Markdown and slides.

python stages report --candidates models/candidates --best models/best.json
    --data metrics/data.json --evaluation plots/tables/scores.json --card data/card.md
    --per-class plots/per_class.csv --confusion plots/confusion.csv --tables plots/tables
    --robustness plots/robustness/summary.json --cost plots/cost --served models/served --labels plots/labels
    --figures plots/data plots/labels plots/evaluation plots/robustness plots/explanations plots/cost --out reports
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from darkroom.candidate_names import read_names
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.reporting.facts import Sources, gather
from darkroom.reporting.report import write_report
from darkroom.reporting.settings import ReportSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the facts and figures, and write the report in all formats."""
    parser = argparse.ArgumentParser(description="Write the report as a web page, PDF, Markdown and slides.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for field in fields(Sources):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=Path, required=True)
    parser.add_argument("--figures", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    facts = gather(
        Sources(**{field.name: getattr(arguments, field.name) for field in fields(Sources)}),
        read_names(arguments.params),
        params.load(arguments.params, ReportSettings, "report"),
        params.load(arguments.params, str, "dataset"),
        params.load(arguments.params, int, "seed"),
    )
    figures = {path.stem: path for folder in arguments.figures for path in sorted(folder.glob("*.png"))}
    augmented = arguments.candidates / facts.best.card.name / "augmented.png"
    if facts.best.card.epochs and augmented.is_file():
        figures["augmented"] = augmented
    if not any(entry.history for entry in facts.networks):
        figures.pop("learning_curves", None)
    with files.whole_directory(arguments.out) as folder:
        write_report(facts, figures, folder)
    print(f"wrote {arguments.out / 'report.html'}, report.pdf, report.md and slides.pptx")


if __name__ == "__main__":
    run(main)
