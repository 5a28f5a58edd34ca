"""Parameters of judging and reporting."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom.params import Section


class SelectSettings(Section):
    """How the best candidate is chosen: always on validation."""

    metric: Literal["auto", "accuracy", "macro_f1", "log_loss"] = "auto"
    """`auto` is macro F1 where the largest class has over 1.5 times the images of the smallest, else accuracy."""


class ReportSettings(Section):
    """What stands on the report's first page."""

    title: Annotated[str, Field(min_length=1)] = "Image classification"
    """Stands above the report and on the first slide."""
    author: str = ""
    """Printed under the title when it is not empty."""
