"""The one error that a user meets, and the edge at which it becomes a message."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from darkroom import naming, terminal


class DarkroomError(Exception):
    """A mistake the user can mend: says what was found, what is allowed, and what to do.

    The message is one or a few lines: the value first, the remedy last.
    """


def run(main: Callable[[Sequence[str] | None], None]) -> NoReturn:
    """Run `main` on the command line's arguments and end the process.

    Exit status 0 when it returns, 1 with its message on standard error when it raises a
    `DarkroomError`, 130 when it is interrupted, 143 when it is terminated (and then clears up like any other
    failure). Any other exception is a bug of ours and keeps its traceback.

    Standard output and error then print any text: what their encoding lacks, and what a message holds of escape
    sequences, appears as escapes.
    """
    terminal.print_anything()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main(None)
    except DarkroomError as error:
        print(f"error: {_safe(str(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _safe(message: str) -> str:
    """Return a message in which nothing acts on the terminal and no line but the first looks like a new message."""
    first, *others = naming.escape_lines(message).split("\n")
    return "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in others)])
