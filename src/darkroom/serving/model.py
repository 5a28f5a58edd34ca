"""The served model: uploads in, answers or reasons out, one for each upload and in the same order."""

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
from PIL import Image

from darkroom import candidate, explaining, images
from darkroom.predictor import Predictor
from darkroom.serving import served
from darkroom.serving.uploads import MEGABYTE, RequestError, Upload

Result = TypeVar("Result")
COST = 4.0
"""Seconds of processor time that opening the images of one request may take; what is left then is refused.

A few bytes can be many pixels: each image is within its limits, and 32 of them would keep every thread for 10 s."""
QUICK = 0.25
"""Seconds of them after which a request goes on on the slow thread."""
QUICK_PIXELS = 25_000_000
"""The largest image that the quick threads open, about 0.5 s for a PNG; phones make 12 million."""


@dataclass(frozen=True)
class Answer:
    """What the model says to one picture."""

    probabilities: npt.NDArray[np.float64]
    """Calibrated, 0 to 1, shape (classes,)."""
    confident: bool | None
    """Whether the answer can be relied on as on validation; None where the model was judged without that."""
    in_distribution: bool | None
    """Whether the picture looks like one of the classes at all; None as above."""


@dataclass(frozen=True)
class Failure:
    """Why one picture has no answer; `status` is the HTTP status that fits when none of the pictures has one."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Explanation:
    """Which places of a picture speak for a class."""

    label: str
    strongest: float
    """How far the class's probability moves, 0 to 1, when the place is hidden that matters most."""
    png: bytes
    """Of S × S pixels."""


