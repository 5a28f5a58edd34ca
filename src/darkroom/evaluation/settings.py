"""Parameters of the evaluation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from darkroom.foundations.params import Section


class SelectSettings(Section):
    """How the best candidate is chosen: always on validation."""

    metric: Literal["auto", "accuracy", "macro_f1", "log_loss"] = "auto"
    """`auto` is macro F1 where the largest class has over 1.5 times the images of the smallest, else accuracy."""
    prefer: Literal["best", "cheapest_within_noise"] = "best"
    """Take the one with the best `metric`, or of those within noise of it the one with the fewest parameters."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of the validation images that are to get confident answers; the others are unsure or foreign."""
    least_coverage: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Down to this share, where more than a tenth of generated foreign images would get confident answers otherwise."""
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """Folds of training and validation images that evaluate a probe as well, repeated for about ten fits; 0 is none."""

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves nothing to fit: take 5, or 0 for none")
        return folds


class RobustnessSettings(Section):
    """How the best network is tried on pictures made worse."""

    images: Annotated[int, Field(ge=0, le=1000)] = 200
    """Test images that are made worse, each in 21 ways; 0 leaves the trial out."""
