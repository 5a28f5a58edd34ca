"""Time each network's answer and set its accuracy against it.

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
    """Time every network, and write and draw the prices."""
    parser = argparse.ArgumentParser(description="Time each network's answer and set its accuracy against it.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("candidates", "evaluation", "metrics", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args(argv)
    evaluation = files.read_json(arguments.evaluation)
    names = [name for name in read_names(arguments.params) if name != BASELINE]
    prices = [costs.measure(arguments.candidates / name) for name in names]
    tests = {name: evaluation["candidates"][name]["test"] for name in names}
    scores = {name: (test["accuracy"], test["accuracy_low"], test["accuracy_high"]) for name, test in tests.items()}
    milliseconds = {price.candidate: price.milliseconds for price in prices}
    with files.whole_directory(arguments.out) as out:
        table = pd.DataFrame(prices).assign(test_accuracy=[scores[name][0] for name in names])
        frames.write(out / "cost.csv", table, escape=False)
        if len(prices) > 1:  # one point shows nothing that the table does not
            plotting.save(accuracy_by_cost(milliseconds, scores, evaluation["best"]["name"]), out / "cost.png")
    best = next(price for price in prices if price.candidate == evaluation["best"]["name"])
    files.write_json(arguments.metrics, costs.headline(best))
    for price in sorted(prices, key=lambda each: each.milliseconds):
        print(f"{price.candidate}: {price.milliseconds:.2f} ms an image, {price.megabytes:.1f} MB")


if __name__ == "__main__":
    run(main)
