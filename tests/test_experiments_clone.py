"""What a stage of an experiment in DVC's own clone gets from the workspace."""

import subprocess

import pytest

from darkroom.foundations import experiments


@pytest.fixture
def workspace(tmp_path):
    """Return a workspace with images, weights and the clone of an experiment, both in a git repository."""
    clone = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    for folder in (tmp_path, clone):
        (folder / "data" / "inbox").mkdir(parents=True)
        (folder / "backbones").mkdir()
        (folder / "params.yaml").write_text("seed: 0\n")
    (tmp_path / ".gitignore").write_text("/.dvc\n/data/inbox/*\n/backbones/*.pth\n")
    (tmp_path / "backbones" / "tracked.json").write_text("{}")
    (tmp_path / "data" / "inbox" / "a cat").mkdir()
    (tmp_path / "data" / "inbox" / "a cat" / "été.png").write_bytes(b"image")
    (tmp_path / "backbones" / "mine.pth").write_bytes(b"weights")
    for command in (["init", "--quiet"], ["add", "backbones"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_ignored_files_are_there_and_caches_are_those_of_the_workspace(workspace):
    clone = workspace / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    caches = experiments.prepare(clone, clone / "params.yaml")
    assert (clone / "data" / "inbox" / "a cat" / "été.png").read_bytes() == b"image"
    assert (clone / "backbones" / "mine.pth").read_bytes() == b"weights"
    for name in ("features", "packed"):
        assert caches[f".darkroom/{name}"] == str(workspace / ".darkroom" / name)
    (clone / "backbones" / "mine.pth").unlink()
    assert (workspace / "backbones" / "mine.pth").exists()
    assert experiments.prepare(clone, clone / "params.yaml") == caches  # the next stage
    (clone / "params.yaml").write_text("seed: 1\n")
    others = experiments.prepare(clone, clone / "params.yaml")
    assert others[".darkroom/checkpoints"] != caches[".darkroom/checkpoints"]
    assert others[".darkroom/features"] == caches[".darkroom/features"]


def test_files_of_the_clone_are_not_replaced(workspace):
    clone = workspace / ".dvc" / "tmp" / "exps" / "tmp2"
    (clone / "backbones").mkdir(parents=True)
    (clone / "params.yaml").write_text("")
    (clone / "backbones" / "mine.pth").write_bytes(b"other weights")
    experiments.prepare(clone, clone / "params.yaml")
    assert (clone / "backbones" / "mine.pth").read_bytes() == b"other weights"


@pytest.mark.parametrize("folder", ["", "data", ".dvc/tmp", ".dvc/tmp/exps"])
def test_elsewhere_nothing_is_changed(workspace, folder):
    assert experiments.workspace(workspace / folder) is None
    assert experiments.prepare(workspace / folder, workspace / "params.yaml") == {}


def test_the_innermost_workspace_counts(workspace):
    inner = workspace / ".dvc/tmp/exps/tmp1/project/.dvc/tmp/exps/standalone/tmp2"
    assert experiments.workspace(inner / "data") == workspace / ".dvc/tmp/exps/tmp1/project"
