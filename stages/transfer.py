"""Train a network that starts from pretrained weights.

    python stages/transfer.py cifar10_backbone --dataset digits --packed data/packed --split data/split.csv \
        --pretrained models/pretrained/cifar10_backbone --out models/candidates/cifar10_backbone
"""

from collections.abc import Sequence
from pathlib import Path

from darkroom import params
from darkroom.errors import run
from darkroom.training import session, transfer
from darkroom.training.batches import Data
from darkroom.training.session import Start
from darkroom.training.settings import TransferSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Train one entry of `transfer`."""
    parser = session.parser("Train a network that starts from pretrained weights.", "transfer")
    parser.add_argument("--pretrained", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, TransferSettings, f"transfer.{arguments.name}")
    job = session.job(arguments, "transfer", settings)

    def begin(training: Data, classes: int) -> Start:
        return transfer.start(arguments.pretrained, settings, classes, training.size, job.seed)

    session.train(job, begin, arguments.out)


if __name__ == "__main__":
    run(main)
