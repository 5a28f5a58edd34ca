"""Train a network from random weights.

    python stages/scratch.py resnet9 --dataset digits --packed data/packed --split data/split.csv \
        --out models/candidates/resnet9
"""

from collections.abc import Sequence

from darkroom import files, params
from darkroom.errors import run
from darkroom.training import batches, network, optimizer, session
from darkroom.training.batches import Data
from darkroom.training.network import Network
from darkroom.training.session import Start
from darkroom.training.settings import ScratchSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Train one entry of `scratch`."""
    arguments = session.parser("Train a network from random weights.", "scratch").parse_args(argv)
    settings = params.load(arguments.params, ScratchSettings, f"scratch.{arguments.name}")
    job = session.job(arguments, "scratch", settings)

    def begin(training: Data, classes: int) -> Start:
        description = {"architecture": settings.architecture, "width": settings.width}
        model = network.build(description, classes, training.images.shape[1], job.seed)
        whole = Network(model, *batches.statistics(training))
        words = f"{settings.architecture}, width {settings.width}, from random weights"
        return Start(whole, optimizer.groups([(whole, 1.0)], settings), description, words)

    with files.whole_directory(arguments.out) as out:
        card = session.fit(job, begin, out)
    print(f"{card.name}: best epoch {card.best_epoch} of {card.epochs}, {card.seconds:.0f} s")


if __name__ == "__main__":
    run(main)
