"""Parameters of the evaluation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from darkroom.foundations.params import Section


class SelectSettings(Section):
    """How the best candidate is selected, always on validation."""

    metric: Literal["auto", "accuracy", "macro_f1", "log_loss"] = "auto"
    """`auto` is macro F1 if the largest class has over 1.5 times as many images as the smallest, else accuracy."""
    prefer: Literal["best", "cheapest_within_noise"] = "best"
    """Select the network with the best `metric` or, of those within noise of it, the one with the fewest parameters."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of the validation images that should get confident answers; others are unsure or out-of-distribution."""
    least_coverage: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Lowest share to accept if more than 10% of generated out-of-distribution images would get confident answers."""
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """Folds for cross-validating probes on training and validation images, repeated for about ten fits; 0 for none."""

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves no images to fit: use 5, or 0 for none")
        return folds


class RobustnessSettings(Section):
    """How robustness to corrupted images is measured."""

    images: Annotated[int, Field(ge=0, le=1000)] = 200
    """Test images to corrupt, each in 21 ways; 0 skips the measurement."""
