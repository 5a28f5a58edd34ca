"""The served model: a prediction or a failure for each upload, in the same order."""

import asyncio
import io
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from darkroom import candidate, explaining, images
from darkroom.serving import integrity, served
from darkroom.serving.turns import Turns
from darkroom.serving.uploads import MEGABYTE, RequestError, Upload

Result = TypeVar("Result")
COST = 4.0
"""Seconds of CPU time for decoding the images of one request; the remaining images are rejected.

A few bytes can decode to many pixels: 32 images within their limits could keep all threads busy for 10 s."""
QUICK = 0.05
"""Seconds of CPU time after which a request's other images are queued."""
QUICK_PIXELS = 1_000_000
"""Largest number of pixels of an image that is decoded without queueing, in about 0.02 s as a PNG."""
SHOWN = (256, 768)
"""Smallest and largest side in pixels of an explained image."""
PIXELS = 25_000_000
"""Total pixels of larger images that are decoded at the same time, unless a single image has more."""


@dataclass(frozen=True)
class Answer:
    """The prediction for one image."""

    probabilities: npt.NDArray[np.float64]
    """Calibrated, 0 to 1, shape (classes,)."""
    confident: bool | None
    """Whether the prediction is as reliable as on validation; None if the model was evaluated without thresholds."""
    in_distribution: bool | None
    """Whether the image resembles the training images; None as above."""


@dataclass(frozen=True)
class Failure:
    """Why an image has no prediction; `status` is the HTTP status if no image has one."""

    status: int
    code: str
    message: str


Opened = npt.NDArray[np.uint8] | Failure | int
"""Pixels of shape (S, S, 3), or a failure, or the number of pixels of an image that is decoded later."""


@dataclass(frozen=True)
class Explanation:
    """The regions of an image that support a class."""

    label: str
    strongest: float
    """Largest change of the class's probability, 0 to 1, when a region is hidden."""
    png: bytes
    """The image's central square at its original size (within `SHOWN`) with the heat map over it, above a scale."""


