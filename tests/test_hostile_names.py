"""File and class names that act on a terminal, or that it has no letters for: every command and stage prints them."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from darkroom.commands import main
from darkroom.foundations import errors
from stages import download
from tests.imports import ROOT
from tests.pictures import encode, pixels, write_folder, write_zip
from tests.test_commands_init import PARAMS

EVIL = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202e"
"""Colours, a window title, an erased screen, and letters from right to left."""
FORGED = "\nerror: forged"
CLASSES = ("ネコ", "café", "=1+1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    top = tmp_path_factory.mktemp("names")
    names = [f"{label}/{number}.png" for label in CLASSES for number in range(10)]
    members = {name: encode(pixels(seed)) for seed, name in enumerate(names)}
    members |= {f"ネコ/{EVIL}.png": b"x", f"café/{FORGED}.png": b"x", f"=1+1/{'y' * 200}.png": b"x"}
    write_folder(top / "folder", members)
    (top / "inbox").mkdir()
    write_zip(top / "inbox" / f"set{EVIL}{FORGED}.zip", members)
    return top


@pytest.fixture(autouse=True)
def _parameters(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "params.yaml").write_text(PARAMS.replace("dataset: digits", "dataset: folder"))


def on_terminal(encoding: str, code: str) -> str:
    """Run Python code that ends well on a terminal of this encoding; return what the terminal got."""
    master, slave = pty.openpty()
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    environment |= {"COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    parts = []
    with suppress(OSError):  # Linux's way to say that nobody holds the other end
        while part := os.read(master, 65536):
            parts.append(part)
    os.close(master)
    printed = b"".join(parts).decode(encoding, "replace")
    assert process.wait(300) == 0, printed
    return printed


def check(printed: str) -> None:
    for sequence in ("\x1b[31m", "\x1b]", "\x07", "\x9b", "\u202e"):
        assert sequence not in printed
    assert not [line for line in printed.splitlines() if line.startswith(FORGED[1:])]


DOWNLOAD = ["--dataset", "folder", "--inbox", "inbox", "--downloads", "downloads", "--out", "raw"]
PACK = ["--dataset", "folder", "--raw", "raw", "--out", "packed"]
CODE = f"""
from darkroom.foundations import errors
from darkroom.commands import main
from stages import download, pack
def run(_):
    download.main({DOWNLOAD})
    pack.main({PACK})
    main.run(["init", "folder", "--yes", "--offline"])
errors.run(run)
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_are_shown_and_do_nothing(encoding):
    """What the terminal has no letters for becomes an escape, and so does what would act on it."""
    label = "ネコ" if encoding == "utf-8" else "\\u30cd\\u30b3"
    accent = "caf\\xe9" if encoding == "ascii" else "café"
    evil = "\\x1b[31m\\x1b]0;owned\\x07\\x9b2J\\u202e"
    printed = on_terminal(encoding, CODE)
    check(printed)
    assert f"set{evil}\\nerror: forged.zip: " in printed
    assert f"packed at 64{'x' if encoding == 'ascii' else '×'}64" in printed
    assert printed.count(f"{label}/{evil}.png: not") == 2
    assert printed.count(f"{accent}/\\nerror: forged.png: not") == 2
    assert f"\n{label} " in printed
    assert ("█" if encoding == "utf-8" else "#") * 30 in printed


BAD = f"{EVIL}{FORGED}"


@pytest.mark.parametrize(
    ("run", "status", "message"),
    [
        (lambda _: main.run(["predict", BAD, "--model", BAD]), 1, "model.onnx is missing"),
        (lambda _: main.run(["init", BAD]), 1, "forged does not exist"),
        (lambda _: main.run(["init", "folder", "--name", BAD]), 1, "forged' is not allowed"),
        (lambda _: main.run(["drift", BAD, "--model", BAD]), 1, "is missing"),
        (lambda _: main.run(["corrections", BAD]), 1, "forged has no corrections"),
        (lambda _: main.run(["predict", "x", f"--{EVIL}"]), 2, "unrecognized arguments: --\\x1b[31m"),
        (lambda _: download.main([*DOWNLOAD[:3], BAD, *DOWNLOAD[4:]]), 1, "does not exist"),
        (lambda _: download.main(["--dataset", BAD, *DOWNLOAD[2:]]), 1, "no '\\x1b[31m"),
        (lambda _: download.main([*DOWNLOAD, "--params", BAD]), 1, "is missing: run from"),
    ],
)
def test_messages_show_arguments_without_harm(run, status, message, capsys):
    with pytest.raises(SystemExit) as end:
        errors.run(run)
    printed = capsys.readouterr().err
    assert end.value.code == status
    check(printed)
    assert message in printed
