"""Silence for what reads pictures: what is wrong with one is told by an exception, not on standard error."""

import ctypes
import logging
import re
import warnings
from functools import cache
from pathlib import Path

import PIL

_IGNORED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def silence() -> None:
    """Silence Pillow and the libtiff inside it for the rest of the process; cheap to call again.

    Not `warnings.catch_warnings` and no redirected file descriptor around each picture: both belong to the
    whole process, and two threads that decode at once would leave them in each other's state.
    """
    if _IGNORED not in warnings.filters:  # again after whoever restored the filters, as each test does
        warnings.filterwarnings("ignore", module=r"PIL\.")
    _silence_once()


@cache
def _silence_once() -> None:
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # Pillow turns off libtiff's warnings but not its errors, and has no call for it. Its wheels bring the library
    # along in one of these folders; where they do not (Windows links it in), libtiff may print, and that is all.
    place = Path(PIL.__file__).parent
    for path in (*place.glob("../pillow.libs/libtiff*"), *place.glob(".dylibs/libtiff*")):
        set_handler = ctypes.CDLL(str(path)).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
        set_handler(None)
