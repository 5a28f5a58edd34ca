"""Train a network that starts from pretrained weights.

    python stages transfer cifar10_backbone --dataset digits --packed data/packed --split data/split.csv \
        --pretrained models/pretrained/cifar10_backbone --features .darkroom/features \
        --checkpoints .darkroom/checkpoints --out models/candidates/cifar10_backbone
"""

from collections.abc import Sequence
from pathlib import Path

from darkroom.foundations import params
from darkroom.foundations.errors import run
from darkroom.training.engine import jobs, session
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import initialization, tuning


def main(argv: Sequence[str] | None = None) -> None:
    """Train one entry of `transfer`."""
    parser = jobs.parser("Train a network that starts from pretrained weights.", "transfer")
    parser.add_argument("--pretrained", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="cache of computed features, kept between runs")
    arguments = parser.parse_args(argv)
    settings = params.load(arguments.params, TransferSettings, f"transfer.{arguments.name}")
    folds = params.load(arguments.params, int, "select.folds")
    job = jobs.job(arguments, "transfer", settings)
    source = initialization.Source(arguments.pretrained, arguments.features, folds)
    with session.opened(job) as context:
        tuning.train(source, settings, context, arguments.out)


if __name__ == "__main__":
    run(main)