class _Cost:
    """What opening the images of a request has cost so far, on all threads together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def decode(self, model: "Model", upload: Upload, quick: bool) -> npt.NDArray[np.uint8] | Failure | None:
        """Open an upload; None for what a quick thread must leave to the slow one."""
        if quick and self.seconds > QUICK:
            return None
        if self.seconds > COST:
            return Failure(422, "too_costly", "these images take too long to open: send fewer or smaller ones")
        start = time.thread_time()  # of this thread alone: waiting for others costs nothing
        try:
            return model.decode(upload, QUICK_PIXELS if quick else None)
        except images.TooManyPixelsError:
            return None
        finally:
            self.seconds += time.thread_time() - start


class Model:
    """A served folder, opened once a process and shared by its threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = served.read(folder)
        # One thread a call, and as many calls at once as there are cores. Measured on two busy cores with a small
        # network: 1.3 to 2 times the images a second of two threads a call, for one client and for many.
        # Requests are not gathered into batches: on a processor eight images in one call take 10% less each with
        # lab_cnn and with resnet9 (0.113 for 0.125 ms, 1.75 for 1.92), and an answer would wait for strangers.
        self.predictor = Predictor(folder, threads=1)
        self.card = self.predictor.card
        self._threads = os.cpu_count() or 1
        # A pool of its own: decoding and answering keep off the event loop, and however many requests wait, no more
        # pictures than cores and one more are open at once, one of them large (`images.LARGE`).
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model")
        # What takes long waits for its like alone: two requests of many large pictures kept a small one for 12 s.
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="slow")

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Raise RequestError 504 when the block takes longer than a request may."""
        limit = self.served.limits.max_seconds
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            message = f"no answer within {limit:g} s: send fewer images, or try again later"
            raise RequestError(504, "timeout", message) from None

    async def _run(self, function: Callable[..., Result], *arguments: object, slow: bool = False) -> Result:
        """Call a function on the model's threads."""
        pool = self._slow if slow else self._pool
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    async def answer(self, uploads: Sequence[Upload]) -> list[Answer | Failure]:
        """Return one answer for each upload; an upload that cannot be read does not disturb the others.

        Several uploads are shared out among the threads, each of which answers its share in one batch.
        """
        size, cost = -(-len(uploads) // self._threads), _Cost()
        shares = [uploads[start : start + size] for start in range(0, len(uploads), size)]
        async with self._in_time():
            answered = await asyncio.gather(*(self._share(share, cost) for share in shares))
        return [answer for share in answered for answer in share]

    async def open(self, upload: Upload) -> None:
        """Return when the upload is known to be an image. Raises RequestError when it is none."""
        async with self._in_time():
            pixels = await self._run(self.decode, upload, slow=True)
        if isinstance(pixels, Failure):
            raise RequestError(pixels.status, pixels.code, pixels.message)

    async def explain(self, upload: Upload, label: str | None) -> Explanation:
        """Return why a picture is answered with `label`, or with its most probable class.

        `label` is one of the classes. Raises RequestError when the picture cannot be read.
        """
        async with self._in_time():
            return await self._run(self._explain, upload, label, slow=True)

    def label(self, text: str) -> str | None:
        """Return the class that the option `label` names, None where it is empty. Raises RequestError for another.

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
        """End the threads."""
        for pool in (self._pool, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    def decode(self, upload: Upload, most_pixels: int | None = None) -> npt.NDArray[np.uint8] | Failure:
        """Return the pixels of one upload, shape (S, S, 3), or why there are none.

        Raises TooManyPixelsError where it has more than `most_pixels`, and that is less than is allowed.
        """
        limits = self.served.limits
        if len(upload.data) > limits.max_megabytes * MEGABYTE:
            size = f"{len(upload.data) / MEGABYTE:.1f} MB"
            reason = f"{size} is more than the {limits.max_megabytes:g} MB allowed: make the picture smaller"
            return Failure(413, "file_too_large", reason)
        try:
            max_pixels = int(limits.max_megapixels * 1_000_000)
            most = min(most_pixels or max_pixels, max_pixels)
            return images.decode(upload.data, self.card.image_size, most).pixels
        except images.ImageError as error:
            if most < max_pixels and isinstance(error, images.TooManyPixelsError):
                raise
            return Failure(422, "invalid_image", str(error))

    async def _share(self, uploads: Sequence[Upload], cost: _Cost) -> list[Answer | Failure]:
        decoded, answers = await self._run(self._answer, uploads, cost, ())
        if answers is None:
            _, answers = await self._run(self._answer, uploads, cost, decoded, slow=True)
        assert answers is not None
        return answers

    def _answer(
        self, uploads: Sequence[Upload], cost: _Cost, before: Sequence[npt.NDArray[np.uint8] | Failure | None]
    ) -> tuple[list[npt.NDArray[np.uint8] | Failure | None], list[Answer | Failure] | None]:
        """Return what the uploads are when opened, and the answers, which are None where some are not opened yet.

        Those are None, and what is left to the slow thread: it is given what came of the others `before`.
        """
        decoded = list(before) or [None] * len(uploads)
        for place, upload in enumerate(uploads):
            if decoded[place] is None:
                decoded[place] = cost.decode(self, upload, quick=not before)
        if any(item is None for item in decoded):
            return decoded, None
        pixels = [item for item in decoded if isinstance(item, np.ndarray)]
        answers = iter(self._judge(np.stack(pixels)) if pixels else ())
        return decoded, [item if isinstance(item, Failure) else next(answers) for item in decoded]

    def _judge(self, pixels: npt.NDArray[np.uint8]) -> list[Answer]:
        logits = self.predictor.logits(pixels)
        probabilities = candidate.softmax(logits, self.card.temperature)
        if self.card.doubt is None:
            return [Answer(row, None, None) for row in probabilities]
        known, confident = self.card.doubt.verdicts(logits, self.card.temperature)
        rows = zip(probabilities, confident.tolist(), known.tolist(), strict=True)
        return [Answer(*row) for row in rows]

    def _explain(self, upload: Upload, label: str | None) -> Explanation:
        pixels = self.decode(upload)
        if isinstance(pixels, Failure):
            raise RequestError(pixels.status, pixels.code, pixels.message)
        if label is None:
            label = self.card.classes[int(self.predictor.logits(pixels[np.newaxis]).argmax())]
        heat = explaining.occlusion(self.predictor, pixels, self.card.classes.index(label))
        file = io.BytesIO()
        Image.fromarray(explaining.overlay(pixels, heat)).save(file, "PNG")
        return Explanation(label, float(np.abs(heat).max()), file.getvalue())
