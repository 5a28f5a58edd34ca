"""Parameters of packaging and of the service; the service's parameters are stored next to the served model."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom.foundations.params import Section

Precision = Literal["float32", "int8"]
Shown = Literal["none", "names", "thumbnails"]
"""What a packaged model contains of its training images, besides their features if its thresholds need them."""
Host = Annotated[str, Field(pattern=r"^[a-z0-9_]([a-z0-9._-]*[a-z0-9])?$")]
"""A host name in lower case, without scheme and port."""


class PackageSettings(Section):
    """Packaging of the best network."""

    precision: Precision = "float32"
    """`int8` is a quarter of the size and often faster; it is calibrated on training images."""
    max_loss: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Largest drop in validation accuracy that int8 may cause, as a fraction; beyond it float32 is served."""
    neighbors: Shown = "names"
    """What predictions can show of the most similar training images: their names and classes, also `thumbnails` of 64
    pixels, or nothing. All of it is in the Bento, for up to 10,000 training images."""


class ServeSettings(Section):
    """Request limits, and the prediction log."""

    top_k: Annotated[int, Field(ge=1)] = 5
    """Number of labels per prediction, unless the request sets its own."""
    max_images: Annotated[int, Field(ge=1)] = 32
    """Largest number of images per request."""
    max_megabytes: Annotated[float, Field(gt=0)] = 10.0
    """Largest size of one file."""
    max_request_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Largest size of one request."""
    max_megapixels: Annotated[float, Field(gt=0)] = 50.0
    """Largest size of one decoded image."""
    max_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Timeout for receiving a request, and again for answering it."""
    drain_seconds: Annotated[float, Field(ge=0)] = 2.0
    """Time between SIGTERM and shutdown in which requests are still answered, but `/readyz` returns 503."""
    hosts: list[Host] = []
    """Host names under which users open the page, besides IP addresses, `localhost` and the machine's own name."""
    log: str | None = None
    """Folder for the prediction log and for corrections from the page; if not set, nothing is stored."""
    log_pictures: bool = False
    """Also store the uploaded images in the log folder."""
