"""Train recipes of params.yaml on packed images and give time and accuracy on the test split, for several seeds.

    python benchmarks/accuracy.py data/packed data/split.csv airbench --dataset cifar10 --seeds 0 1 2
    python benchmarks/accuracy.py data/packed data/split.csv vgg1 vgg2 vgg3 -S datasets.cifar10.augment.flip=false

Entries are looked for in `scratch` and `zoo`. Each training is the stage as DVC runs it, in a process of its own;
`seconds` are those of the training, `whole` those of the process, from its start to the exported model. No test-time
tricks. `-S` changes a parameter as `dvc exp run` does. Prints a Markdown table.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from darkroom import candidate, packed

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train recipes and give time and accuracy.")
    parser.add_argument("packed", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("names", nargs="+", metavar="NAME", help="an entry of scratch or zoo")
    parser.add_argument("--dataset", default="cifar10", help="whose augmentation and epochs to take")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("-S", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    columns = ("recipe", "seed", "seconds", "whole", "epochs", "validation", "test", "memory, GB")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name in arguments.names:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as top:
                result = train(
                    name, seed, arguments.packed, arguments.split, Path(top), arguments.dataset, arguments.changes
                )
                print(result.row(), flush=True)


@dataclass(frozen=True)
class Training:
    """What one training came to."""

    name: str
    seed: int
    seconds: float
    """Of the training alone."""
    whole: float
    """Seconds of the process, from its start to the exported model."""
    epochs: int
    validation: float
    """Accuracy, 0 to 1."""
    test: float
    peak: float
    """GB of memory that the process had at most."""

    def row(self) -> str:
        """Return the row of the table."""
        figures = f"{self.seconds:.0f} | {self.whole:.0f} | {self.epochs} | {self.validation:.2%} | {self.test:.2%}"
        return f"| `{self.name}` | {self.seed} | {figures} | {self.peak:.2f} |"


def train(
    name: str, seed: int, folder: Path, split_path: Path, top: Path, dataset: str, changes: list[str]
) -> Training:
    """Train an entry of params.yaml once, with `top` for all that is written."""
    yaml = YAML()
    document = yaml.load(ROOT / "params.yaml")
    document["seed"] = seed
    document["scratch"] = {name: (document["scratch"] | document["zoo"])[name]}
    for change in changes:
        key, value = change.split("=", 1)
        place: Any = document
        for part in (parts := key.split("."))[:-1]:
            place = place[part]
        place[parts[-1]] = yaml.load(value)
    yaml.dump(document, top / "params.yaml")
    command = [sys.executable, ROOT / "stages", "scratch", name, "--params", top / "params.yaml"]
    command += ["--dataset", dataset, "--packed", folder, "--split", split_path]
    command += ["--checkpoints", top / "checkpoints", "--out", top / "out"]
    # A process of its own does the waiting, so that the peak is this training's and no earlier one's.
    code = (
        "import resource, subprocess, sys; status = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    )
    begin = time.perf_counter()
    waiter = [sys.executable, "-c", code, *(str(part) for part in command)]
    result = subprocess.run(waiter, stdout=subprocess.PIPE, text=True, check=True)
    whole = time.perf_counter() - begin
    card = candidate.read_card(top / "out")
    predictions, split = candidate.read_predictions(top / "out"), packed.read_split(split_path)
    validation, test = (
        float((logits.argmax(1) == split.labels[split.rows(part)]).mean())
        for part, logits in (("validation", predictions.validation), ("test", predictions.test))
    )
    peak = int(result.stdout.split()[-1]) / 1e6
    return Training(name, seed, card.seconds, whole, card.epochs or 0, validation, test, peak)


if __name__ == "__main__":
    main()
