"""The code that each stage depends on: what dvc.yaml must list.

python -m tests.dependencies     # rewrite the code in dvc.yaml's deps

A folder stands for its modules where a stage imports all of them; elsewhere each module is listed.
"""

import re
import textwrap
from pathlib import Path

from ruamel.yaml import YAML

from tests.imports import ROOT, closure

ENTRY = Path("stages/__main__.py")
PACKAGE = ROOT / "src" / "darkroom"
COLUMNS = 120


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
    for stage, definition in YAML(typ="safe").load(text)["stages"].items():
        code = listed(stage)
        entries = map(str, definition.get("do", definition)["deps"])
        data = [entry for entry in entries if not is_code(entry) or entry.endswith("/templates")]
        data = [entry for entry in data if not any(Path(entry).is_relative_to(folder) for folder in code)]
        found = re.search(rf"^  {stage}:\n(?:    .*\n)*?( +)deps: ?(?:\[[^]]*\]|\n(?:\1  - .*\n)+)", text, re.MULTILINE)
        assert found is not None, stage
        start = found.start(1)
        text = text[:start] + _written(data, code, found[1]) + text[found.end() :].removeprefix("\n")
    return text


def _written(data: list[str], code: list[str], indent: str) -> str:
    """Return `deps` as one list: what a stage reads in the first lines, its code in the others."""
    inside = f"{indent}  "
    lines = [f"{indent}deps: ["]
    for entries in filter(None, (data, code)):
        quoted = [f'"{entry}"' if "{" in entry else entry for entry in entries]
        lines += textwrap.wrap(
            ", ".join(quoted) + ",",
            COLUMNS,
            initial_indent=inside,
            subsequent_indent=inside,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines).removesuffix(",") + "]\n"


if __name__ == "__main__":
    path = ROOT / "dvc.yaml"
    path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")
