"""Predictions of the served model for images in files, folders and archives, on all cores and in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom import candidate, images
from darkroom.candidate import Card
from darkroom.data import tree
from darkroom.data.archives import archive, layout
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Neighbor, Predictor

UNREADABLE = "unreadable_file"
SHARE = 16
"""Largest number of images that a thread processes in one batch."""


@dataclass(frozen=True)
class Failure:
    """Why an image has no prediction."""

    code: str
    message: str


@dataclass(frozen=True)
class Answer:
    """The prediction for one image, or an error."""

    name: str
    labels: list[tuple[str, float]]
    """Classes and their calibrated probabilities, most probable first; empty if there is an `error`."""
    confident: bool | None = None
    """None if the model was evaluated without thresholds, or if there is an `error`."""
    in_distribution: bool | None = None
    error: str = ""
    code: str = ""
    """With an `error`: `invalid_image`, as in the service, or `unreadable_file`."""
    neighbors: list[Neighbor] = field(default_factory=list)
    """The most similar training images, the most similar first; empty if not requested."""


def count(path: Path) -> int:
    """Return how many images `read` will yield for `path`."""
    if path.is_dir():
        return sum(1 for _ in tree.images(path))
    if not path.exists():
        raise DarkroomError(f"{naming.shown(path)} does not exist: give images, or folders or archives of them")
    return len(_members(path)) if archive.is_archive(path) else 1


def read(paths: Iterable[Path]) -> Iterator[tuple[str, Path | bytes | str]]:
    """Yield the name of each image with its path, its bytes (in an archive), or the reason why it cannot be read.

    Folders are searched by the same rules as for training. A file in `paths` counts as an image, whatever its name.
    """
    for path in paths:
        if path.is_dir():
            yield from ((str(file), file) for _, file in tree.images(path))
        elif archive.is_archive(path):
            yield from ((f"{path}/{name}", data) for name, data in archive.read(path, _members(path)))
        else:
            yield str(path), path


def _members(path: Path) -> set[str]:
    return {name for name in archive.names(path) if layout.is_image(name)}


def answer(
    predictor: Predictor, pictures: Iterator[tuple[str, Path | bytes | str]], top_k: int, neighbors: int = 0
) -> Iterator[Answer]:
    """Yield the prediction for each image, in order, computed on all cores in the same way as the service does."""
    size = min(SHARE, candidate.chunk_size(predictor.card.side))
    threads = os.cpu_count() or 1
    waiting: deque[Future[list[Answer]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        while share := list(islice(pictures, size)):
            waiting.append(pool.submit(_answer, predictor, share, top_k, neighbors))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _answer(
    predictor: Predictor, share: Sequence[tuple[str, Path | bytes | str]], top_k: int, neighbors: int
) -> list[Answer]:
    answers = predictor.answer([_decode(data, predictor.card) for _, data in share], neighbors)
    return [
        Answer(name, [], error=found.message, code=found.code)
        if isinstance(found, Failure)
        else Answer(
            name,
            found.top(predictor.card.classes, top_k),
            found.confident,
            found.in_distribution,
            neighbors=found.neighbors,
        )
        for (name, _), found in zip(share, answers, strict=True)
    ]


def _decode(data: Path | bytes | str, card: Card) -> npt.NDArray[np.uint8] | Failure:
    """Return the pixels of an image, or why it cannot be decoded."""
    if isinstance(data, str):
        return Failure(UNREADABLE, data)
    try:
        content = data if isinstance(data, bytes) else data.read_bytes()
        return images.decode(content, card.image_size, fit=card.fit).pixels
    except images.ImageError as error:
        return Failure("invalid_image", str(error))
    except OSError as error:
        return Failure(UNREADABLE, error.strerror or str(error))
