"""All checks of `darkroom doctor`, and their printed form."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from darkroom.commands.doctor import access, assets, environment, machine, project
from darkroom.commands.doctor.finding import Finding, error, warning
from darkroom.foundations import errors, naming

Check = Callable[[], Iterable[Finding]]
CHECKS: dict[str, Check] = {
    "Python": environment.python,
    "packages": environment.packages,
    "processor": machine.processor,
    "GPU": machine.gpu,
    "memory": machine.memory,
    "disk": machine.disk,
    "git": project.repository,
    "params.yaml": project.parameters,
    "DVC": project.pipeline,
    "DVC remote": access.remote,
    "Kaggle": access.kaggle,
    "port": access.port,
    "bundled files": assets.bundled,
    "report tools": assets.installed,
}
"""Subject of each check and what makes it; each stands alone, so that one that fails hides no other."""
OF_PROJECT = {"packages", "git", "params.yaml", "DVC", "DVC remote", "Kaggle", "bundled files"}
"""Checks of files in the current folder, which say nothing outside a project."""
COLOURS = {"ok": "32", "warning": "33", "error": "31"}
WIDEST = 120
"""Columns of the report on a terminal that has more."""


def examine(checks: dict[str, Check] = CHECKS) -> list[Finding]:
    """Return what all checks found; one that cannot run, because a package is missing, is a finding itself.

    Outside a project, only the machine and the packages that are installed are examined.
    """
    found = []
    if outside := not project.is_here():
        text = f"{naming.shown(Path.cwd())} is not a project's top folder: it has no dvc.yaml and no params.yaml"
        found.append(error("project", text, "change to the project's folder, and run this again"))
    for subject, check in checks.items():
        if not (outside and subject in OF_PROJECT):
            found += _guarded(subject, check)
    return found


def _guarded(subject: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except ModuleNotFoundError as problem:
        name = naming.shown(problem.name or problem)
        yield warning(subject, f"not checked: the package {name} is missing", environment.install())
    except Exception as problem:  # a damaged package can raise anything, and reporting it is this command's purpose
        text = errors.explain(problem) or f"{type(problem).__name__}: {problem}"
        yield error(subject, f"not checked: {naming.shown(' '.join(text.split()))}", "fix this, and run it again")


def document(findings: Sequence[Finding]) -> dict[str, object]:
    """Return the findings for JSON: `ok` is false if one is an error."""
    counts = {status: sum(each.status == status for each in findings) for status in COLOURS}
    return {"ok": not counts["error"], "counts": counts, "findings": [each.as_json() for each in findings]}


def text(findings: Sequence[Finding], width: int | None, colour: bool) -> str:
    """Return the findings as lines of at most `width` columns (None: one line each), and a last line that counts them.

    A remedy follows its finding, indented.
    """
    subjects = max(len(each.subject) for each in findings)
    lines = []
    for each in findings:
        lead = f"{each.status:<8} {each.subject:<{subjects}}  "
        wrapped = _wrap(each.text, width, lead)
        if colour:
            wrapped = f"\x1b[{COLOURS[each.status]}m{wrapped[:8]}\x1b[0m{wrapped[8:]}"
        lines.append(wrapped)
        if each.remedy:
            lines.append(_wrap(each.remedy, width, " " * (9 + subjects) + "  → "))
    counts = {status: sum(each.status == status for each in findings) for status in ("error", "warning")}
    found = [naming.count(number, status) for status, number in counts.items() if number]
    return "\n".join([*lines, "", ", ".join(found) if found else f"Everything is ready: {project.command()}"])


def _wrap(words: str, width: int | None, lead: str) -> str:
    if width is None:
        return f"{lead}{words}"
    return textwrap.fill(
        words,
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def terminal() -> tuple[int | None, bool]:
    """Return the columns and whether to colour: neither where the output goes to a file or another program."""
    if not sys.stdout.isatty():
        return None, False
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return min(WIDEST, shutil.get_terminal_size().columns), colour
