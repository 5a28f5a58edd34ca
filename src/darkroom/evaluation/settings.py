"""Parameters of judging and reporting."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom.params import Section


class SelectSettings(Section):
    """How the best candidate is chosen: always on validation."""

    metric: Literal["auto", "accuracy", "macro_f1", "log_loss"] = "auto"
    """`auto` is macro F1 where the largest class has over 1.5 times the images of the smallest, else accuracy."""
    prefer: Literal["best", "cheapest_within_noise"] = "best"
    """Take the one with the best `metric`, or of those within noise of it the one with the fewest parameters."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of the validation images that the served model is to be sure about; it calls the others unsure."""


class ReportSettings(Section):
    """What stands on the report's first page."""

    title: Annotated[str, Field(min_length=1)] = "Image classification"
    """Stands above the report and on the first slide."""
    author: str = ""
    """Printed under the title when it is not empty."""
