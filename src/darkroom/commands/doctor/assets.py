"""Files that come with the project or its packages, and without which a stage fails late."""

import os
import subprocess
from collections.abc import Iterator
from importlib import util
from pathlib import Path

from darkroom.commands.doctor.finding import Finding, error, ok
from darkroom.foundations import errors, naming

LIBRARY = errors.LIBRARY
BUNDLED = {
    "report templates": (
        LIBRARY / "reporting" / "templates",
        "model_card.md.j2 report.css report.html report.md.j2 report.typ slides.pptx",
    ),
    "service page": (LIBRARY / "serving" / "page", "about.js index.html page.css page.js words.js"),
    "plot templates": (Path(".dvc/plots"), "candidates.json page.html"),
    "backbone": (Path("backbones/cifar10_backbone"), "card.json weights.safetensors"),
}
"""Files of this project; a test compares them with what git tracks."""
INSTALLED = {
    "pandoc": ("pypandoc", "files/pandoc", "pypandoc_binary"),
    "typst": ("typst", "", "typst"),
    "figure font": ("matplotlib", "mpl-data/fonts/ttf/DejaVuSans.ttf", "matplotlib"),
    "digits": ("sklearn", "datasets/data/digits.csv.gz", "scikit-learn"),
}
"""Files of packages: where they are, and the package to install again."""


def bundled() -> Iterator[Finding]:
    """Yield whether templates, page and backbone are complete."""
    missing = [
        folder / name
        for folder, names in BUNDLED.values()
        for name in names.split()
        if not (folder / name).is_file() or not (folder / name).stat().st_size
    ]
    if missing:
        shown = [os.path.relpath(path) for path in missing]
        yield error(
            "bundled files", f"missing or empty: {naming.listed(shown)}", f"git checkout -- {' '.join(shown[:3])}"
        )
        return
    yield ok("bundled files", f"{', '.join(BUNDLED)}: complete")


def installed() -> Iterator[Finding]:
    """Yield whether the programs and data in packages are there, without importing the packages."""
    found = []
    for name, (package, file, distribution) in INSTALLED.items():
        if not (spec := util.find_spec(package)):
            continue  # listed among the missing packages
        folders = list(spec.submodule_search_locations or ())
        if not any((Path(folder) / file).exists() or (Path(folder) / f"{file}.exe").exists() for folder in folders):
            remedy = f"uv pip install --reinstall --no-deps {distribution}, with the version in requirements.txt"
            yield error(name, f"not in the package {distribution}", remedy)
        elif name == "pandoc" and (problem := _starts(Path(folders[0]) / file)):
            yield error(name, problem, "install a build of pypandoc_binary for this machine, or pandoc itself")
        else:
            found.append(name)
    if found:
        yield ok("report tools", f"{', '.join(found)}: there")


def _starts(program: Path) -> str:
    """Return why a program does not start, or nothing."""
    try:
        subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as problem:
        return f"{naming.shown(program)} does not start: {naming.shown(problem)}"
    return ""
