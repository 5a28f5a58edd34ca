"""The served model: a prediction or a failure for each upload, in the same order."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from darkroom import explaining, framing, images
from darkroom.images import Decoded
from darkroom.predictor import Answer
from darkroom.serving import integrity, served, thumbnails
from darkroom.serving.decoding import Decoder, Failure, Opened
from darkroom.serving.turns import Turns
from darkroom.serving.uploads import RequestError, Upload

Result = TypeVar("Result")
SHOWN = (256, 768)
"""Smallest and largest side in pixels of an explained image: of its square, or its longer side if all of it is seen."""
NEIGHBORS = 10
"""Largest number of training images that a prediction contains."""
PIXELS = 25_000_000
"""Total pixels of larger images that are decoded at the same time, unless a single image has more."""


@dataclass(frozen=True)
class Explanation:
    """The regions of an image that support a class."""

    label: str
    strongest: float
    """Largest change of the class's probability, 0 to 1, when a region is hidden."""
    png: bytes
    """What the model sees of the image, the central square or all of it, at its original size (within `SHOWN`) and
    proportions, with the heat map over it, above a scale."""


class Model:
    """A served folder, loaded once per process and shared by its threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = served.read(folder)
        # One thread per call, and as many concurrent calls as cores. On two busy cores with a small network, this gave
        # 1.3 to 2 times the images per second of two threads per call, for one client and for many. Requests are not
        # batched together: on a CPU, eight images in one call save only 10% per image with lab_cnn and resnet9 (0.113
        # instead of 0.125 ms, 1.75 instead of 1.92), and a response would wait for other requests.
        self.predictor = integrity.open_verified(folder, self.served)
        self.card = self.predictor.card
        self.thumbnails = thumbnails.read(folder)
        """JPEG files of the training images in the index; empty if they are not served."""
        self._threads = os.cpu_count() or 1
        # Separate pools keep decoding and prediction off the event loop. However many requests wait, at most two images
        # per core and one more are decoded at once, one of them large (`images.LARGE`).
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model")
        # Larger images are queued, and small ones do not wait for them. 16 clients with flat PNGs of 24.9 megapixels
        # delayed a small image by 3.6 s when images of up to 25 megapixels were decoded by the threads above.
        self._slow = ThreadPoolExecutor(self._threads, thread_name_prefix="slow")
        self._turns = Turns(PIXELS)
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")

    def _decoder(self) -> Decoder:
        """Return what opens the images of one request."""
        return Decoder(self.card, self.served.limits)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Raise RequestError 504 when the block takes longer than the limit for a request."""
        limit = self.served.limits.max_seconds
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            message = f"no response within {limit:g} s: send fewer images, or try again later"
            raise RequestError(504, "timeout", message) from None

    async def answer(self, uploads: Sequence[Upload], neighbors: int = 0) -> list[Answer | Failure]:
        """Return one prediction or failure for each upload; a failure does not affect the others.

        `neighbors` is the number of training images that a prediction contains, if the model shows them. Uploads are
        distributed over the threads, each of which processes its share in one batch.
        """
        size, decoder = -(-len(uploads) // self._threads), self._decoder()
        shares = [uploads[start : start + size] for start in range(0, len(uploads), size)]
        async with self._in_time():
            answered = await asyncio.gather(*(self._share(share, decoder, neighbors) for share in shares))
        return [answer for share in answered for answer in share]

    @property
    def shows_neighbors(self) -> bool:
        """Whether predictions can contain the most similar training images."""
        return self.predictor.index is not None and bool(self.predictor.index.names)

    def neighbors(self, text: str) -> int:
        """Return the number in the option `neighbors`. Raises RequestError if it is invalid or there are none."""
        if not (text.isascii() and text.isdecimal() and len(text) < 4 and int(text) <= NEIGHBORS):
            raise RequestError(
                422, "invalid_neighbors", f"neighbors is {text[:20]!r}: give a whole number from 0 to {NEIGHBORS}"
            )
        if int(text) and not self.shows_neighbors:
            raise RequestError(
                422, "no_neighbors", "this model contains no names of training images: omit neighbors, or set it to 0"
            )
        return int(text)

    async def open(self, upload: Upload) -> npt.NDArray[np.uint8]:
        """Return the pixels of an upload, shape (S, S, 3). Raises RequestError when it is not an image."""
        async with self._in_time():
            return (await self._open(upload, self._decoder())).pixels

    async def explain(self, upload: Upload, label: str | None) -> Explanation:
        """Explain why an image is predicted as `label`, or as its most probable class.

        `label` is one of the classes. Raises RequestError when the image cannot be read.
        """
        async with self._in_time():
            decoder = self._decoder()
            seen = await self._open(upload, decoder)
            least, largest = SHOWN
            shorter, longer = images.sides(upload.data)
            side = shorter if self.card.fit == "crop" else longer
            shown = await self._open(upload, decoder, min(max(side, least), largest))
            return await _run(self._explainer, self._explain, seen, shown, label)

    async def _open(self, upload: Upload, decoder: Decoder, shown: int | None = None) -> Decoded:
        opened = await _run(self._pool, decoder.decode, upload, True, shown)
        if isinstance(opened, int):
            opened = await self._open_later(upload, opened, decoder, shown)
        if isinstance(opened, Failure):
            raise RequestError(opened.status, opened.code, opened.message)
        return opened

    async def _open_later(
        self, upload: Upload, size: int, decoder: Decoder, shown: int | None = None
    ) -> Decoded | Failure:
        """Decode an upload of `size` pixels when it is admitted."""
        async with self._turns.turn(size, decoder.begin):
            opened = await _run(self._slow, decoder.decode, upload, False, shown)
        assert not isinstance(opened, int)
        return opened

    def label(self, text: str) -> str | None:
        """Return the class given by the option `label`, None if it is empty. Raises RequestError for an unknown class.

        BentoML's client writes options as JSON: a class in quotes.
        """
        if text in self.card.classes:
            return text
        with suppress(ValueError, RecursionError):
            if (value := json.loads(text)) in self.card.classes:
                return cast(str, value)
        if not text:
            return None
        shown = ", ".join(self.card.classes[:10]) + (", …" if len(self.card.classes) > 10 else "")
        raise RequestError(422, "unknown_label", f"label is {text[:50]!r}: give one of {shown}")

    def close(self) -> None:
        """Stop the threads."""
        for pool in (self._pool, self._slow, self._explainer):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _share(self, uploads: Sequence[Upload], decoder: Decoder, neighbors: int) -> list[Answer | Failure]:
        opened, answers = await _run(self._pool, self._answer, uploads, decoder, neighbors)
        if answers is not None:
            return answers
        decoded = [
            await self._open_later(upload, item, decoder) if isinstance(item, int) else item
            for upload, item in zip(uploads, opened, strict=True)
        ]
        return await _run(self._pool, self._predict, decoded, neighbors)

    def _answer(
        self, uploads: Sequence[Upload], decoder: Decoder, neighbors: int
    ) -> tuple[list[Opened], list[Answer | Failure] | None]:
        """Return what the uploads are when opened, and the answers, which are None where some are left for later."""
        opened = [decoder.decode(upload, quick=True) for upload in uploads]
        decoded = [item for item in opened if not isinstance(item, int)]
        return opened, self._predict(decoded, neighbors) if len(decoded) == len(opened) else None

    def _predict(self, decoded: Sequence[Decoded | Failure], neighbors: int) -> list[Answer | Failure]:
        pixels = [item.pixels if isinstance(item, Decoded) else item for item in decoded]
        return self.predictor.answer(pixels, neighbors)

    def _explain(self, seen: Decoded, shown: Decoded, label: str | None) -> Explanation:
        if label is None:
            label = self.card.classes[int(self.predictor.logits(seen.pixels[np.newaxis]).argmax())]
        found = explaining.occlusion(self.predictor, seen.pixels, self.card.classes.index(label))
        # Back from the model's square to the image: without bars, and in the image's proportions.
        size, fit = (seen.width, seen.height), self.card.fit
        heat = framing.content(*size, len(found.heat), fit).cut(found.heat)
        picture = framing.content(*size, len(shown.pixels), "crop" if fit == "crop" else "pad").cut(shown.pixels)
        overlaid = explaining.overlay(picture, explaining.enlarge(heat, (picture.shape[1], picture.shape[0])))
        file = io.BytesIO()
        explaining.with_scale(overlaid, float(np.abs(heat).max())).save(file, "PNG")
        return Explanation(label, found.strongest, file.getvalue())


async def _run(pool: ThreadPoolExecutor, function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function on a thread of `pool`."""
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
