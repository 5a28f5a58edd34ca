"""Measure size and latency of each network and compare them with its accuracy.

python stages cost --candidates models/candidates --evaluation plots/tables/scores.json
    --metrics metrics/cost.json --out plots/cost
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from darkroom import frames, plotting
from darkroom.candidate_names import BASELINE, read_names
from darkroom.evaluation.checks import costs
from darkroom.evaluation.figures.cost import accuracy_by_cost
from darkroom.foundations import files
from darkroom.foundations.errors import run


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every network, and write and draw the costs."""
    parser = argparse.ArgumentParser(description="Measure size and latency of each network.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("candidates", "evaluation", "metrics", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args(argv)
    evaluation = files.read_json(arguments.evaluation)
    names = [name for name in read_names(arguments.params) if name != BASELINE]
    measured = [costs.measure(arguments.candidates / name) for name in names]
    tests = {name: evaluation["candidates"][name]["test"] for name in names}
    scores = {name: (test["accuracy"], test["accuracy_low"], test["accuracy_high"]) for name, test in tests.items()}
    milliseconds = {cost.candidate: cost.milliseconds for cost in measured}
    with files.whole_directory(arguments.out) as out:
        table = pd.DataFrame(measured).assign(test_accuracy=[scores[name][0] for name in names])
        frames.write(out / "cost.csv", table, escape=False)
        if len(measured) > 1:  # a plot of one point adds nothing to the table
            plotting.save(accuracy_by_cost(milliseconds, scores, evaluation["best"]["name"]), out / "cost.png")
    best = next(cost for cost in measured if cost.candidate == evaluation["best"]["name"])
    files.write_json(arguments.metrics, costs.headline(best))
    for cost in sorted(measured, key=lambda each: each.milliseconds):
        print(f"{cost.candidate}: {cost.milliseconds:.2f} ms per image, {cost.megabytes:.1f} MB")


if __name__ == "__main__":
    run(main)
