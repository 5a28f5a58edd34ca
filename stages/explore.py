"""Draw the data: samples, class balance, sizes, copies.

python stages/explore.py --packed data/packed --split data/split.csv --out plots/data
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom import files, params
from darkroom.data import pictures
from darkroom.errors import run
from darkroom.packed import open_packed, read_split


def main(argv: Sequence[str] | None = None) -> None:
    """Draw into one folder."""
    parser = argparse.ArgumentParser(description="Draw the data.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    seed = params.load(arguments.params, int, "seed")
    packed, split = open_packed(arguments.packed), read_split(arguments.split)
    with files.whole_directory(arguments.out) as out:
        names = pictures.draw(packed, split, seed, out)
    print(f"drew {', '.join(names)}")


if __name__ == "__main__":
    run(main)
