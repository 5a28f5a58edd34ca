import shutil
import subprocess
import time
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.repo.artifacts import Artifacts, check_name_format
from ruamel.yaml import YAML

from darkroom.commands import main, promote
from darkroom.foundations.errors import DarkroomError
from tests.imports import ROOT

pytestmark = pytest.mark.filterwarnings(
    "ignore:_NoneStep.value:DeprecationWarning"
)  # DVC's, in its own process elsewhere

PIPELINE = """\
stages:
  package:
    cmd: mkdir -p served bento && cp source served/model.onnx && cp source bento/bento.yaml
    deps: [source]
    outs: [served, bento]
artifacts:
  model: {path: served, type: model}
  bento: {path: bento, type: bento}
"""


def git(*arguments):
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def tags():
    return git("tag", "--list").split()


def write(text):
    """Build a model from `text`, push it and commit it."""
    Path("source").write_text(text)
    with Repo() as repo:
        repo.reproduce()
        repo.push()
    git("add", ".")
    git("commit", "--quiet", "--message", text)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Return a git and DVC repository with a pushed model and a default remote beside it."""
    folder = tmp_path_factory.mktemp("registry")
    (folder / "project").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "project")
        git("init", "--quiet", "--initial-branch", "main")
        git("config", "user.name", "A")
        git("config", "user.email", "a@example.org")
        Repo.init().close()
        with Repo() as repo, repo.config.edit("repo") as config:
            config["remote"] = {"store": {"url": str(folder / "store")}}
            config["core"] = {"remote": "store", "analytics": False}
        (folder / "project" / "dvc.yaml").write_text(PIPELINE)
        (folder / "project" / ".gitignore").write_text("/served\n/bento\n")
        write("one")
    return folder


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """Return a copy of the template, the current folder, with a remote of its own."""
    shutil.copytree(template, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy" / "project")
    config = tmp_path / "copy" / "project" / ".dvc" / "config.local"
    config.write_text(f"['remote \"store\"']\n    url = {tmp_path / 'copy' / 'store'}\n")
    git("config", "core.excludesFile", "none")
    return tmp_path / "copy" / "project"


def fetched(project, name, target, **which):
    """Return the content of an artifact that `dvc artifacts get` fetches from a clone of the project."""
    shutil.rmtree(target, ignore_errors=True)
    Artifacts.get(str(project), name, out=str(target), **which)
    return next(target.iterdir()).read_text()


def test_versions_and_stages_are_fetched_from_a_clone_that_has_only_the_remote(project, tmp_path, capsys):
    main.run(["promote", "1.0.0", "prod"])
    printed = capsys.readouterr().out
    assert f"model and bento v1.0.0: registered at commit {git('rev-parse', '--short', 'HEAD')}\n" in printed
    assert tags() == ["bento#prod#1", "bento@v1.0.0", "model#prod#1", "model@v1.0.0"]
    assert {git("cat-file", "-t", tag) for tag in tags()} == {"tag"}, "dvc ignores lightweight tags"
    write("two")
    assert "now in staging" in promote.promote("v1.1.0", "staging")
    time.sleep(1.1)  # the order in a stage is that of the seconds
    assert "model and bento v1.1.0: now in prod, which had v1.0.0" in promote.promote("1.1.0", "prod")
    git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(tmp_path / "bare"), str(clone))
    (clone / ".dvc" / "config.local").write_text((project / ".dvc" / "config.local").read_text())
    shutil.rmtree(project / ".dvc" / "cache")
    for name in ("model", "bento"):
        assert fetched(clone, name, tmp_path / "got", version="v1.0.0") == "one"
        assert fetched(clone, name, tmp_path / "got", stage="prod") == "two"


def test_going_back_to_an_older_version(project, tmp_path):
    promote.promote("1.0.0", "prod")
    write("two")
    time.sleep(1.1)
    promote.promote("2.0.0", "prod")
    made = tags()
    time.sleep(1.1)
    assert "already in prod" in promote.promote("2.0.0", "prod")
    assert tags() == made
    (project / "source").write_text("edited")  # does not matter: both versions are registered
    assert "v1.0.0: now in prod, which had v2.0.0" in promote.promote("1.0.0", "prod")
    assert sorted(set(tags()) - set(made)) == ["bento#prod#3", "model#prod#3"]
    assert fetched(project, "model", tmp_path / "got", stage="prod") == "one"


def edit(project):
    (project / "source").write_text("edited")


def stale(project):
    edit(project)
    git("commit", "--quiet", "--all", "--message", "edited")


def unbuilt(project):
    git("rm", "--quiet", "dvc.lock")
    git("commit", "--quiet", "--message", "no lock")


def unpushed(project):
    edit(project)
    with Repo() as repo:
        repo.reproduce()
    git("commit", "--quiet", "--all", "--message", "not pushed")


def lost(project):
    for folder in (project / ".dvc" / "cache", project.parent / "store"):
        shutil.rmtree(folder)


def unusable(project):
    config = project / ".dvc" / "config.local"
    config.write_text("['remote \"store\"']\n    url = hdfs://host/store\n")


def emptied(project):
    for path in (project.parent / "store").rglob("*"):
        if path.is_file() and path.read_text() == "one":
            path.unlink()


def partial(project):
    git("tag", "--annotate", "model@v1.0.0", "--message", "by hand")


def other(project):
    git("tag", "--annotate", "model@v0.9.0", "--message", "by hand")


def anonymous(project):
    git("config", "user.email", "")


def unnamed(project):
    path = project / "dvc.yaml"
    path.write_text(path.read_text().partition("artifacts:")[0])
    git("commit", "--quiet", "--all", "--message", "no artifacts")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit, r"these files differ from it: source\. Commit or restore them"),
        (stale, "this commit does not build the model in dvc.lock, since package must run again: make run"),
        (unbuilt, "dvc.lock has no served, bento: make run, then commit dvc.lock"),
        (unpushed, "the DVC remote lacks served, bento of this commit: dvc push"),
        (emptied, "the DVC remote lacks served, bento of this commit: dvc push"),
        (lost, "DVC's cache and remote lack served, bento: make run builds it again, then dvc push"),
        (unusable, "the DVC remote store cannot be used .*dvc-hdfs.*: darkroom doctor checks its settings"),
        (partial, r"only model@v1.0.0 of model@v1.0.0, bento@v1.0.0 exists: git fetch --tags, or remove it"),
        (other, "this commit is version 0.9.0 already: darkroom promote 0.9.0 prod"),
        (anonymous, "git knows none: git config user.name"),
        (unnamed, r"dvc.yaml has no artifacts: add the section, see docs/registry.md"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_commit_that_others_could_not_use_is_refused(project, monkeypatch, change, message):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    change(project)
    before = tags()
    with pytest.raises(DarkroomError, match=message):
        promote.promote("1.0.0", "prod")
    assert tags() == before


@pytest.mark.parametrize(
    ("version", "stage", "message"),
    [
        ("1.0", "prod", "'1.0' is no version: use three numbers"),
        ("1.0.0\n", "prod", "is no version"),
        ("01.0.0", "prod", "is no version"),
        ("1.0.0", "Prod", "'Prod' is no stage: use lower-case letters"),
        ("1.0.0", "a#b", "is no stage"),
    ],
)
def test_names_that_no_tag_has_are_refused(version, stage, message):
    with pytest.raises(DarkroomError, match=message):
        promote.promote(version, stage)


def test_a_tag_that_fails_leaves_none(project, monkeypatch):
    from gto import api
    from gto.exceptions import GTOException

    register = api.register

    def fails(repo, name, *arguments, **options):
        if name == "bento":
            raise GTOException("the disk is full")
        return register(repo, name, *arguments, **options)

    with monkeypatch.context() as patch:  # dulwich, which writes the tags, reads this as no date
        patch.setenv("GIT_COMMITTER_DATE", "yesterday")
        with pytest.raises(DarkroomError, match=r"v1\.0\.0 cannot be tagged: yesterday"):
            promote.promote("1.0.0", "prod")
    monkeypatch.setattr(api, "register", fails)
    with pytest.raises(DarkroomError, match=r"v1\.0\.0 cannot be tagged: the disk is full"):
        promote.promote("1.0.0", "prod")
    assert tags() == []


def test_without_a_remote_a_version_is_that_of_one_clone(project):
    (project / ".dvc" / "config.local").unlink()
    (project / ".dvc" / "config").write_text("")
    git("commit", "--quiet", "--all", "--message", "no remote")
    printed = promote.promote("1.0.0-rc.1", "staging")
    assert "No DVC remote is set, so only this clone has the files: dvc remote add --default NAME URL" in printed
    assert "model@v1.0.0-rc.1" in tags()
    git("commit", "--quiet", "--allow-empty", "--message", "later")
    shutil.rmtree(project / ".dvc" / "cache")
    with pytest.raises(DarkroomError, match="DVC's cache lack served, bento: make run builds it again"):
        promote.promote("1.0.0", "prod")


def test_outside_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkroomError, match=r"dvc\.yaml is missing: run from the project's top folder"):
        promote.promote("1.0.0", "prod")


def test_the_artifacts_of_this_project_are_outputs_of_its_pipeline():
    document = YAML(typ="safe").load(ROOT / "dvc.yaml")
    assert sorted(document["artifacts"]) == ["bento", "model"]
    for name, artifact in document["artifacts"].items():
        check_name_format(name)
        assert artifact["path"] in document["stages"]["package"]["outs"]
        assert artifact["desc"]
