"""Start a stage with the library of its own checkout, whichever one the environment has installed.

    python stages split --dataset digits --packed data/packed …

With `--launch` before its name, by what `launch` in params.yaml says.
"""

import runpy
import sys
from pathlib import Path

STAGES = Path(__file__).resolve().parent
PARAMS = Path("params.yaml")


def main(argv: object = None) -> None:
    """Fill in the arguments, then run the stage's file, here or in the processes that torchrun starts."""
    from darkroom.foundations import launching
    from darkroom.foundations.errors import DarkroomError

    launch = sys.argv[1:2] == ["--launch"]
    name, *arguments = launching.fill(sys.argv[1 + launch :], PARAMS) or [""]
    path = STAGES / f"{name}.py"
    if not path.is_file():
        allowed = sorted(each.stem for each in STAGES.glob("[!_]*.py"))
        raise DarkroomError(f"there is no stage {name!r}. Allowed: {', '.join(allowed)}")
    options = launching.torchrun_options(PARAMS) if launch else None
    if options is None:
        sys.argv = [str(path), *arguments]
        runpy.run_path(str(path), run_name="__main__")
    else:
        from torch.distributed.run import main as torchrun

        torchrun([*options, str(STAGES), name, *arguments])


if __name__ == "__main__":
    # A queued experiment, a worktree or a clone may share an environment that has another checkout's library installed.
    sys.path.insert(0, str(STAGES.parent / "src"))
    from darkroom.foundations.errors import run

    run(main)
