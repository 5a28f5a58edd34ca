"""Starting without the project's environment, and what each stage need not import."""

import ast
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.imports import ROOT

REMEDY = "run `source .venv/bin/activate` and start again, or use `make run`\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has no packages."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


@pytest.mark.parametrize("stage", ["validate", "split", "nothing"])
def test_a_stage_in_a_python_without_packages_says_how_to_activate(bare, stage):
    found = subprocess.run([bare, "stages", stage, "--params", "params.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"error: `python` is {bare}, which has no package ")
    assert found.stderr.endswith(REMEDY)
    assert found.stderr.count("\n") == 1


def test_dvc_in_an_environment_that_is_not_activated_says_how_to_activate(bare, tmp_path):
    for name in ("src", "stages", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "dvc.yaml").write_text("stages: {validate: {cmd: python stages validate --schema params.schema.json}}")
    environment = {**os.environ, "PATH": f"{bare.parent}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    for key in ("PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(key, None)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    found = subprocess.run([*dvc, "repro"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode != 0
    assert REMEDY in found.stderr
    assert "Traceback" not in found.stdout + found.stderr


def test_an_old_python_is_told_apart_before_anything_is_imported(monkeypatch, capsys):
    import runpy

    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "stages"), run_name="__main__")
    assert str(end.value) == f"error: `python` is Python 3.9 ({sys.executable}), not the project's environment: " + (
        REMEDY.strip()
    )


def test_an_old_python_can_read_the_file_that_stages_start_with():
    """Python 2.7 has no f-strings, no annotations and, without a declaration, no letters beyond ASCII."""
    text = (ROOT / "stages" / "__main__.py").read_text(encoding="ascii")
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.Nonlocal | ast.Starred)
        assert not isinstance(node, ast.FunctionDef) or (node.returns is None and not node.args.kwonlyargs)
        assert not isinstance(node, ast.arg) or node.annotation is None


PLOTS, SCIENCE, TORCH = "matplotlib,mpl_toolkits", "sklearn,skimage,scipy", "torch,torchvision,onnx,dvclive"
LIGHT = {
    "validate": f"numpy,PIL,{PLOTS},{SCIENCE},pandas,{TORCH},onnxruntime,bentoml",
    "download": f"{PLOTS},{SCIENCE},pandas,{TORCH},onnxruntime,bentoml",
    "pack": f"{PLOTS},{SCIENCE},{TORCH},onnxruntime,bentoml",
    "pretrained": f"{PLOTS},{SCIENCE},pandas,{TORCH},onnxruntime,bentoml",
    "split": f"{PLOTS},sklearn,skimage,scipy.stats,{TORCH},onnxruntime,bentoml",
    "explore": f"{SCIENCE},{TORCH},onnxruntime,bentoml",
    "baseline": f"{PLOTS},{TORCH},onnxruntime,bentoml",
    "labels": "torchvision,timm,dvclive,onnxruntime,bentoml",
    "robustness": f"sklearn,skimage,scipy.stats,{TORCH},bentoml",
    "explain": f"{SCIENCE},pandas,torch,torchvision,dvclive,bentoml",
    "cost": f"{SCIENCE},{TORCH},bentoml",
    "describe": f"{PLOTS},{SCIENCE},{TORCH},onnxruntime,bentoml",
    "package": f"{PLOTS},{SCIENCE},pandas,{TORCH}",
    "report": f"{SCIENCE},{TORCH},onnxruntime,bentoml",
    "scratch": f"{PLOTS},sklearn,skimage,scipy,bentoml,torchvision",
}
"""By stage: what is not needed for it to start; what a run needs now and then is imported there."""


@pytest.mark.parametrize("stage", LIGHT)
def test_a_stage_starts_without_what_it_does_not_need(stage, tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); __import__(sys.argv[2]); print(*sys.modules)"
    command = [sys.executable, "-c", code, str(ROOT), f"stages.{stage}"]
    loaded = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert sorted(set(LIGHT[stage].split(",")) & set(loaded)) == []


def test_the_digits_are_read_without_importing_scikit_learn(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib; from darkroom.data.sources import digits; "
        "digits.fetch(pathlib.Path('.')); print({'sklearn', 'scipy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "src")]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "set()\n"
