import json
import re
import shlex
import shutil
import subprocess

import pytest

from darkroom.commands import guide, main, summary
from darkroom.foundations import files


@pytest.fixture
def called(monkeypatch):
    """Return the list of commands that ran, none of which does anything."""
    ran = []
    for name in guide.EXAMPLES:
        if hasattr(main, f"_{name}"):
            monkeypatch.setattr(main, f"_{name}", lambda arguments, name=name: ran.append((name, arguments)))
    return ran


def printed(capsys, *arguments):
    """Return what a command that ends the process prints."""
    with pytest.raises(SystemExit) as end:
        main.run(arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def registered(capsys):
    """Return the names of all commands, from the message about a wrong one."""
    with pytest.raises(SystemExit) as end:
        main.run(["nothing"])
    assert end.value.code == 2
    return re.findall(r"'(\w+)'|(?<=[ ,])(\w+)(?=[,)])", capsys.readouterr().err.partition("choose from")[2])


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_help_lists_each_command_once_in_its_group(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = printed(capsys, "--help")
    names = [first or second for first, second in registered(capsys)]
    assert len(names) >= 9
    for name in names:
        assert len(re.findall(rf"^  {name} ", text, re.MULTILINE)) == 1, name
    assert "\nOther:\n" not in text, "add the command to guide.GROUPS"
    assert text.index("Start:") < text.index("  doctor ") < text.index("Use the model:") < text.index("  predict ")
    assert max(map(len, text.splitlines())) <= max(columns, 80)
    assert "\x1b" not in text


def test_each_command_has_examples_that_are_valid(capsys, called):
    for name in [first or second for first, second in registered(capsys)]:
        text = printed(capsys, name, "--help")
        assert "\nexamples:\n" in text, f"add {name} to guide.EXAMPLES"
        for example in guide.EXAMPLES[name]:
            assert f"  darkroom {example}\n" in text
            main.run(shlex.split(example.partition(" >")[0]))
            if name != "completion":
                assert called.pop()[0] == name
            capsys.readouterr()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_is_a_valid_script(capsys, shell):
    main.run(["completion", shell])
    script = capsys.readouterr().out
    for name in ("predict", "promote", "--csv"):
        assert name.removeprefix("--") in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "found"),
    [(["pro"], {"promote"}), (["summary", "--j"], {"--json"}), (["predict", "--c"], {"--csv"})],
)
def test_bash_completes_commands_and_options(capsys, words, found):
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    main.run(["completion", "bash"])
    call = f"""
        COMP_WORDS=(darkroom {" ".join(words)}); COMP_CWORD={len(words)}
        _shtab_darkroom && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", capsys.readouterr().out + call], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == found


def test_the_summary_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    test = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "macro_f1": 0.5}
    files.write_json(summary.EVALUATION, {"candidates": {"net": {"test": test}}})
    counts = {"cat": {"train": 90, "validation": 30, "test": 30}, "rare": {"train": 9, "validation": 3, "test": 3}}
    files.write_json(summary.DATA, {"per_class": counts, "test_hash": "a"})
    files.write_json(summary.BEST, {"name": "net", "reason": "It is the best."})
    main.run(["summary", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["candidates"] == {"net": test}
    assert (found["selected"], found["test_hash"], found["results_differ_from_commit"]) == ("net", "a", False)
    assert found["warnings"] == ["Fewer than 30 test images, so its scores are unreliable: rare (3)"]
