"""Start a stage with the library of its own checkout, regardless of the version installed in the environment.

    python stages split --dataset digits --packed data/packed ...

`--launch` before the stage's name starts it with the launcher that `launch` in params.yaml names. This file runs on any
Python from 2.7 on, because without an activated environment `python` may be any version. It then prints how to activate
one.
"""

import os
import sys

STAGES = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120


def main(argv=None):
    # type: (object) -> None
    """Fill in the arguments, then run the stage's file in this process or in those that torchrun starts."""
    from darkroom.foundations import launching

    launching.start(STAGES)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(
            "error: `python` is Python " + version + " (" + sys.executable + "), not the project's environment: run "
            "`source .venv/bin/activate` and start again, or use `make run`"
        )
    # A queued experiment, a worktree or a clone may share an environment that has another checkout's library installed.
    sys.path.insert(0, os.path.join(os.path.dirname(STAGES), "src"))  # noqa: PTH118, PTH120
    from darkroom.foundations.errors import run

    run(main)
