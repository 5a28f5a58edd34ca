"""The served model's outputs for image files, on all cores and in bounded memory, cached by content."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from darkroom import candidate, images, neighbors
from darkroom.data.archives import unpacking
from darkroom.foundations import files
from darkroom.predictor import Pixels, Predictor
from darkroom.training.transfer.cache import FeatureCache

SHARE = 16
"""Largest number of images that a thread processes in one batch."""
SAVED = 256
"""Outputs that are written to the cache at a time: after an interruption, about this many are computed again."""
VERSION = 1
"""Part of the cache's keys: to be increased when the same file and model give other outputs, as with a new decoder."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """An image file with the outputs of the model, or with the reason why there are none."""

    name: str
    """Its path in the folder."""
    path: Path
    sha256: str = ""
    """SHA-256 of its bytes, 64 hexadecimal digits; empty if it cannot be read."""
    logits: Floats | None = None
    """Shape (classes,); None if the file cannot be read or is one of those that are only hashed."""
    embedded: Floats | None = None
    """What the model's index searches for, shape (dimensions,); None also if the model has no index."""
    error: str = ""
    """Why the file cannot be read."""


@dataclass
class _Computed:
    """Outputs that are not in the cache yet."""

    digests: list[bytes] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    seconds: float = 0.0


class Scorer:
    """Computes the outputs of the model in a folder, or finds them in a cache."""

    def __init__(self, model: Path, cache: Path) -> None:
        """Open the model. Raises DarkroomError when there is none.

        cache: folder of the cache, whose keys are the hashes of an image file and of the model.
        """
        self.predictor = Predictor(model, threads=1)
        card, index = self.predictor.card, model / neighbors.NAME
        parts = [files.sha256(model / "model.onnx"), files.sha256(index) if index.is_file() else "no index"]
        self._extractor = " ".join(["curate", str(VERSION), *parts, str(card.image_size), card.fit])
        self._cache = FeatureCache(cache)
        self._size = min(SHARE, candidate.chunk_size(card.side))

    def score(self, found: Iterator[tuple[str, Path]], only_hashed: Collection[str]) -> Iterator[Scored]:
        """Yield the result for each (name, file), in order; files with a SHA-256 in `only_hashed` get no outputs."""
        threads = os.cpu_count() or 1
        waiting: deque[Future[tuple[list[Scored], _Computed]]] = deque()
        new = _Computed()
        try:
            with ThreadPoolExecutor(threads) as pool:
                while True:
                    while len(waiting) <= 2 * threads and (share := list(islice(found, self._size))):
                        waiting.append(pool.submit(self._score, share, only_hashed))
                    if not waiting:
                        break
                    scored, computed = waiting.popleft().result()
                    new = self._added(new, computed)
                    yield from scored
        finally:
            self._save(new)

    def _score(self, share: Sequence[tuple[str, Path]], only_hashed: Collection[str]) -> tuple[list[Scored], _Computed]:
        scored = [_hashed(name, path) for name, path in share]
        wanted = [place for place, each in enumerate(scored) if each.sha256 and each.sha256 not in only_hashed]
        found = self._cache.load(self._extractor, [bytes.fromhex(scored[place].sha256) for place in wanted])
        # The cache contains 16-bit numbers: these are the halves of float32 outputs, so that nothing is rounded.
        cached = iter(found.features.view(np.float32))
        start, pixels = time.monotonic(), {}
        for place, known in zip(wanted, found.known.tolist(), strict=True):
            if known:
                scored[place] = self._with(scored[place], next(cached))
            else:
                scored[place], decoded = self._decoded(scored[place])
                pixels.update({place: decoded} if decoded is not None else {})
        if not pixels:
            return scored, _Computed()
        logits, embedded = self.predictor.embedded(np.stack(list(pixels.values())))
        values = list(logits if embedded is None else np.concatenate([logits, embedded], axis=1))
        for place, row in zip(pixels, values, strict=True):
            scored[place] = self._with(scored[place], row)
        digests = [bytes.fromhex(scored[place].sha256) for place in pixels]
        return scored, _Computed(digests, values, time.monotonic() - start)

    def _with(self, each: Scored, values: Floats) -> Scored:
        classes = len(self.predictor.card.classes)
        return replace(each, logits=values[:classes], embedded=values[classes:] if self.predictor.index else None)

    def _decoded(self, each: Scored) -> tuple[Scored, Pixels | None]:
        """Return a file with the hash of exactly the bytes that were decoded: it may be being copied to the folder."""
        card = self.predictor.card
        try:
            data = each.path.read_bytes()
            pixels = images.decode(data, card.image_size, fit=card.fit).pixels
        except images.ImageError as error:
            return replace(each, sha256="", error=str(error)), None
        except OSError as error:
            return replace(each, sha256="", error=error.strerror or str(error)), None
        return replace(each, sha256=hashlib.sha256(data).hexdigest()), pixels

    def _added(self, new: _Computed, computed: _Computed) -> _Computed:
        """Return both together, or nothing after they were saved."""
        both = _Computed(new.digests + computed.digests, new.values + computed.values, new.seconds + computed.seconds)
        if len(both.digests) < SAVED:
            return both
        self._save(both)
        return _Computed()

    def _save(self, new: _Computed) -> None:
        if new.digests:
            halves = np.stack(new.values).view(np.float16)
            self._cache.save(self._extractor, new.digests, halves, new.seconds)


def _hashed(name: str, path: Path) -> Scored:
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return Scored(name, path, error="its name is not UTF-8: rename it")
    try:
        if (size := path.stat().st_size) > unpacking.MAX_MEMBER:
            return Scored(name, path, error=unpacking.too_large(size))
        return Scored(name, path, files.sha256(path))
    except OSError as error:
        return Scored(name, path, error=error.strerror or str(error))
