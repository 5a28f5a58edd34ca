import subprocess

import pytest
from dvc.lock import Lock

from darkroom.commands import main, mend
from darkroom.foundations.errors import DarkroomError

WHOLE = """\
schema: '2.0'
stages:
  pack:
    cmd: python stages/pack.py
    outs:
    - path: data/packed
      hash: md5
      md5: 1b0f8e25a0b4a4f3a7d1f8c9c25f7e6a.dir
      size: 100
  train@cnn:
    cmd: python stages/train.py
    outs:
    - path: models/cnn
      hash: md5
      md5: 6e1c9e8a4ff0e6dbf7d1f8c9c25f7e6a.dir
      size: 50
"""
PIPELINE = """\
stages:
  pack:
    cmd: python stages/pack.py
  train:
    foreach: [cnn]
    do:
      cmd: python stages/train.py
"""
FIRST = WHOLE[: WHOLE.index("  train@cnn")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a repository with a committed `dvc.lock`, in which DVC has run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    mend.LOCK.write_text(WHOLE)
    mend.PIPELINE.write_text(PIPELINE)
    mend.PATHS.write_text('{"write": {}, "read": {}}')
    for command in (
        ["init", "--quiet"],
        ["add", "dvc.lock"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], check=True)
    return tmp_path


@pytest.mark.parametrize(
    "left",
    ["", "sche", *(WHOLE[:end] for end in range(5, len(WHOLE), 7)), FIRST, WHOLE[:-1], "\0" * 100],
    ids=len,
)
def test_half_a_lock_file_gives_way_to_the_last_committed_one(place, capsys, left):
    mend.LOCK.write_text(left)
    main.run(["mend"])
    assert capsys.readouterr().out == "dvc.lock was incomplete: the last committed version is restored\n"
    assert mend.LOCK.read_text() == WHOLE
    assert mend.mend() == []


def test_half_a_lock_file_that_was_never_committed_goes(place):
    subprocess.run(["git", "rm", "--quiet", "--cached", "dvc.lock"], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "b"], check=True)
    mend.LOCK.write_text("")
    assert mend.mend() == ["dvc.lock was incomplete: removed"]
    assert not mend.LOCK.exists()


@pytest.mark.parametrize("left", ["", '{"write": {"data'])
def test_half_a_list_of_paths_goes(place, left):
    mend.PATHS.write_text(left)
    assert mend.mend() == [".dvc/tmp/rwlock was incomplete: removed"]
    assert not mend.PATHS.exists()


def test_what_is_whole_stays_and_nothing_is_said(place, capsys):
    more = WHOLE + FIRST.partition("stages:\n")[2].replace("pack", "later")
    for newer in (WHOLE.replace("size: 100", "size: 200"), more):
        mend.LOCK.write_text(newer)
        main.run(["mend"])
        assert capsys.readouterr().out == ""
        assert mend.LOCK.read_text() == newer
    assert mend.PATHS.is_file()


def test_a_stage_that_was_taken_out_of_the_pipeline_may_be_missing(place):
    mend.LOCK.write_text(FIRST)
    mend.PIPELINE.write_text(PIPELINE[: PIPELINE.index("  train")])
    assert mend.mend() == []
    mend.PIPELINE.unlink()
    assert mend.mend() == []
    assert mend.LOCK.read_text() == FIRST


def test_where_dvc_never_ran_there_is_nothing_to_mend(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mend.mend() == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_running_dvc_writes_is_left_alone(place):
    mend.LOCK.write_text("")
    with (
        Lock(str(mend.GUARD)),
        pytest.raises(DarkroomError, match=r"another DVC process is running here .*: wait for it"),
    ):
        mend.mend()
    assert mend.LOCK.read_text() == ""


def test_sources_without_git_are_one_message_with_the_remedies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".dvc").mkdir()
    mend.PIPELINE.write_text(PIPELINE)
    with pytest.raises(DarkroomError, match=r"is not a git repository: .*git init && git add \. &&.* or turn git off"):
        mend.mend()
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    assert mend.mend() == []
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DarkroomError, match="git is not installed"):
        mend.mend()
