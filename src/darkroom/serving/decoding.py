"""Decoding the images of a request, within the service's limits and a budget of CPU time."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from darkroom import images
from darkroom.serving.settings import ServeSettings
from darkroom.serving.uploads import MEGABYTE, Upload

COST = 4.0
"""Seconds of CPU time for decoding the images of one request; the remaining images are rejected.

A few bytes can decode to many pixels: 32 images within their limits could keep all threads busy for 10 s."""
QUICK = 0.05
"""Seconds of CPU time after which a request's other images are queued."""
QUICK_PIXELS = 1_000_000
"""Largest number of pixels of an image that is decoded without queueing, in about 0.02 s as a PNG."""


@dataclass(frozen=True)
class Failure:
    """Why one image has no prediction; `status` is the HTTP status if no image has one."""

    status: int
    code: str
    message: str


Opened = npt.NDArray[np.uint8] | Failure | int
"""Pixels of shape (S, S, 3), or a failure, or the number of pixels of an image that is decoded later."""


class Decoder:
    """Decodes the images of one request and measures their CPU time, over all threads.

    side: of the square that the model takes, in pixels.
    """

    def __init__(self, side: int, limits: ServeSettings) -> None:
        self.side, self.limits = side, limits
        self.seconds = 0.0
        self.begin = time.monotonic()

    def decode(self, upload: Upload, quick: bool, side: int | None = None) -> Opened:
        """Return the pixels of an upload, or why there are none.

        quick: do not decode a large image, but return its number of pixels. side: of the square, in pixels; by default
        the model's.
        """
        if self.seconds > COST:
            return Failure(422, "too_costly", "these images take too long to decode: send fewer or smaller images")
        most = None if not quick else 0 if self.seconds > QUICK else QUICK_PIXELS
        start = time.thread_time()  # of this thread only: waiting for others does not count
        try:
            return _decode(upload, side or self.side, self.limits, most)
        finally:
            self.seconds += time.thread_time() - start


def _decode(upload: Upload, side: int, limits: ServeSettings, most_pixels: int | None) -> Opened:
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
