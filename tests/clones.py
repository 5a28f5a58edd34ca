"""A copy of the project with other parameters, and commands in it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.imports import ROOT

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment for a command in the clone `folder`, whose own sources come before the installed ones."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def run(folder: Path, *command: str, status: int = 0) -> str:
    """Run a command of the environment in `folder`, check its exit status, return what it printed."""
    result = subprocess.run(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert result.returncode == status, result.stdout
    return result.stdout


def ran(output: str) -> set[str]:
    """Return the stages that a `dvc repro` ran."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the parameters of a clone as `change` does."""
    yaml = YAML()
    parameters = yaml.load(folder / "params.yaml")
    change(parameters)
    yaml.dump(parameters, folder / "params.yaml")


def clone(folder: Path, change: Callable[[Any], None]) -> Path:
    """Copy the working tree, as git would see it, into a new repository with parameters as `change` makes them."""
    names = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    edit(folder, change)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "add", ".")
    run(folder, *GIT, "commit", "--quiet", "--message", "start")
    return folder