class _Cost:
    """CPU time of decoding the images of a request so far, over all threads."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.begin = time.monotonic()

    def decode(self, model: "Model", upload: Upload, quick: bool, side: int | None = None) -> Opened:
        """Decode an upload as `Model.decode` does; `quick` returns the number of pixels of a large image instead."""
        if self.seconds > COST:
            return Failure(422, "too_costly", "these images take too long to decode: send fewer or smaller images")
        most = None if not quick else 0 if self.seconds > QUICK else QUICK_PIXELS
        start = time.thread_time()  # of this thread only: waiting for others does not count
        try:
            return model.decode(upload, most, side)
        finally:
            self.seconds += time.thread_time() - start


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
        self._threads = os.cpu_count() or 1
        # Separate pools keep decoding and prediction off the event loop. However many requests wait, at most two images
        # per core and one more are decoded at once, one of them large (`images.LARGE`).
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model")
        # Larger images are queued, and small ones do not wait for them. 16 clients with flat PNGs of 24.9 megapixels
        # delayed a small image by 3.6 s when images of up to 25 megapixels were decoded by the threads above.
        self._slow = ThreadPoolExecutor(self._threads, thread_name_prefix="slow")
        self._turns = Turns(PIXELS)
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")

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

    async def answer(self, uploads: Sequence[Upload]) -> list[Answer | Failure]:
        """Return one prediction or failure for each upload; a failure does not affect the others.

        Uploads are distributed over the threads, each of which processes its share in one batch.
        """
        size, cost = -(-len(uploads) // self._threads), _Cost()
        shares = [uploads[start : start + size] for start in range(0, len(uploads), size)]
        async with self._in_time():
            answered = await asyncio.gather(*(self._share(share, cost) for share in shares))
        return [answer for share in answered for answer in share]

    async def open(self, upload: Upload) -> npt.NDArray[np.uint8]:
        """Return the pixels of an upload, shape (S, S, 3). Raises RequestError when it is not an image."""
        async with self._in_time():
            return await self._open(upload, _Cost())

    async def explain(self, upload: Upload, label: str | None) -> Explanation:
        """Explain why an image is predicted as `label`, or as its most probable class.

        `label` is one of the classes. Raises RequestError when the image cannot be read.
        """
        async with self._in_time():
            cost = _Cost()
            pixels = await self._open(upload, cost)
            least, largest = SHOWN
            shown = await self._open(upload, cost, min(max(images.shorter_side(upload.data), least), largest))
            return await _run(self._explainer, self._explain, pixels, shown, label)

    async def _open(self, upload: Upload, cost: _Cost, side: int | None = None) -> npt.NDArray[np.uint8]:
        opened = await _run(self._pool, cost.decode, self, upload, True, side)
        if isinstance(opened, int):
            opened = await self._open_later(upload, opened, cost, side)
        if isinstance(opened, Failure):
            raise RequestError(opened.status, opened.code, opened.message)
        return opened

    async def _open_later(
        self, upload: Upload, size: int, cost: _Cost, side: int | None = None
    ) -> npt.NDArray[np.uint8] | Failure:
        """Decode an upload of `size` pixels when it is admitted."""
        async with self._turns.turn(size, cost.begin):
            opened = await _run(self._slow, cost.decode, self, upload, False, side)
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

    def decode(self, upload: Upload, most_pixels: int | None = None, side: int | None = None) -> Opened:
        """Return the pixels of one upload, or a failure, or the number of pixels if it has more than `most_pixels`.

        side: of the square, in pixels; by default the model's.
        """
        side = side or self.card.image_size
        limits = self.served.limits
        if len(upload.data) > limits.max_megabytes * MEGABYTE:
            size = f"{len(upload.data) / MEGABYTE:.1f} MB"
            reason = f"{size} is more than the {limits.max_megabytes:g} MB allowed: make the image smaller"
            return Failure(413, "file_too_large", reason)
        allowed = int(limits.max_megapixels * 1_000_000)
        try:
            try:
                most = allowed if most_pixels is None else min(most_pixels, allowed)
                return images.decode(upload.data, side, most).pixels
            except images.TooManyPixelsError as error:
                if most < error.pixels <= allowed:
                    return error.pixels
                return images.decode(upload.data, side, allowed).pixels  # its error gives the limit
        except images.ImageError as error:
            return Failure(422, "invalid_image", str(error))

    async def _share(self, uploads: Sequence[Upload], cost: _Cost) -> list[Answer | Failure]:
        opened, answers = await _run(self._pool, self._answer, uploads, cost)
        if answers is None:
            for place, upload in enumerate(uploads):
                if isinstance(size := opened[place], int):
                    opened[place] = await self._open_later(upload, size, cost)
            answers = await _run(self._pool, self._evaluate_opened, opened)
        return answers

    def _answer(self, uploads: Sequence[Upload], cost: _Cost) -> tuple[list[Opened], list[Answer | Failure] | None]:
        """Return the decoded uploads, and the predictions, which are None if some are queued for later."""
        opened = [cost.decode(self, upload, quick=True) for upload in uploads]
        return opened, None if any(isinstance(item, int) for item in opened) else self._evaluate_opened(opened)

    def _evaluate_opened(self, opened: Sequence[Opened]) -> list[Answer | Failure]:
        pixels = [item for item in opened if isinstance(item, np.ndarray)]
        answers = iter(self._evaluate(np.stack(pixels)) if pixels else ())
        return [item if isinstance(item, Failure) else next(answers) for item in opened]

    def _evaluate(self, pixels: npt.NDArray[np.uint8]) -> list[Answer]:
        logits = self.predictor.logits(pixels)
        probabilities = candidate.softmax(logits, self.card.temperature)
        if self.card.thresholds is None:
            return [Answer(row, None, None) for row in probabilities]
        known, confident = self.card.thresholds.verdicts(logits, self.card.temperature)
        rows = zip(probabilities, confident.tolist(), known.tolist(), strict=True)
        return [Answer(*row) for row in rows]

    def _explain(self, pixels: npt.NDArray[np.uint8], shown: npt.NDArray[np.uint8], label: str | None) -> Explanation:
        if label is None:
            label = self.card.classes[int(self.predictor.logits(pixels[np.newaxis]).argmax())]
        found = explaining.occlusion(self.predictor, pixels, self.card.classes.index(label))
        overlaid = explaining.overlay(shown, explaining.enlarge(found.heat, len(shown)))
        file = io.BytesIO()
        explaining.with_scale(overlaid, float(np.abs(found.heat).max())).save(file, "PNG")
        return Explanation(label, found.strongest, file.getvalue())


async def _run(pool: ThreadPoolExecutor, function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function on a thread of `pool`."""
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
