import subprocess
import sys

import pytest

from darkroom.errors import DarkroomError, run


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
        "import pathlib, time; from darkroom import errors, files\n"
        "def main(argv):\n"
        "    with files.whole_directory(pathlib.Path('out')) as out:\n"
        "        (out / 'half').touch(); print('ready', flush=True); time.sleep(60)\n"
        "errors.run(main)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(30) == 143
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_a_message_acts_on_the_terminal(capsys):
    with pytest.raises(SystemExit):
        run(lambda argv: _raise(DarkroomError("a\x1b[2J\u202e.zip\n  line 2: \ufffe\nerror: forged")))
    assert capsys.readouterr().err == "error: a\\x1b[2J\\u202e.zip\n  line 2: \\ufffe\n  error: forged\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda argv: _raise(ZeroDivisionError()))
