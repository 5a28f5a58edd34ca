"""Starting a stage: names from `params.yaml` in its arguments, and the launcher of training stages.

DVC passes a stage's command to a shell, so it must not contain values of `params.yaml`. `dvc.yaml` contains the
placeholders `{dataset}` and `{key}`, which are validated and filled in here.
"""

import os
import re
import runpy
import sys
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from darkroom.foundations import experiments, naming, params
from darkroom.foundations.errors import DarkroomError

PARAMS = Path("params.yaml")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""Valid names of data sets and models, which are used for folders, arguments and sections."""
NAMING = "use letters, digits, _ and -, at most 100, starting with a letter or digit"
TORCHRUN = (
    "nproc-per-node",
    "nnodes",
    "node-rank",
    "master-addr",
    "master-port",
    "local-addr",
    "max-restarts",
    "rdzv-backend",
    "rdzv-endpoint",
    "rdzv-id",
    "standalone",
)
"""Allowed options of torchrun: the number of processes and their connection, not what they run."""


def check_name(name: str) -> str:
    """Return the name of a data set or a model. Raises ValueError if it contains other characters."""
    if not NAME.fullmatch(name):
        raise ValueError(f"name '{naming.shown(name)}' is not allowed: {NAMING} (DVC treats a dot as a section)")
    return name


def _check_launch(launch: str) -> str:
    program, *options = launch.split() or [""]
    names = [option.removeprefix("--").partition("=")[0].replace("_", "-") for option in options]
    dashed = all(option.startswith("--") for option in options)
    if not (launch == "python" or (program == "torchrun" and dashed and set(names) <= set(TORCHRUN))):
        allowed = ", ".join(f"--{name}" for name in TORCHRUN)
        raise ValueError(
            "use python, or torchrun with options such as --nproc-per-node=2, each written with = "
            f"(allowed: {allowed}); set environment variables before dvc: OMP_NUM_THREADS=4 dvc repro"
        )
    return launch


Name = Annotated[str, AfterValidator(check_name)]
Launch = Annotated[str, AfterValidator(_check_launch)]
"""`python`, or `torchrun` with some of its options."""


def start(stages: str) -> None:
    """Run the stage given on the command line, a file in the folder `stages`, with its arguments filled in."""
    launch = sys.argv[1:2] == ["--launch"]
    caches = experiments.prepare(Path.cwd(), PARAMS)
    name, *arguments = [caches.get(argument, argument) for argument in fill(sys.argv[1 + launch :], PARAMS)] or [""]
    path = Path(stages) / f"{name}.py"
    if not path.is_file():
        allowed = sorted(each.stem for each in Path(stages).glob("[!_]*.py"))
        raise DarkroomError(f"there is no stage {name!r}. Allowed: {', '.join(allowed)}")
    options = torchrun_options(PARAMS) if launch else None
    if options is None:
        sys.argv = [str(path), *arguments]
        runpy.run_path(str(path), run_name="__main__")
    else:
        from torch.distributed.run import main as torchrun

        torchrun([*options, stages, name, *arguments])


def fill(arguments: list[str], path: Path) -> list[str]:
    """Return a stage's arguments with `{dataset}` and `{key}` filled in.

    The first is the data set named in the parameters in `path`, the second the part after @ in the name of the stage
    that DVC runs. Raises DarkroomError for invalid names.
    """
    values = {}
    if any("{dataset}" in argument for argument in arguments):
        values["{dataset}"] = params.load(path, Name, "dataset")
    if any("{key}" in argument for argument in arguments):
        values["{key}"] = _key(os.environ.get("DVC_STAGE", ""))
    for mark, value in values.items():
        arguments = [argument.replace(mark, value) for argument in arguments]
    return arguments


def _key(stage: str) -> str:
    try:
        return check_name(stage.rpartition("@")[2] if "@" in stage else "")
    except ValueError as error:
        raise DarkroomError(f"stage {stage!r} of dvc.yaml has no {{key}} to fill in: {error}") from None


def torchrun_options(path: Path) -> list[str] | None:
    """Return the options for torchrun if the parameters in `path` use it to launch training, else None.

    Also None in the processes that torchrun has started.
    """
    program, *options = params.load(path, Launch, "launch").split()
    return options if program == "torchrun" and "RANK" not in os.environ else None
