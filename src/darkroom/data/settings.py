"""Parameters of the data stages."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from darkroom.foundations import naming
from darkroom.foundations.params import ONE_LINE, Section
from darkroom.framing import Fit


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
    """Your own images in class folders, as a folder or an archive; by default those in `data/inbox/`."""

    kind: Literal["folder"] = "folder"
    path: str | None = None
    """A folder of class folders, or a zip or tar archive of them."""
    url: str | None = None
    """URL of such an archive."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the archive. Required with `url`, optional with `path`; always verified."""
    classes: ClassNames = {}
    """Maps folder names to class names, as FOLDER: CLASS. Folders that are not listed keep their names."""

    @model_validator(mode="after")
    def _one_place(self) -> "FolderSource":
        if self.path and self.url:
            raise ValueError("give either path or url, not both")
        if self.url and not self.sha256:
            raise ValueError("a url needs its sha256, so that everyone gets the same bytes")
        return self


class CifarSource(Section):
    """CIFAR-10: 60,000 photographs of 32×32 pixels, ten classes, 170 MB; the official test split is used."""

    kind: Literal["cifar10"] = "cifar10"
    mirror: str | None = None
    """URL or path of `cifar-10-python.tar.gz`, tried first; the variable `DARKROOM_CIFAR10_MIRROR` works as well."""


class KaggleSource(Section):
    """A Kaggle data set with class folders, downloaded by the official Kaggle client."""

    kind: Literal["kaggle"] = "kaggle"
    dataset: str
    """OWNER/NAME as in the data set's URL on kaggle.com, or OWNER/NAME/VERSION."""
    classes: ClassNames = {}
    """Maps folder names to class names, as FOLDER: CLASS. Folders that are not listed keep their names."""
    title: Annotated[str, ONE_LINE] | None = None
    """Name of the data set in the report."""
    licence: Annotated[str, ONE_LINE] = "see its page on Kaggle"
    """Licence of the images, shown in the report."""

    @field_validator("dataset")
    @classmethod
    def _slug(cls, dataset: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w.-]*(/\d+)?", dataset, re.ASCII):
            raise ValueError("write OWNER/NAME or OWNER/NAME/VERSION, as in the data set's URL on kaggle.com")
        return dataset


Source = Annotated[DigitsSource | FolderSource | CifarSource | KaggleSource, Field(discriminator="kind")]

Fraction = Annotated[float, Field(gt=0, lt=0.5)]
"""A fraction of the images, above 0 and below one half."""


class SplitSettings(Section):
    """Sizes of the validation and test splits; all other images are for training.

    Splits that the source defines are kept. The fractions then apply to the images that it leaves unassigned.
    """

    validation: Fraction = 0.15
    """Fraction of the images for model selection, early stopping and calibration."""
    test: Fraction = 0.2
    """Fraction of the images held out for the final evaluation."""
    grow: Literal["train", "all"] = "train"
    """Use of images added later: `train` keeps the test split; `all` draws a new one from all images."""
    near_copies: Annotated[int, Field(ge=0, le=16)] = 8
    """Largest Hamming distance between the 64-bit perceptual hashes of near copies; 0 finds exact copies only."""
    scenes: bool = False
    """Keep images of one scene on one side of the split: other crops and views, and bursts by EXIF time or file number.
    They are found by comparing images of at least 32×32 pixels within each class."""


class PackSettings(Section):
    """Decoding and resizing of images."""

    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    """Side length in pixels of the squares that images are resized to."""
    fit: Fit = "crop"
    """How images become squares: `crop` keeps the central square; `pad` keeps the whole image, between bars of its mean
    colour; `stretch` keeps it with other proportions. The served model does the same."""
    limit_per_class: Annotated[int, Field(ge=4)] | None = None
    """Largest number of images per class and split, for quick runs."""
