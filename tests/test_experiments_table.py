"""`make experiments`: a table of experiments that fits a screen."""

import re
import shlex
import subprocess
import sys

from tests.imports import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTENT = """
metrics: [metrics/data.json, metrics/evaluation.json]
params: [params.yaml]
stages: {train: {cmd: 'true', deps: [code.py], params: [seed, scratch, transfer]}}
"""


def run(folder, *command):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def dvc(folder, *arguments):
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def test_the_table_shows_what_was_changed_and_one_result_even_if_it_is_the_same_everywhere(tmp_path):
    for name in ("params.yaml", "metrics/data.json", "metrics/evaluation.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "dvc.yaml").write_text(CONTENT)
    (tmp_path / "code.py").write_text("1")
    for command in ("init --quiet", "config user.name a", "config user.email a@localhost"):
        run(tmp_path, "git", *command.split())
    dvc(tmp_path, "init", "--quiet")
    dvc(tmp_path, "config", "core.analytics", "false")
    dvc(tmp_path, "commit", "--quiet", "--force")
    run(tmp_path, "git", "add", ".")
    run(tmp_path, "git", "commit", "--quiet", "--message", "start")
    parameters = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    assert "learning_rate: 0.01\n" in parameters
    changed = parameters.replace("learning_rate: 0.01\n", "learning_rate: 0.004\n", 1)
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8")
    (tmp_path / "code.py").write_text("2")
    dvc(tmp_path, "exp", "save", "--quiet", "--name", "slower")
    (recipe,) = re.findall(r"@\$\(BIN\)/dvc (exp show .*)", MAKEFILE)
    table = dvc(tmp_path, *shlex.split(recipe.replace("$$", "$")), "--csv").splitlines()
    assert table[0] == "Experiment,best.test_accuracy,scratch.lab_cnn.learning_rate"
    assert {row.rpartition(",")[2] for row in table[1:]} == {"0.01", "0.004"}
