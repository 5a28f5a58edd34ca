"""Git as a program, in real repositories."""

import re
import sys
from pathlib import Path

import pytest

from darkroom import git, revision
from tests.imports import ROOT


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the current folder, which is in no repository, without the person's settings of git."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b")
    return tmp_path


@pytest.fixture
def repository(place):
    """Return a repository with one commit."""
    git.run("init", "--quiet", "--initial-branch", "main")
    (place / "inner").mkdir()
    for name in ("a.txt", "é ß.txt", "inner/b.txt", "old name.txt"):
        (place / name).write_text(f"{name}\nwith two lines\n\n", encoding="utf-8")
    git.run("add", ".")
    git.run("commit", "--quiet", "--message", "first")
    return place


def test_without_git_each_answer_is_that_it_is_not_installed(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository / "inner"))
    for ask in (git.commit, git.changed, lambda: git.exists("main"), lambda: git.read("HEAD", "a.txt")):
        with pytest.raises(git.GitMissingError, match=r"git is not installed, .*: install git"):
            ask()
    assert git.attempt("--version") is None
    assert (revision.commit(), revision.changed(), revision.committed(Path("a.txt"))) == ("", [], "")


def test_a_folder_outside_of_a_repository_is_named_with_two_remedies(place):
    message = f"{re.escape(str(place))} is not a git repository: clone the project with git, .*git init"
    for ask in (git.commit, git.changed, lambda: git.exists("main"), lambda: git.read("HEAD", "a.txt")):
        with pytest.raises(git.NotARepositoryError, match=message):
            ask()
    (place / "deeper").mkdir()
    with pytest.raises(git.NotARepositoryError, match=r"^deeper is not a git repository"):
        git.changed(folder=Path("deeper"))
    with pytest.raises(git.GitError, match="git cannot run in nowhere"):
        git.changed(folder=Path("nowhere"))


def test_a_repository_without_a_commit_is_neither_missing_nor_an_unknown_name(place):
    git.run("init", "--quiet")
    with pytest.raises(git.NoRevisionError) as error:
        git.commit()
    assert (error.value.problem, error.value.remedy) == (
        "the repository has no commit yet",
        "git add . && git commit -m start",
    )
    assert git.read("HEAD", "a.txt") is None
    assert git.changed() == []


@pytest.mark.parametrize("name", ["no-such", "--help", "HEAD~7", "0123456789", "a.txt", "bad..name", "two words\x1b"])
def test_an_unknown_revision_is_named(repository, name):
    with pytest.raises(git.NoRevisionError, match=r"git knows no revision .*: name a commit, branch or tag") as error:
        git.commit(name)
    assert "\x1b" not in str(error.value)
    assert not git.exists(name)
    assert git.read(name, "a.txt") is None


@pytest.mark.parametrize("command", [("diff", "no-such", "--"), ("rev-list", "no-such"), ("show", "no-such:./a.txt")])
def test_other_commands_recognise_an_unknown_revision_too(repository, command):
    with pytest.raises(git.NoRevisionError, match=f"git {command[0]} knows no such revision: .*no-such"):
        git.run(*command)


def replace_git(folder, monkeypatch, body):
    """Put a program of this name, in Python, before git."""
    folder.mkdir()
    (folder / "git").write_text(f"#!{sys.executable}\n{body}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_errors_are_recognised_in_every_language(place, monkeypatch):
    words = "'not a git repository' if os.environ['LC_ALL'] == 'C' else 'kein Git-Repository'"
    replace_git(place / "bin", monkeypatch, f"import os, sys; sys.exit({words})")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(git.NotARepositoryError):
        git.commit()


def test_any_other_failure_carries_the_words_of_git(repository):
    with pytest.raises(git.GitError, match=r"git tag failed: .*no-such") as error:
        git.run("tag", "--delete", "no-such")
    assert type(error.value) is git.GitError


def test_a_branch_a_tag_and_a_short_hash_are_the_same_commit(repository):
    git.run("tag", "--annotate", "v1", "--message", "v1")
    head = git.commit()
    assert re.fullmatch("[0-9a-f]{40}", head)
    assert {git.commit(name) for name in ("main", "v1", head[:8], "refs/tags/v1")} == {head}
    assert git.exists("v1")
    assert revision.commit() == head


def test_changed_files_have_their_real_names(repository):
    assert git.changed(untracked=True) == []
    (repository / "é ß.txt").write_text("changed", encoding="utf-8")
    (repository / "a.txt").unlink()
    git.run("mv", "old name.txt", "new name.txt")
    (repository / "inner" / "c -> d.txt").write_text("new")
    assert sorted(git.changed()) == ["a.txt", "new name.txt", "é ß.txt"]
    assert git.changed("inner") == []
    assert git.changed("inner", untracked=True) == ["inner/c -> d.txt"]
    assert git.changed(".", untracked=True, folder=Path("inner")) == ["inner/c -> d.txt"]


def test_texts_are_read_whole_from_the_folder_where_one_is(repository, monkeypatch):
    assert git.read("HEAD", "a.txt") == "a.txt\nwith two lines\n\n"
    assert git.read("HEAD", "inner") is None, "a folder has no text"
    names = ["HEAD:./é ß.txt", "HEAD:./inner", "HEAD:./no such.txt", "HEAD:./inner/b.txt"]
    assert list(git.read_all(names)) == ["é ß.txt\nwith two lines\n\n", None, None, "inner/b.txt\nwith two lines\n\n"]
    assert list(git.read_all([])) == []
    monkeypatch.chdir(repository / "inner")
    assert git.read("HEAD", "b.txt") == "inner/b.txt\nwith two lines\n\n"
    assert git.read("HEAD", "a.txt") is None


def test_looking_does_not_take_the_lock_that_a_commit_needs(repository):
    index = repository / ".git" / "index"
    before = index.read_bytes()
    (repository / "a.txt").touch()  # git would otherwise write the new time into its index
    assert git.changed() == []
    assert index.read_bytes() == before


def test_a_command_that_does_not_end_is_stopped(repository, monkeypatch):
    replace_git(repository / "bin", monkeypatch, "import time; time.sleep(30)")
    monkeypatch.setattr(git, "TIMEOUT", 0.5)
    with pytest.raises(git.GitError, match=r"git status did not end within 0\.5 seconds: check the disk"):
        git.changed()


def test_the_repository_of_a_calling_hook_is_not_that_of_another_folder(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    git.run("init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
    assert git.run("rev-parse", "--absolute-git-dir", folder=other) == str(other.resolve() / ".git")
    assert git.run("rev-parse", "--absolute-git-dir") == str((repository / ".git").resolve())


def test_nothing_else_runs_git():
    sources = [path for folder in ("src", "stages") for path in (ROOT / folder).rglob("*.py")]
    found = [path.name for path in sources if re.search(r'\[\s*"git"', path.read_text(encoding="utf-8"))]
    assert found == ["git.py"]
