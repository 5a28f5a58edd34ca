"""The Bento is all that is needed: a new environment with its packages alone, on a machine without this project."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from darkroom import images
from darkroom.predictor import Predictor
from darkroom.serving import served
from darkroom.serving.build import bento
from tests.factories_serving import ROOT, picture, serving, write_served

UV = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


@pytest.mark.slow
@pytest.mark.skipif(UV is None, reason="uv is not installed")
def test_the_bento_serves_with_its_own_packages_alone(tmp_path: Path) -> None:
    project = write_served(tmp_path / "project")
    folder = tmp_path / "elsewhere" / "dist" / "darkroom.bento"
    bento.build(project / served.FOLDER, ROOT / "bentofile.yaml", ROOT / "requirements-serve.txt", folder)
    predictor = Predictor(project / served.FOLDER)
    pictures = [picture(seed) for seed in range(3)]
    expected = predictor.probabilities(np.stack([images.decode(data, 16).pixels for data in pictures]))
    python = install(tmp_path / "venv", folder)
    shutil.rmtree(project)
    # As README.md says it, from the folder above `dist`.
    command = [str(python), "-m", "bentoml", "serve", "dist/darkroom.bento", "--working-dir", "."]
    with serving(tmp_path / "elsewhere", tmp_path, command) as address:
        files = [("images", (f"{place}.png", data)) for place, data in enumerate(pictures)]
        answer = httpx.post(f"{address}/predict", files=files, data={"top_k": "3"}, timeout=120).json()
    for prediction, row in zip(answer["predictions"], expected, strict=True):
        found = {item["label"]: item["probability"] for item in prediction["labels"]}
        assert [found[name] for name in predictor.card.classes] == pytest.approx(row, abs=1e-5)


def install(venv: Path, folder: Path) -> Path:
    """Return the Python of a new environment that holds the packages of a Bento and nothing else."""
    assert UV is not None
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    python = venv / "bin" / "python"
    wanted = ["--require-hashes", "--only-binary", ":all:", "-r", str(folder / "env" / "python" / "requirements.txt")]
    command = [UV, "pip", "install", "--quiet", "--python", str(python), *wanted]
    result = subprocess.run(command, capture_output=True, text=True)
    if "connect" in result.stderr or "resolving DNS" in result.stderr:
        pytest.skip("the packages are neither in uv's cache nor to be had: no network")
    assert result.returncode == 0, result.stderr
    listed = subprocess.run([UV, "pip", "list", "--python", str(python)], capture_output=True, text=True, check=True)
    assert "onnxruntime" in listed.stdout
    assert not {"torch", "darkroom", "dvc"} & {line.split()[0] for line in listed.stdout.splitlines()}
    size = sum(path.lstat().st_size for path in venv.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < 300e6, f"{size / 1e6:.0f} MB"
    return python
