"""Parameters of the data stages."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from darkroom.foundations import naming
from darkroom.foundations.params import ONE_LINE, Section


def _class_name(name: str) -> str:
    if reason := naming.fault(name):
        raise ValueError(f"it {reason}")
    return name


ClassNames = dict[str, Annotated[str, Field(min_length=1), AfterValidator(_class_name)]]
"""Folder name to class name."""


class DigitsSource(Section):
    """The 1,797 handwritten digits that come with scikit-learn: 8×8 pixels, ten classes, no download."""

    kind: Literal["digits"] = "digits"


class FolderSource(Section):
    """Your own pictures in class folders, as a folder or an archive; `data/inbox/` when nothing is given."""

    kind: Literal["folder"] = "folder"
    path: str | None = None
    """A folder of class folders, or a zip or tar archive of them."""
    url: str | None = None
    """Address of such an archive."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the archive: required with `url`, checked with either."""
    classes: ClassNames = {}
    """Class names in place of folder names, as FOLDER: CLASS; folders that are not listed keep theirs."""

    @model_validator(mode="after")
    def _one_place(self) -> "FolderSource":
        if self.path and self.url:
            raise ValueError("give either path or url, not both")
        if self.url and not self.sha256:
            raise ValueError("a url needs its sha256, so that everyone gets the same bytes")
        return self


class CifarSource(Section):
    """CIFAR-10: 60,000 photographs of 32×32 pixels, ten classes, 170 MB; the official test split is kept."""

    kind: Literal["cifar10"] = "cifar10"
    mirror: str | None = None
    """Address or path of `cifar-10-python.tar.gz`, tried first, as is what `DARKROOM_CIFAR10_MIRROR` says."""


class KaggleSource(Section):
    """An image set of Kaggle's in class folders, fetched by its own client."""

    kind: Literal["kaggle"] = "kaggle"
    dataset: str
    """OWNER/NAME as in the set's address on kaggle.com, or OWNER/NAME/VERSION."""
    classes: ClassNames = {}
    """Class names in place of folder names, as FOLDER: CLASS; folders that are not listed keep theirs."""
    title: Annotated[str, ONE_LINE] | None = None
    """Name of the data set in the report."""
    licence: Annotated[str, ONE_LINE] = "see its page on Kaggle"
    """Licence of the pictures, for the report."""

    @field_validator("dataset")
    @classmethod
    def _slug(cls, dataset: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*(/\d+)?", dataset, re.ASCII):
            raise ValueError("write OWNER/NAME or OWNER/NAME/VERSION, as in the set's address on kaggle.com")
        return dataset


Source = Annotated[DigitsSource | FolderSource | CifarSource | KaggleSource, Field(discriminator="kind")]

Fraction = Annotated[float, Field(gt=0, lt=0.5)]
"""A share of the images, above 0 and below one half."""


class SplitSettings(Section):
    """How large the splits are; the rest trains.

    A split that the source brings along is kept, and the shares are of the images that it leaves free.
    """

    validation: Fraction = 0.15
    """Share of the images that chooses, stops and calibrates."""
    test: Fraction = 0.2
    """Share of the images that is only ever scored."""
    grow: Literal["train", "all"] = "train"
    """Where images added later go: train leaves the test images as they are; all draws them from all images again."""
    near_copies: Annotated[int, Field(ge=0, le=16)] = 8
    """Bits of 64 by which perceptual hashes of near copies may differ; 0 looks for exact copies alone."""


class PackSettings(Section):
    """How pictures become arrays."""

    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    """Side of the square that pictures are resized to, in pixels."""
    limit_per_class: Annotated[int, Field(ge=4)] | None = None
    """Take at most this many pictures of each class and split, for quick runs."""
