"""Parameters of packaging and of the service; those of the service are stored beside the served model."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom.foundations.params import Section

Precision = Literal["float32", "int8"]
Host = Annotated[str, Field(pattern=r"^[a-z0-9_]([a-z0-9._-]*[a-z0-9])?$")]
"""A host's name as browsers write it: lower case, no scheme and no port."""


class PackageSettings(Section):
    """How the chosen network is packaged."""

    precision: Precision = "float32"
    """`int8` is a quarter of the size and often faster; its ranges are measured on training images."""
    max_loss: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Validation accuracy, as a share, that int8 may cost; if it costs more, float32 is served and a line says so."""


class ServeSettings(Section):
    """What one request may ask for."""

    top_k: Annotated[int, Field(ge=1)] = 5
    """Labels an answer gives when the request does not say."""
    max_images: Annotated[int, Field(ge=1)] = 32
    """Images a request."""
    max_megabytes: Annotated[float, Field(gt=0)] = 10.0
    """Size of one file."""
    max_request_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Size of one request."""
    max_megapixels: Annotated[float, Field(gt=0)] = 50.0
    """Size of one picture once it is open."""
    max_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Time that a request may take to arrive, and as much again to be answered."""
    drain_seconds: Annotated[float, Field(ge=0)] = 2.0
    """Time for which the service still answers after SIGTERM, with `/readyz` saying 503; then it ends."""
    hosts: list[Host] = []
    """Names under which browsers reach the page, besides IP addresses, `localhost` and the machine's own name."""
    log: str | None = None
    """Folder for a log of the answers and for corrections from the page; without it nothing is kept."""
    log_pictures: bool = False
    """Keep the pictures beside the log of the answers, too."""
