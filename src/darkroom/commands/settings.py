"""Parameters of the commands. No stage but `validate` reads them, so a change reruns nothing."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom.foundations.params import Section


class GateSettings(Section):
    """What `darkroom review` requires of a pull request. Differences within noise never fail."""

    metric: Literal["auto", "accuracy", "macro_f1"] = "auto"
    """Test metric to check; `auto` is macro F1 if classes are imbalanced, else accuracy, as for `select.metric`."""
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None
    """Lowest value allowed, as a fraction; the review fails if the whole 95% interval is below it."""
    max_loss: Annotated[float, Field(ge=0, le=1)] | None = 0.01
    """Largest loss allowed on the test images of both revisions, as a fraction; a larger, significant loss fails."""
