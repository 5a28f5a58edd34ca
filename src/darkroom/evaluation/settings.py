"""Parameters of judging and reporting."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom.params import Section


class SelectSettings(Section):
    """How the best candidate is chosen: always on validation."""

    metric: Literal["accuracy", "macro_f1", "log_loss"] = "accuracy"
    """Accuracy and macro F1 are better higher, log loss lower."""


class ReportSettings(Section):
    """What stands on the report's first page."""

    title: Annotated[str, Field(min_length=1)] = "Image classification"
    """Stands above the report and on the first slide."""
    author: str = ""
    """Printed under the title when it is not empty."""
