"""Who imports whom, read from the sources: for the tests of the architecture."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def module_path(name: str) -> Path | None:
    """Return the file of a darkroom module relative to the repository, None for a package or a name inside one."""
    path = SOURCE / Path(*name.split(".")).with_suffix(".py")
    return path.relative_to(ROOT) if path.is_file() else None


@cache
def imported_names(path: Path) -> frozenset[str]:
    """Return every module or `module.name` that a file imports, anywhere in it, type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return frozenset(names)


def direct(path: Path) -> set[Path]:
    """Return the files of this repository that a file imports."""
    found = {module_path(name) for name in imported_names(path) if name.split(".")[0] == "darkroom"}
    return {other for other in found if other is not None}


def closure(path: Path) -> set[Path]:
    """Return `path` and all files of this repository that it imports, directly or not."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += direct(current)
    return seen
