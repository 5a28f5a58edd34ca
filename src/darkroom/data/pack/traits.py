"""What a file says about its origin, without decoding its pixels: for finding shortcuts and bursts."""

import hashlib
import io
import re
from datetime import datetime
from typing import Any, NamedTuple

from PIL import Image

from darkroom.quiet import silence

SUB_IFD, MAKE, MODEL, TAKEN, CREATED = 0x8769, 0x010F, 0x0110, 0x9003, 0x0132
"""EXIF tags: the folder of camera data, maker, model, time of exposure, and time of the file."""
TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")
LONGEST = 60
"""Largest number of characters of a camera's name."""


class Traits(NamedTuple):
    """Facts about one file: a row of `files.csv`."""

    bytes: int
    format: str = ""
    """JPEG, PNG, …; empty if Pillow does not recognise it."""
    quantization: str = ""
    """Eight hexadecimal digits, equal for equal quantisation tables; empty if it is not a JPEG."""
    camera: str = ""
    """Maker and model according to EXIF, or empty."""
    hour: str = ""
    """Hour of exposure according to EXIF, 0 to 23, or empty."""
    taken: str = ""
    """Time of exposure according to EXIF, in the camera's time zone, as YYYY-MM-DDTHH:MM:SS, or empty."""


def read(data: bytes) -> Traits:
    """Return the facts about a file. Only its header is read; facts that cannot be read are empty."""
    silence()
    try:
        with Image.open(io.BytesIO(data)) as image:
            form = str(image.format or "")
            tables = getattr(image, "quantization", None)
            # Only of JPEG files, since Pillow would decode a PNG to find its EXIF data.
            camera, hour, taken = _exif(image) if form in ("JPEG", "MPO") else ("", "", "")
    except Exception:  # damaged headers raise almost anything, and what cannot be read is not a shortcut
        return Traits(len(data))
    digest = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8] if tables else ""
    return Traits(len(data), form, digest, camera, hour, taken)


def _exif(image: Image.Image) -> tuple[str, str, str]:
    """Return camera, hour and time."""
    tags = image.getexif()
    found: dict[int, Any] = {**dict(tags), **tags.get_ifd(SUB_IFD)}
    names = (str(found.get(tag, "")).strip("\0 ") for tag in (MAKE, MODEL))
    camera = " ".join(" ".join(filter(None, names)).split())[:LONGEST]
    taken = TIME.match(str(found.get(TAKEN) or found.get(CREATED) or ""))
    if not taken or int(taken[4]) > 23:
        return camera, "", ""
    # A camera whose clock was never set may write a date that does not exist.
    try:
        time = datetime(*map(int, taken.groups())).isoformat()  # type: ignore[arg-type]  # six numbers, as TIME has
    except ValueError:
        time = ""
    return camera, str(int(taken[4])), time
