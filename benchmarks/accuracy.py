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
                print(row(name, seed, arguments, Path(top)), flush=True)


def row(name: str, seed: int, arguments: argparse.Namespace, top: Path) -> str:
    """Train once; return the row of the table."""
    yaml = YAML()
    document = yaml.load(ROOT / "params.yaml")
    document["seed"] = seed
    document["scratch"] = {name: (document["scratch"] | document["zoo"])[name]}
    for change in arguments.changes:
        key, value = change.split("=", 1)
        place: Any = document
        for part in (parts := key.split("."))[:-1]:
            place = place[part]
        place[parts[-1]] = yaml.load(value)
    yaml.dump(document, top / "params.yaml")
    command = [sys.executable, ROOT / "stages/scratch.py", name, "--params", top / "params.yaml"]
    command += ["--dataset", arguments.dataset, "--packed", arguments.packed, "--split", arguments.split]
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
    predictions, split = candidate.read_predictions(top / "out"), packed.read_split(arguments.split)
    accuracies = [
        float((logits.argmax(1) == split.labels[split.rows(part)]).mean())
        for part, logits in (("validation", predictions.validation), ("test", predictions.test))
    ]
    figures = f"{card.seconds:.0f} | {whole:.0f} | {card.epochs} | {accuracies[0]:.2%} | {accuracies[1]:.2%}"
    return f"| `{name}` | {seed} | {figures} | {int(result.stdout.split()[-1]) / 1e6:.2f} |"


if __name__ == "__main__":
    main()
