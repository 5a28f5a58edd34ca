"""The Bento: a folder with the served model, the modules that serve it and their locked environment.

`bentoml serve` in that folder runs it where those packages are installed, and from elsewhere
`bentoml serve FOLDER --working-dir .` (without the second, BentoML 1.4 looks for FOLDER/FOLDER).
`docker build -f env/docker/Dockerfile .` makes an image. Equal inputs give equal bytes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from modulefinder import ModuleFinder
from pathlib import Path

from ruamel.yaml import YAML

from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import proofs, routes, served, service
from darkroom.serving.build import readme

SOURCE = Path(service.__file__).parents[2]
"""The folder that holds the package."""
UV = "uv==0.13.9"
"""The installer inside the image; a test compares its version with requirements.txt."""
BASE = re.compile(r"(?:^|/)python:(3\.\d+)")
"""An image of Python with its version."""
NO_TIME = "1970-01-01T00:00:00+00:00"


def build(served_folder: Path, bentofile: Path, requirements: Path, out: Path, proof: Path | None = None) -> str:
    """Build a Bento into the folder `out` and return its version; `proof` is a file that it contains as well.

    BentoML copies only regular files from its build folder, and keeps its store in the user's home. Both are therefore
    temporary folders, with real copies of the required files.

    Raises DarkroomError with BentoML's message when it cannot build.
    """
    with tempfile.TemporaryDirectory(prefix="darkroom-") as temporary:
        stage, home = Path(temporary, "stage"), Path(temporary, "home")
        _stage(stage, served_folder, bentofile, requirements)
        if proof:
            _copy(proof, stage / proofs.FOLDER / proofs.NAME)
        version = _digest(stage)
        _run_bentoml(stage, home, version)
        (built,) = home.glob(f"bentos/*/{version}")
        with files.whole_directory(out) as partial:
            shutil.copytree(built, partial, dirs_exist_ok=True)
            _settle(partial, requirements.read_text(encoding="utf-8"))
            _level(partial)
            files.write_text(partial / "README.md", readme.readme(served_folder, version))
    return version


def service_files() -> list[Path]:
    """Return the modules that the service imports, and its page, relative to `SOURCE`, sorted."""
    finder = ModuleFinder(path=[str(SOURCE)])
    finder.import_hook(service.__name__)
    modules = [Path(file) for module in finder.modules.values() if (file := getattr(module, "__file__", None))]
    page = [path for path in routes.PAGE.iterdir() if path.is_file()]
    return sorted(path.relative_to(SOURCE) for path in [*modules, *page])


def _stage(stage: Path, served_folder: Path, bentofile: Path, requirements: Path) -> None:
    for path in service_files():
        _copy(SOURCE / path, stage / "src" / path)
    for path in served_folder.rglob("*"):
        if path.is_file() and path.name != "quantization.json":  # times differ between runs, a Bento must not
            _copy(path, stage / served.FOLDER / path.relative_to(served_folder))
    _copy(bentofile, stage / "bentofile.yaml")
    _copy(requirements, stage / requirements.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _digest(folder: Path) -> str:
    lines = [
        f"{path.relative_to(folder).as_posix()} {files.sha256(path)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _run_bentoml(stage: Path, home: Path, version: str) -> None:
    environment = os.environ | {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONDONTWRITEBYTECODE": "1",
        # The staged modules come first, so that a missing module fails the build and not a later start.
        "PYTHONPATH": str(stage / "src"),
    }
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, "--output", "tag"]
    result = subprocess.run(command, cwd=stage, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr or result.stdout).strip().splitlines()[-1]
        raise DarkroomError(f"BentoML could not build the Bento: {reason}")


def _settle(folder: Path, requirements: str) -> None:
    """Remove the time, BentoML's addition to the locked requirements, and the image's compilers; pin uv and Python.

    Every locked package has a wheel for the image's Python, so nothing is compiled there: without BentoML's default
    system packages (a compiler, git) the image is several hundred megabytes smaller. The image's Python is that of its
    base; BentoML would take the Python that builds the Bento, or warn at each start about one in `bentofile.yaml`.
    """
    yaml = YAML(typ="safe", pure=True)
    manifest, dockerfile = folder / "bento.yaml", folder / "env" / "docker" / "Dockerfile"
    content = yaml.load(manifest)
    text = dockerfile.read_text(encoding="utf-8")
    for command in content["image"]["commands"]:
        text = text.replace(f"RUN {command}\n", "")
    text = text.replace("pip install uv\n", f"pip install {UV}\n")
    if based := BASE.search(content["image"]["base_image"]):
        text = text.replace(f"--python {content['image']['python_version']} ", f"--python {based[1]} ")
        content["image"]["python_version"] = based[1]
    files.write_text(dockerfile, text)
    content["creation_time"] = NO_TIME
    content["image"] |= {"commands": [], "python_requirements": requirements}
    with manifest.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(content, file)
    for name in ("requirements.txt", "requirements.in"):
        files.write_text(folder / "env" / "python" / name, requirements)


def _level(folder: Path) -> None:
    """Give all files and folders the usual permissions.

    DVC does not keep that a file in a folder is executable, and would report the Bento as modified after each checkout.
    The Dockerfile makes its script executable itself.
    """
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
