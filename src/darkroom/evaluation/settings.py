"""Parameters of the evaluation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from darkroom.foundations.params import Section


class SelectSettings(Section):
    """Selection of the best candidate, always on validation images."""

    metric: Literal["auto", "accuracy", "macro_f1", "log_loss"] = "auto"
    """`auto` is macro F1 if the largest class has over 1.5 times as many images as the smallest, else accuracy."""
    prefer: Literal["best", "cheapest_within_noise"] = "best"
    """Select the network with the best `metric`, or the one with the fewest parameters within noise of the best."""
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Fraction of the validation images that should get confident predictions."""
    least_coverage: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Lower limit of this fraction, used if over 10% of generated out-of-distribution images would be confident."""
    folds: Annotated[int, Field(ge=0, le=20)] = 0
    """Folds for cross-validating probes on training and validation images, repeated for about ten fits; 0 for none."""

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves no images to fit: use 5, or 0 for none")
        return folds


class RobustnessSettings(Section):
    """Measurement of the robustness to corrupted images."""

    images: Annotated[int, Field(ge=0, le=1000)] = 200
    """Number of test images to corrupt, each in 21 ways; 0 skips the measurement."""
