"""A failed download, for which DVC has already removed the images of the last run."""

import shutil
import subprocess
import sys

import pytest

from darkroom.foundations.errors import DarkroomError
from stages import download
from tests.imports import ROOT
from tests.pictures import class_folders, write_folder

PARAMS = "datasets: {folder: {source: {kind: folder, path: photos}}}\n"
ARGUMENTS = "--dataset folder --inbox inbox --downloads partial --out data/raw"
RESTORE = "`dvc checkout download` restores them"


def dvc(*arguments):
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)


def test_a_failed_download_says_how_to_restore_the_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "params.yaml").write_text(PARAMS)
    command = f"{sys.executable} -m stages.download {ARGUMENTS}"
    (tmp_path / "dvc.yaml").write_text(f"stages: {{download: {{cmd: {command}, outs: [data/raw]}}}}\n")
    write_folder(tmp_path / "photos", class_folders({"cat": 4, "dog": 4}))
    dvc("init", "--no-scm", "--quiet")
    assert dvc("repro").returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "data" / "raw").iterdir()}
    shutil.rmtree(tmp_path / "photos")
    failed = dvc("repro", "--force", "download")
    assert failed.returncode != 0
    assert "photos does not exist" in failed.stderr
    assert RESTORE in failed.stderr
    assert not (tmp_path / "data" / "raw").exists()
    assert dvc("checkout", "download").returncode == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "data" / "raw").iterdir()} == before


def test_the_first_download_has_nothing_to_restore(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    with pytest.raises(DarkroomError, match="photos does not exist") as error:
        download.main(ARGUMENTS.split())
    assert RESTORE not in str(error.value)
