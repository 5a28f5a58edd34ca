"""Silences image libraries: problems with an image are reported by exceptions, not on standard error."""

import ctypes
import logging
import re
import warnings
from functools import cache
from pathlib import Path

import PIL

_IGNORED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def silence() -> None:
    """Silence Pillow and its copy of libtiff for the rest of the process; repeated calls are cheap.

    `warnings.catch_warnings` or a redirected file descriptor around each image would not work: both affect the whole
    process, and threads that decode at the same time would overwrite each other's state.
    """
    if _IGNORED not in warnings.filters:  # again after somebody restored the filters, as each test does
        warnings.filterwarnings("ignore", module=r"PIL\.")
    _silence_once()


@cache
def _silence_once() -> None:
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # Pillow turns off libtiff's warnings but not its errors, and has no function for it. Its wheels contain the library
    # in one of these folders. If they do not (on Windows it is linked statically), libtiff may print errors.
    place = Path(PIL.__file__).parent
    for path in (*place.glob("../pillow.libs/libtiff*"), *place.glob(".dylibs/libtiff*")):
        set_handler = ctypes.CDLL(str(path)).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
        set_handler(None)
