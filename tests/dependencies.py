"""The code that each stage depends on: what dvc.yaml must list.

python -m tests.dependencies     # rewrite the code in dvc.yaml's deps

A folder stands for its modules where a stage imports all of them; elsewhere each module is listed.
"""

import re
from pathlib import Path

from tests.imports import ROOT, closure

ENTRY = Path("stages/__main__.py")
PACKAGE = ROOT / "src" / "darkroom"


def imported(stage: str) -> set[Path]:
    """Return the modules that a stage imports, directly or not, and its own file."""
    return closure(Path("stages") / f"{stage}.py") | closure(ENTRY)


def listed(stage: str) -> list[str]:
    """Return the entries of a stage's `deps` that stand for code."""
    left = imported(stage)
    found: list[Path] = []
    folders = sorted(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")
    for folder in folders:  # a folder comes before those inside it
        modules = {path.relative_to(ROOT) for path in folder.rglob("*.py") if path.name != "__init__.py"}
        if len(modules) > 1 and modules <= left:
            found.append(folder.relative_to(ROOT))
            left -= modules
    return sorted(map(str, [*found, *left]))


def is_code(path: str) -> bool:
    """Return whether an entry of `deps` stands for code."""
    return path.endswith(".py") or path.startswith("src/")


def rewrite(text: str) -> str:
    """Return dvc.yaml with the code of each stage replaced, behind its other dependencies."""
    lines, stage, out = text.split("\n"), "", []
    while lines:
        line = lines.pop(0)
        out.append(line)
        if opening := re.fullmatch(r"  (\w+):", line):
            stage = opening[1]
        if deps := re.fullmatch(r"( +)deps:", line):
            entries = []
            while lines[0].startswith(f"{deps[1]}  - "):
                entries.append(lines.pop(0).strip().removeprefix("- "))
            data = [path for path in entries if not is_code(path) or path.endswith("/templates")]
            code = listed(stage)
            data = [path for path in data if not any(Path(path).is_relative_to(entry) for entry in code)]
            out += [f"{deps[1]}  - {path}" for path in [*data, *code]]
    return "\n".join(out)


if __name__ == "__main__":
    path = ROOT / "dvc.yaml"
    path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")
