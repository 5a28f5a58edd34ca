"""Decoding the images of a request, within the service's limits and a budget of CPU time."""

import time
from dataclasses import dataclass

from darkroom import images
from darkroom.candidate import Card
from darkroom.framing import Fit
from darkroom.images import Decoded
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


Opened = Decoded | Failure | int
"""An image, or a failure, or the number of pixels of an image that is decoded later."""


class Decoder:
    """Decodes the images of one request and measures their CPU time, over all threads.

    card: of the model, for the side of the square that it takes, and for what of an image is in it.
    """

    def __init__(self, card: Card, limits: ServeSettings) -> None:
        self.card, self.limits = card, limits
        self.seconds = 0.0
        self.begin = time.monotonic()

    def decode(self, upload: Upload, quick: bool, shown: int | None = None) -> Opened:
        """Return an upload as the model takes it, or why that is not possible.

        quick: do not decode a large image, but return its number of pixels. shown: return what the model sees for
        people instead, in its own proportions, as a square with this side in pixels: cropped, or else padded.
        """
        if self.seconds > COST:
            return Failure(422, "too_costly", "these images take too long to decode: send fewer or smaller images")
        most = None if not quick else 0 if self.seconds > QUICK else QUICK_PIXELS
        start = time.thread_time()  # of this thread only: waiting for others does not count
        try:
            fit: Fit = "pad" if shown and self.card.fit != "crop" else self.card.fit
            return _decode(upload, shown or self.card.image_size, fit, self.limits, most)
        finally:
            self.seconds += time.thread_time() - start


def _decode(upload: Upload, side: int, fit: Fit, limits: ServeSettings, most_pixels: int | None) -> Opened:
    if len(upload.data) > limits.max_megabytes * MEGABYTE:
        size = f"{len(upload.data) / MEGABYTE:.1f} MB"
        reason = f"{size} is more than the {limits.max_megabytes:g} MB allowed: make the image smaller"
        return Failure(413, "file_too_large", reason)
    allowed = int(limits.max_megapixels * 1_000_000)
    try:
        try:
            most = allowed if most_pixels is None else min(most_pixels, allowed)
            return images.decode(upload.data, side, most, fit=fit)
        except images.TooManyPixelsError as error:
            if most < error.pixels <= allowed:
                return error.pixels
            return images.decode(upload.data, side, allowed, fit=fit)  # its error gives the limit
    except images.ImageError as error:
        return Failure(422, "invalid_image", str(error))
