"""The bundled digits: scikit-learn's copy of the UCI optical recognition test set, as an archive of PNG files."""

import io
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom.data.archives.origin import Origin

ORIGIN = Origin(
    title="Handwritten digits",
    source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
    "Repository, 1998, doi:10.24432/C50P49, as bundled with scikit-learn",
    licence="CC BY 4.0",
)


def read() -> npt.NDArray[np.float64]:
    """Return one row per image, shape (1797, 65): 64 pixels from 0 to 16, then the digit.

    The same as `sklearn.datasets.load_digits`, whose import would take longer than the whole stage.
    """
    path = metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    return np.loadtxt(str(path), delimiter=",")


def fetch(out: Path) -> Origin:
    """Write `digits.zip` to the folder `out`: ten class folders of 8×8 grey PNG files. Needs no network access."""
    table = read()
    images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    grey = np.round(images * (255 / 16)).astype(np.uint8)  # stored as 17 levels, 0 to 16
    with zipfile.ZipFile(out / "digits.zip", "w") as archive:
        for number, (pixels, label) in enumerate(zip(grey, labels.astype(int), strict=True)):
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            # ZipInfo's default date is fixed (1980), so that the archive always has the same bytes.
            archive.writestr(zipfile.ZipInfo(f"digits/{label}/{number:04}.png"), png.getvalue())
    return ORIGIN
