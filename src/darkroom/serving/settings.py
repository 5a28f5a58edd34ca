"""Parameters of the service, stored beside the served model."""

from typing import Annotated

from pydantic import Field

from darkroom.params import Section


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
