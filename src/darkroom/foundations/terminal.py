"""Printing of any text to standard output and error, whatever the encoding of the terminal."""

import codecs
import io
import sys

_ERRORS = "darkroom"
_PLAIN = {
    **{"×": "x", "…": "...", "←": "<-", "·": "-", "–": "-", "−": "-", "\u00a0": " ", "\u202f": " "},
    **dict.fromkeys("█▉▊▋▌▍", "#"),
    **dict.fromkeys("▎▏", " "),
}
"""ASCII replacements for the symbols in our messages and progress bars."""


def print_anything() -> None:
    """Let both streams write characters that their encoding lacks as ASCII, for the rest of the process."""
    codecs.register_error(_ERRORS, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII replacements for our symbols and escapes for other characters; called by the encoder."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or ascii(letter)[1:-1] for letter in lacking), error.end
