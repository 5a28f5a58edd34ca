import subprocess

import pytest

from darkroom.foundations.errors import DarkroomError
from stages import validate
from tests.imports import ROOT


def test_candidates_that_the_parameters_no_longer_name_are_removed(tmp_path):
    """Else a stage that depends on the folder of candidates would be out of date in a clone, which has none of them."""
    for name, file in (
        ("lab_cnn", "card.json"),
        ("gone", "card.json"),
        ("baseline", "card.json"),
        ("mine", "notes.txt"),
    ):
        (tmp_path / "candidates" / name).mkdir(parents=True)
        (tmp_path / "candidates" / name / file).write_text("{}")
    arguments = ["--schema", str(tmp_path / "schema.json"), "--candidates", str(tmp_path / "candidates")]
    validate.main(["--params", str(ROOT / "params.yaml"), *arguments])
    assert sorted(path.name for path in (tmp_path / "candidates").iterdir()) == ["baseline", "lab_cnn", "mine"]


@pytest.mark.parametrize("state", ["changed", "committed", "no repository"])
def test_a_wrong_parameter_that_git_does_not_have_can_be_undone(tmp_path, monkeypatch, state):
    """As `dvc exp run -S dataset=digts` leaves it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    right = (ROOT / "params.yaml").read_text(encoding="utf-8")
    wrong = right.replace("dataset: digits", "dataset: digts", 1)
    path = tmp_path / "params.yaml"
    path.write_text(wrong if state == "committed" else right, encoding="utf-8")
    if state != "no repository":
        for command in ("init --quiet", "add .", "-c user.name=a -c user.email=a@localhost commit --quiet -m start"):
            subprocess.run(["git", *command.split()], check=True)
    path.write_text(wrong, encoding="utf-8")
    with pytest.raises(DarkroomError, match="Did you mean 'digits'") as error:
        validate.main(["--schema", "schema.json"])
    assert ("undo all of them with `git checkout params.yaml`" in str(error.value)) == (state == "changed")
    assert not (tmp_path / "schema.json").exists()
