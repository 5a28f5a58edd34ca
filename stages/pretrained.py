"""Fetch pretrained weights once and check them, so that training needs no network.

python stages/pretrained.py cifar10_backbone --out models/pretrained/cifar10_backbone
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from darkroom import files, params
from darkroom.errors import run
from darkroom.training import pretrained
from darkroom.training.settings import TransferSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch the weights of one entry of `transfer`."""
    parser = argparse.ArgumentParser(description="Fetch pretrained weights once and check them.")
    parser.add_argument("name", help="an entry of transfer in params.yaml")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, TransferSettings, f"transfer.{arguments.name}")
    with files.whole_directory(arguments.out) as out:
        card = pretrained.fetch(settings, out)
    print(f"{arguments.name}: {card.architecture}, {card.parameters:,} parameters")


if __name__ == "__main__":
    run(main)
