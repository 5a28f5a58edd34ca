"""Python, and the installed packages compared with `requirements.txt`."""

import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from darkroom.commands.doctor.finding import Finding, error, ok, warning
from darkroom.foundations import naming

LOCK = Path("requirements.txt")
PROJECT = Path("pyproject.toml")
OLDEST, NEWEST = (3, 11), (3, 13)
"""The versions that pyproject.toml allows."""
OWN = Path(".venv/bin/activate")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$", re.MULTILINE)
"""A package of the lock: name, version, and for which systems."""
OF_TORCH = re.compile(r"triton|cuda-.*|nvidia-(?!ml-py$).*")
"""Packages that only the default build of torch needs; the Makefile omits them for other builds."""


def python() -> Iterator[Finding]:
    """Yield whether this Python is supported, and whether `python` starts it, as the commands of DVC's stages do."""
    version, where = platform.python_version(), naming.shown(sys.prefix)
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        yield error(
            "Python", f"{version} in {where}; 3.11, 3.12 or 3.13 is needed", "make clean && make run PYTHON=python3.12"
        )
    else:
        yield ok("Python", f"{version} in {where}")
    found, activate = shutil.which("python"), Path(sys.executable).parent / "activate"
    # Compared by folder: the python of an environment is often a link to one outside.
    if found is None or Path(found).parent.resolve() != activate.parent.resolve():
        started = "is not on PATH" if found is None else f"on PATH is {naming.shown(found)}"
        yield warning(
            "activation",
            f"`python` {started}, so `dvc repro` would not use {naming.shown(sys.executable)}",
            f"source {naming.shown(activate)}, or use make run" if activate.is_file() else install(),
        )


def install() -> str:
    """Return the command for getting the packages: activate the project's environment, or create it."""
    return f"source {OWN}" if OWN.is_file() and Path(sys.prefix).resolve() != Path(".venv").resolve() else "make env"


@dataclass(frozen=True)
class Compared:
    """The installed packages, compared with the lock."""

    found: dict[str, str | None]
    """The version of each locked package, None if it is missing."""
    missing: list[str]
    """Packages that the pipeline needs."""
    unneeded: list[str]
    """Missing packages that only development needs."""
    other: list[str]
    """Packages with another version, in words."""


def compare() -> Compared:
    """Compare the installed packages with the lock in the current folder, as far as it is for this system.

    Other builds of torch, such as 2.11.0+cpu, count as the locked version and need fewer packages.
    """
    locked = dict(pinned(LOCK.read_text(encoding="utf-8")))
    found = {name: _version(name) for name in locked}
    other_build = "+" in (found.get("torch") or "")
    missing = [
        name for name, there in found.items() if there is None and not (other_build and OF_TORCH.fullmatch(name))
    ]
    other = [
        f"{name} {there} instead of {locked[name]}"
        for name, there in found.items()
        if there is not None and there.partition("+")[0] != locked[name].partition("+")[0]
    ]
    development = _development()
    needed = [name for name in missing if name not in development]
    return Compared(found, needed, [name for name in missing if name in development], other)


def packages() -> Iterator[Finding]:
    """Yield which packages of the lock are missing or have another version."""
    if not LOCK.is_file():
        yield warning("packages", f"{LOCK} is missing", "run from the project's top folder")
        return
    compared = compare()
    if needed := compared.missing:
        yield error("packages", f"{len(needed)} missing: {naming.listed(needed, most=5)}", install())
    if unneeded := compared.unneeded:
        yield warning("packages", f"missing, for development only: {naming.listed(unneeded, most=5)}", install())
    if other := compared.other:
        yield warning(
            "packages",
            f"{naming.listed(other, most=5)}: results can differ",
            install().replace("make env", f"touch {LOCK} && make env"),
        )
    if not needed and not unneeded and not other:
        torch = compared.found.get("torch")
        yield ok("packages", f"{len(compared.found)} as locked in {LOCK}{f', torch {torch}' if torch else ''}")


def pinned(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of each package that a requirements file pins for this system."""
    for name, version, marker in PINNED.findall(text):
        if _applies(marker):
            yield re.sub(r"[-_.]+", "-", name).lower(), version


def _applies(marker: str) -> bool:
    """Return whether a requirement is for this system, and True if `packaging`, which could tell, is missing."""
    if not marker:
        return True
    try:
        from packaging.markers import Marker
    except ModuleNotFoundError:
        return True
    return Marker(marker).evaluate()


def _version(name: str) -> str | None:
    """Return the installed version of a package, None if it is missing or its metadata are damaged."""
    try:
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, KeyError, OSError):
        return None


def _development() -> set[str]:
    """Return the packages that only development needs."""
    if not PROJECT.is_file():
        return set()
    with PROJECT.open("rb") as file:
        listed: Iterable[str] = tomllib.load(file).get("dependency-groups", {}).get("dev", [])
    return {re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in listed}


def threads() -> int | None:
    """Return the number of threads that OMP_NUM_THREADS sets, None if it sets none."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else None
