"""Write the model card of the best model.

python stages describe --candidates models/candidates --best models/best.json
    --data metrics/data.json --evaluation plots/tables/scores.json --card data/card.md
    --per-class plots/per_class.csv --confusion plots/confusion.csv --tables plots/tables
    --robustness plots/robustness/summary.json --out models/model_card.md
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from darkroom.candidate_names import read_names
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.reporting.facts import Sources, gather
from darkroom.reporting.rendering import render_model_card
from darkroom.reporting.settings import ReportSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the facts and write them as Markdown."""
    parser = argparse.ArgumentParser(description="Write the model card of the best model.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    omitted = ("cost", "served", "labels")  # measured times vary between runs, and labels describe the data
    sources = [field.name for field in fields(Sources) if field.name not in omitted]
    for name in (*sources, "out"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    arguments = parser.parse_args(argv)
    facts = gather(
        Sources(**{name: getattr(arguments, name) for name in sources}),
        read_names(arguments.params),
        ReportSettings(),
        params.load(arguments.params, str, "dataset"),
        params.load(arguments.params, int, "seed"),
    )
    files.write_text(arguments.out, render_model_card(facts))
    print(f"wrote {arguments.out} for {facts.best.card.name}")


if __name__ == "__main__":
    run(main)
