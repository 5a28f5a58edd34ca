"""Parameters of the commands. No stage but `validate` reads them, so a change reruns nothing."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from darkroom.foundations.params import Section


class GateSettings(Section):
    """What `darkroom review` requires of a pull request. Differences within noise never fail."""

    metric: Literal["auto", "accuracy", "macro_f1"] = "auto"
    """Test metric to check; `auto` is macro F1 if classes are imbalanced, else accuracy, as for `select.metric`."""
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None
    """Lowest value allowed, as a fraction; the review fails if the whole 95% interval is below it."""
    max_loss: Annotated[float, Field(ge=0, le=1)] | None = 0.01
    """Largest loss allowed on the test images of both revisions, as a fraction; a larger, significant loss fails."""


class FloatRange(Section):
    """Real numbers from `low` to `high`."""

    kind: Literal["float"] = "float"
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Search on a logarithmic scale, as for learning rates."""

    @model_validator(mode="after")
    def _fits_together(self) -> "FloatRange":
        return _check_range(self)


class IntRange(Section):
    """Whole numbers from `low` to `high`, inclusive."""

    kind: Literal["int"] = "int"
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    log: bool = False
    """Search on a logarithmic scale, as for widths."""

    @model_validator(mode="after")
    def _fits_together(self) -> "IntRange":
        return _check_range(self)


class Choice(Section):
    """One of a few values."""

    kind: Literal["choice"] = "choice"
    values: Annotated[list[bool | int | float | str | None], Field(min_length=1, max_length=100)]
    """The values to try, such as [sgd, adam]."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Choice":
        if any(value in self.values[:place] for place, value in enumerate(self.values)):
            raise ValueError(f"values: {self.values} contains a value twice: list each once")
        return self


Range = TypeVar("Range", FloatRange, IntRange)


def _check_range(found: Range) -> Range:
    if not found.low < found.high:
        raise ValueError(f"low: {found.low} is not below high, {found.high}: exchange or change them")
    if found.log and found.low <= 0:
        raise ValueError(f"low: {found.low} has no logarithm: set it above 0, or log to false")
    return found


Dimension = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]
"""What one parameter may be."""


class SweepSettings(Section):
    """What `darkroom sweep` searches. It evaluates on the validation images, never on the test images."""

    candidate: str = "resnet9"
    """The model whose training is searched: an entry of `scratch` or `transfer`."""
    metric: Literal["log_loss", "accuracy", "macro_f1"] = "log_loss"
    """Validation score to improve. The calibrated log loss still differs where accuracies are equal."""
    space: dict[str, Dimension] = {
        "scratch.resnet9.learning_rate": FloatRange(low=0.02, high=0.5, log=True),
        "scratch.resnet9.weight_decay": FloatRange(low=0.00005, high=0.005, log=True),
        "scratch.resnet9.label_smoothing": FloatRange(low=0.0, high=0.2),
    }
    """Parameters by dotted name: of the candidate, or the data set's `augment` or `training`."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """`tpe` learns from earlier trials, `random` does not, `grid` tries every combination of choices and integers."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Stops a trial early: `median` if it is worse than half of the others after as many epochs."""
    trials: Annotated[int, Field(ge=1, le=10_000)] = 30
    """Trials in total, the committed parameters included."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """After this time, no new trial is started."""
