import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError, fixable, run
from tests.imports import ROOT
from tests.pictures import class_folders, write_folder


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 0), (DarkroomError("size 3 is too small: use 8"), 1), (KeyboardInterrupt(), 130)],
)
def test_run_ends_the_process_with_a_status(error, status, capsys):
    with pytest.raises(SystemExit) as end:
        run(lambda argv: _raise(error) if error else None)
    assert end.value.code == status
    printed = capsys.readouterr().err
    assert printed == ("error: size 3 is too small: use 8\n" if status == 1 else "")


def test_a_terminated_stage_leaves_nothing_behind(tmp_path):
    code = (
        "import pathlib, time; from darkroom.foundations import errors, files\n"
        "def main(argv):\n"
        "    with files.whole_directory(pathlib.Path('out')) as out:\n"
        "        (out / 'half').touch(); print('ready', flush=True); time.sleep(60)\n"
        "errors.run(main)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(300) == 143
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_a_message_acts_on_the_terminal(capsys):
    with pytest.raises(SystemExit):
        run(lambda argv: _raise(DarkroomError("a\x1b[2J\u202e.zip\n  line 2: \ufffe\nerror: forged")))
    assert capsys.readouterr().err == "error: a\\x1b[2J\\u202e.zip\n  line 2: \\ufffe\n  error: forged\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda argv: _raise(ZeroDivisionError()))


FULL = "could not be written, because the disk is full: free some space there or in the folder for temporary files"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "x", "data/raw"), f"data/raw {FULL}"),
        (OSError(errno.ENOSPC, "x"), f"a file {FULL}"),
        (OSError(errno.EDQUOT, "x", "data/raw"), "data/raw could not be written, because your disk quota is exceeded"),
        (
            PermissionError(errno.EACCES, "x", "a"),
            "a: permission denied: change its permissions, or use another",
        ),
        (PermissionError(errno.EACCES, "x", "data/.raw.partial/a.zip"), "data/raw/a.zip: permission denied"),
        (OSError(errno.EROFS, "x", "a"), "a: its file system is read-only"),
        (OSError(errno.EXDEV, "x", "a", None, "b"), None),
        (OSError(errno.ENOTEMPTY, "x", "a", None, "b"), "b: the folder is not empty, or is in use"),
        (OSError(errno.EIO, "x", b"caf\xe9"), "caf\ufffd: the disk or the network reports an error"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "there is no writable folder for temporary",
        ),
        (FileNotFoundError(errno.ENOENT, "x"), None),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), None),
        (
            RuntimeError("Error while serializing: No space left on device (os error 28)"),
            "Error while serializing: No ",
        ),
        (RuntimeError("Load model from a/model.onnx failed:system error number 13"), "Load model from a/model.onnx"),
        (RuntimeError("another error"), None),
        (OSError("cannot identify image file"), None),
    ],
    ids=str,
)
def test_an_error_of_the_system_becomes_a_message_with_the_path_and_the_remedy(error, message):
    found = fixable(error)
    assert found is None if message is None else str(found).startswith(message), found


def test_the_edge_tells_errors_of_the_system_and_no_others(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        run(lambda argv: (tmp_path / "file" / "out").mkdir())
    assert end.value.code == 1
    expected = f"error: {tmp_path / 'file'}: there is a file where a folder is needed: move the file\n"
    assert capsys.readouterr().err == expected
    with pytest.raises(ConnectionRefusedError):
        run(lambda argv: _raise(ConnectionRefusedError(errno.ECONNREFUSED, "refused")))


def test_a_command_in_a_folder_that_was_removed(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit):
        run(lambda argv: None)
    assert capsys.readouterr().err == "error: the current folder was removed: change to another one\n"


@pytest.mark.parametrize("whole", [files.whole_directory, files.whole_file])
def test_what_is_written_whole_says_where_the_disk_was_full(tmp_path, whole):
    for error in (OSError(errno.ENOSPC, "full"), RuntimeError("No space left on device (os error 28)")):
        with pytest.raises(OSError, match="No space left") as found, whole(tmp_path / "out"):
            raise error
        assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
        assert list(tmp_path.iterdir()) == []


def limit_files() -> None:
    import resource  # Windows has none

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_stage_that_cannot_write_ends_with_one_message_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for a full disk, which needs a disk of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_folder(tmp_path / "inbox", class_folders({"ant": 3, "bee": 3}))
    stages = {
        "validate": ["--schema", "out"],
        "download": ["--dataset", "folder", "--inbox", "inbox", "--downloads", "downloads", "--out", "out"],
        "pack": ["--dataset", "folder", "--raw", "raw", "--out", "out"],
    }
    for stage, arguments in stages.items():
        before = sorted(tmp_path.rglob("*"))
        result = start(tmp_path, stage, *arguments, limited=True)
        assert result.returncode == 1
        assert result.stderr == "error: out: the file system does not support files of that size: use another disk\n"
        assert sorted(tmp_path.rglob("*")) == before
        if stage == "download":
            start(tmp_path, stage, *arguments[:-1], "raw")


def start(folder: Path, *command: str, limited: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "stages", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=limit_files if limited else None,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
