"""Train a network from random weights.

    python stages scratch resnet9 --dataset digits --packed data/packed --split data/split.csv \
        --checkpoints .darkroom/checkpoints --out models/candidates/resnet9
"""

from collections.abc import Sequence

import torch

from darkroom import packed
from darkroom.foundations import params
from darkroom.foundations.errors import run
from darkroom.training.engine import jobs, optimizer, seeds, session
from darkroom.training.engine.session import Context, Start
from darkroom.training.networks import network
from darkroom.training.networks.network import Network
from darkroom.training.settings import ScratchSettings

SEEN, PIXELS = 1000, 2**24
"""Largest number of images passed to the network's `prepare` before training, and of their pixels in total."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train one entry of `scratch`."""
    arguments = jobs.parser("Train a network from random weights.", "scratch").parse_args(argv)
    settings = params.load(arguments.params, ScratchSettings, f"scratch.{arguments.name}")
    with session.opened(jobs.job(arguments, "scratch", settings)) as context:
        session.train(context, start(settings, context), arguments.out)


def start(settings: ScratchSettings, context: Context) -> Start:
    """Return the network with random weights, adapted to some of the training images."""
    job, training, classes = context.job, context.training, len(context.split.classes)
    description = {"architecture": settings.architecture, "width": settings.width}
    model = network.build(description, classes, training.size, job.seed)
    whole = Network(model, *packed.channel_statistics(job.packed, context.split.rows("train")))
    order = torch.randperm(len(training), generator=seeds.generator(job.seed, seeds.LOOK))
    some = order[: min(SEEN, max(1, PIXELS // training.size**2))]
    network.prepare(whole, training.take(some).cpu())
    words = f"{settings.architecture}, width {settings.width}, from random weights"
    return Start(whole, optimizer.groups([(whole, 1.0)], settings), description, words)


if __name__ == "__main__":
    run(main)
