"""Plot the data set (samples, class balance, sizes, brightness, copies) and write its data card.

python stages explore --packed data/packed --split data/split.csv --copies data/copies.csv
    --metrics metrics/data.json --out plots/data --card data/card.md
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom import frames
from darkroom.data.explore import card, figures
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.packed import open_packed, read_split


def main(argv: Sequence[str] | None = None) -> None:
    """Write the figures to a folder and the data card to a file."""
    parser = argparse.ArgumentParser(description="Plot the data set and write its data card.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--copies", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card", type=Path, required=True)
    arguments = parser.parse_args(argv)
    seed = params.load(arguments.params, int, "seed")
    packed, split = open_packed(arguments.packed), read_split(arguments.split)
    with files.whole_directory(arguments.out) as out:
        names = figures.draw(packed, split, frames.read(arguments.copies), seed, out)
    labels = [split.classes[label] for label in split.labels.tolist()]
    described = card.describe(packed, files.read_json(arguments.metrics), labels)
    files.write_text(arguments.card, described)
    print(f"drew {', '.join(names)}")


if __name__ == "__main__":
    run(main)
