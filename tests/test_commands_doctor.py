import json
import os
import re
import socket
import subprocess
import sys
import types
import venv
from pathlib import Path

import pytest
from dvc.lock import Lock
from ruamel.yaml import YAML

from darkroom import processor
from darkroom.commands import dvc_internals, main, mend
from darkroom.commands.doctor import access, assets, doctor, environment, machine, project
from darkroom.commands.doctor.finding import error, ok, warning
from tests.imports import ROOT

SECRET = "hunter2-not-to-be-shown"
LOCKED = "schema: '2.0'\nstages:\n  pack:\n    cmd: python stages pack\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return an empty project in a git repository with one commit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    mend.LOCK.write_text(LOCKED)
    mend.PIPELINE.write_text("stages: {pack: {cmd: python stages pack}}\n")
    commit("init", "--quiet")
    commit("add", "dvc.lock", "dvc.yaml")
    commit("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    return tmp_path


def commit(*arguments):
    subprocess.run(["git", *arguments], check=True)


def found(check, subject):
    """Return status, text and remedy of what a check found about a subject."""
    (finding,) = [each for each in check() if each.subject == subject]
    return finding.status, finding.text, finding.remedy


def test_a_python_without_packages_is_examined_all_the_same(tmp_path):
    venv.create(tmp_path / "bare", symlinks=True)
    code = "from darkroom.commands.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [tmp_path / "bare" / "bin" / "python", "-c", code, "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert not report["ok"]
    assert set(doctor.CHECKS) - {"DVC", "report tools"} <= {each["subject"] for each in report["findings"]}
    texts = [each["text"] for each in report["findings"]]
    assert "not checked: the package psutil is missing" in texts
    assert all(each["remedy"] for each in report["findings"] if each["status"] != "ok")


def test_here_nothing_is_an_error(monkeypatch, capsys):
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are not in a git repository")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(environment, "LOCK", ROOT / "requirements-serve.txt")  # a test run need not have all of it
    findings = doctor.examine()
    assert [each for each in findings if each.status == "error"] == []
    monkeypatch.setattr(doctor, "CHECKS", {})
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    main.run(["doctor"])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) > 80, "a line is not broken when piped"


def test_an_error_is_exit_status_1_and_a_warning_is_not(monkeypatch, capsys):
    findings = [ok("a", "fine"), warning("b", "slow", "wait")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    main.run(["doctor"])
    assert capsys.readouterr().out == "ok       a  fine\nwarning  b  slow\n            → wait\n\n1 warning\n"
    findings += [error("c", "bad", "repair"), error("d", "worse", "repair")]
    with pytest.raises(SystemExit, match="1"):
        main.run(["doctor"])
    assert capsys.readouterr().out.endswith("\n\n2 errors, 1 warning\n")


def test_a_check_that_fails_is_a_line_and_hides_no_other():
    def breaks():
        yield ok("before", "fine")
        raise ValueError("the registry\nis \x1b[31mred")

    findings = doctor.examine({"broken": breaks, "after": lambda: [ok("after", "fine")]})
    assert [(each.subject, each.status) for each in findings] == [
        ("before", "ok"), ("broken", "error"), ("after", "ok"),
    ]  # fmt: skip
    assert findings[1].text == r"not checked: ValueError: the registry is \x1b[31mred"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(width):
    findings = [warning("bundled files", "word " * 40, "remedy " * 30), ok("a", "b")]
    printed = doctor.text(findings, width, colour=False)
    assert max(map(len, printed.splitlines())) <= width
    coloured = doctor.text(findings, width, colour=True)
    assert coloured.replace("\x1b[33m", "").replace("\x1b[32m", "").replace("\x1b[0m", "") == printed


@pytest.mark.parametrize(
    ("locked", "status", "text"),
    [
        ("numpy==0.0.1 \\\n    --hash=sha256:00\n", "warning", r"numpy [\d.]+ instead of 0.0.1: results can differ"),
        ("not-there-at-all==1.0 \\\n    --hash=sha256:00\n", "error", "1 missing: not-there-at-all"),
        (
            "not-there==1.0 ; sys_platform == 'plan9' \\\n    --hash=sha256:00\n",
            "ok",
            "0 as locked in requirements.txt",
        ),
        ("tool==1.0 \\\n    --hash=sha256:00\n", "warning", "missing, for development only: tool"),
    ],
)
def test_packages_are_compared_with_the_lock(place, locked, status, text):
    environment.LOCK.write_text(locked)
    environment.PROJECT.write_text('[dependency-groups]\ndev = ["tool>=1"]\n')
    state, words, _ = found(environment.packages, "packages")
    assert state == status
    assert re.fullmatch(text, words), words


def test_another_build_of_torch_needs_no_packages_of_cuda(place, monkeypatch):
    environment.LOCK.write_text("torch==2.11.0 \\\n    --hash=sha256:0\nnvidia-cublas==13 \\\n    --hash=sha256:0\n")
    versions = {"torch": "2.11.0"}
    monkeypatch.setattr(environment, "_version", versions.get)
    assert found(environment.packages, "packages")[:2] == ("error", "1 missing: nvidia-cublas")
    versions["torch"] = "2.11.0+cpu"
    assert found(environment.packages, "packages")[:2] == ("ok", "2 as locked in requirements.txt, torch 2.11.0+cpu")


def test_a_python_that_dvc_would_not_start_is_a_warning(monkeypatch, tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    status, text, remedy = found(environment.python, "activation")
    assert (status, remedy.startswith("source ")) == ("warning", True)
    assert str(other) in text
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert found(environment.python, "Python")[0] == "error"


def test_outside_a_project_only_the_machine_is_examined(place, tmp_path_factory, monkeypatch):
    for broken in ("a: [\n", "dataset: a\ndatasets: null\n", "datasets: {}\n"):
        project.PARAMS.write_text(broken)
        assert found(access.kaggle, "Kaggle")[0] == "ok", "another check reports it"
    assert project.is_here()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    findings = doctor.examine()
    assert [each.subject for each in findings if each.status == "error"] == ["project"]
    assert {"Python", "processor", "memory", "disk", "port"} <= {each.subject for each in findings}
    assert not doctor.OF_PROJECT & {each.subject for each in findings}
    assert set(doctor.CHECKS) > doctor.OF_PROJECT


FLAGS = "model name\t: Chip\nflags\t\t: fpu {}\n"


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        ("avx2 avx512f avx512_bf16", "ok", "AVX-512, trains in bfloat16"),
        ("avx2", "ok", "AVX2, no bfloat16, trains in float32"),
        ("sse2", "warning", "no AVX2: training is several times slower"),
    ],
)
def test_the_instructions_that_explain_speed(tmp_path, monkeypatch, flags, status, text):
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "PROCESSOR", tmp_path / "cpuinfo")
    processor.PROCESSOR.write_text(FLAGS.format(flags))
    state, words, _ = found(machine.processor, "processor")
    assert state == status
    assert words.startswith("Chip, ")
    assert words.endswith(text)


@pytest.mark.parametrize(
    "limits", [{"cpu.max": "150000 100000"}, {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}]
)
def test_a_container_with_fewer_cores_than_it_shows_is_a_warning(tmp_path, monkeypatch, limits):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "usable", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    status, text, remedy = found(machine.processor, "core limit")
    assert (status, remedy) == ("warning", "export OMP_NUM_THREADS=1")
    assert "1.5 of 8 cores" in text
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [each.status for each in machine.processor()] == ["ok"]


def test_a_containers_memory_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(str(3 * machine.GIB))
    (tmp_path / "memory.current").write_text(str(2 * machine.GIB))
    assert found(machine.memory, "memory")[:2] == ("warning", "1.0 of 3.0 GiB free that this container may use")


@pytest.fixture
def card(monkeypatch):
    """Replace NVIDIA's library by one with one card."""
    library = types.ModuleType("pynvml")
    library.NVMLError = OSError
    library.nvmlInit = lambda: None
    library.nvmlDeviceGetCount = lambda: 1
    library.nvmlDeviceGetHandleByIndex = int
    library.nvmlDeviceGetMemoryInfo = lambda _: types.SimpleNamespace(free=70 * machine.GIB, total=80 * machine.GIB)
    library.nvmlDeviceGetName = lambda _: "NVIDIA H100"
    library.nvmlSystemGetDriverVersion = lambda: "580.1"
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


@pytest.mark.parametrize(
    ("probe", "status", "text"),
    [
        ('print(\'{"problem": "", "precision": "bfloat16"}\')', "ok", "; trains in bfloat16"),
        ('print(\'{"problem": "needs kernels for sm_90"}\')', "error", ": needs kernels for sm_90"),
        ("raise OSError('libcudart.so is missing')", "error", "cannot be loaded: OSError: libcudart.so is missing"),
        ("import time; time.sleep(60)", "error", ": torch did not answer within 1 s"),
    ],
)
def test_a_gpu_is_reported_with_what_torch_says_about_it(card, monkeypatch, probe, status, text):
    monkeypatch.setattr(machine, "PROBE", probe)
    monkeypatch.setattr(machine, "PATIENCE", 1.0)
    state, words, remedy = found(machine.gpu, "GPU")
    assert (state, bool(remedy)) == (status, status == "error")
    assert words.startswith("NVIDIA H100 (70 of 80 GiB free), driver 580.1")
    assert words.endswith(text)


@pytest.mark.slow
def test_torch_is_asked_in_a_process_of_its_own():
    verdict = machine._probe()
    assert "cannot be loaded" not in verdict["problem"]
    assert verdict["problem"] or verdict["precision"] in ("bfloat16", "float16")


def test_the_lock_file_is_reported_as_it_is(place):
    assert found(project.pipeline, "dvc.lock")[:2] == ("ok", "complete and committed")
    mend.LOCK.write_text(LOCKED.replace("stages pack", "stages pack --more"))
    assert found(project.pipeline, "dvc.lock")[0] == "warning"
    mend.LOCK.write_text(LOCKED[:40])
    assert found(project.pipeline, "dvc.lock")[::2] == ("error", "darkroom mend")
    commit("rm", "--quiet", "--cached", "dvc.lock")
    commit("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "b")
    mend.LOCK.write_text(LOCKED)
    assert found(project.pipeline, "dvc.lock")[::2] == ("warning", "git add dvc.lock, and commit")


def test_a_running_or_killed_dvc_is_reported(place):
    def states():
        return [(each.status, each.remedy) for each in project.pipeline() if each.subject == "DVC lock"]

    assert states() == []
    with Lock(str(mend.GUARD)):
        assert states() == [("warning", "wait for it, or stop it")]
    user = {"pid": os.getpid(), "cmd": "dvc repro"}
    mend.PATHS.write_text(json.dumps({"write": {"data": user}, "read": {"src": [user]}}))
    assert states() == [("warning", f"wait, or: kill {os.getpid()}")]
    mend.PATHS.write_text('{"write": {')
    assert states() == [("error", "darkroom mend")]


def test_git_without_an_author_or_a_commit_or_a_repository(place, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    status, _, remedy = found(project.repository, "git author")
    assert (status, remedy) == ("warning", "git config user.name NAME && git config user.email ADDRESS")
    commit("config", "user.name", "a")
    commit("config", "user.email", "a@b")
    assert [each.status for each in project.repository()] == ["ok"]
    commit("checkout", "--quiet", "--orphan", "empty")
    assert found(project.repository, "git")[:2] == ("error", "the repository has no commit yet")
    monkeypatch.setenv("GIT_DIR", str(place / "nothing"))
    assert "is not a git repository" in found(project.repository, "git")[1]


@pytest.mark.parametrize(("dataset", "command"), [("digits", "make run"), ("folder", "dvc repro"), ("[", "make run")])
def test_the_next_command_is_that_of_the_readme_or_of_init(place, dataset, command):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    project.PARAMS.write_text(text.replace("dataset: digits", f"dataset: {dataset}"), encoding="utf-8")
    assert doctor.text([ok("git", "fine")], None, colour=False).endswith(f"\nEverything is ready: {command}")


def test_invalid_parameters_are_a_line(place):
    project.PARAMS.write_text((ROOT / "params.yaml").read_text(encoding="utf-8").replace("seed: 0 ", "seed: nought "))
    status, text, remedy = found(project.parameters, "params.yaml")
    assert (status, bool(remedy)) == ("error", True)
    assert "seed: 'nought' is not allowed" in text


@pytest.mark.parametrize(
    ("config", "status", "part"),
    [
        ("", "ok", "none; results stay in this clone"),
        ("['remote \"a\"']\n    url = s3://bucket/x\n", "warning", "no default among a"),
        (
            "[core]\n    remote = a\n['remote \"a\"']\n    url = gs://u:p@bucket/x\n",
            "error",
            "package dvc-gs is missing",
        ),
        ("[core]\n    remote = a\n['remote \"a\"']\n    url = ../store\n", "ok", "/store"),
        (
            "[core]\n    remote = a\n['remote \"a\"']\n    url = /not/there/yet\n",
            "error",
            "folder /not/there/yet: not there",
        ),
        ("[core]\n    remote = a\n['remote \"a\"']\n    url = https://u:p@host/x?key=p\n", "ok", "a, https://host/x"),
    ],
)
def test_the_remote_is_reported_without_its_secrets(place, config, status, part):
    (place / ".dvc" / "config").write_text(config)
    state, text, _ = found(access.remote, "DVC remote")
    assert state == status
    assert part in text
    assert "u:p" not in text


def test_a_remote_needs_credentials_and_none_of_them_is_shown(place, monkeypatch):
    monkeypatch.setattr(dvc_internals, "remote_package", lambda kind: "dvc")
    config = "[core]\n    remote = a\n['remote \"a\"']\n    url = s3://bucket/x\n"
    for name in access.HOME_FILES["s3"][0].split():
        monkeypatch.delenv(name, raising=False)
    (place / ".dvc" / "config").write_text(config)
    assert found(access.remote, "DVC remote")[:2] == ("warning", "a, s3://bucket/x: no credentials found")
    (place / ".dvc" / "config.local").write_text(f"['remote \"a\"']\n    access_key_id = {SECRET}\n")
    assert found(access.remote, "DVC remote")[:2] == ("ok", "a, s3://bucket/x; credentials present")
    (place / ".dvc" / "config").write_text(f"{config}    secret_access_key = {SECRET}\n")
    findings = list(access.remote())
    assert [each.status for each in findings] == ["error", "ok"]
    assert "contains secret_access_key" in findings[0].text
    assert SECRET not in repr(findings)


def test_kaggle_needs_a_token_where_the_data_come_from_there(place, monkeypatch):
    project.PARAMS.write_text("dataset: a\ndatasets: {a: {source: {kind: kaggle}}, b: {source: {kind: digits}}}\n")
    assert found(access.kaggle, "Kaggle")[0] == "error"
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    assert found(access.kaggle, "Kaggle") == ("ok", "credentials present (environment)", "")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    token = place / "home" / ".kaggle" / "access_token"
    token.parent.mkdir(parents=True)
    token.write_text(SECRET)
    token.chmod(0o644)
    assert [each.status for each in access.kaggle()] == ["warning", "ok"]
    token.chmod(0o600)
    assert [each.status for each in access.kaggle()] == ["ok"]
    token.unlink()
    project.PARAMS.write_text("dataset: b\ndatasets: {a: {source: {kind: kaggle}}, b: {source: {kind: digits}}}\n")
    assert found(access.kaggle, "Kaggle")[:2] == ("ok", "no credentials; the data set does not need them")


def test_a_port_in_use_is_a_warning_with_a_free_one(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(access, "PORT", taken.getsockname()[1])
        status, text, remedy = found(access.port, "port")
    assert (status, text) == ("warning", f"{access.PORT} is in use")
    assert int(remedy.removeprefix("make serve PORT=")) > access.PORT


def test_bundled_files_that_are_missing_or_empty_are_named(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert found(assets.bundled, "bundled files")[0] == "ok"
    (tmp_path / "empty.css").touch()
    monkeypatch.setattr(assets, "BUNDLED", {"page": (tmp_path, "empty.css gone.js")})
    status, text, remedy = found(assets.bundled, "bundled files")
    assert (status, remedy.startswith("git checkout -- ")) == ("error", True)
    assert "empty.css" in text
    assert "gone.js" in text


def test_the_lists_of_files_are_those_of_the_project():
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are not in a git repository")
    for folder, names in assets.BUNDLED.values():
        listed = subprocess.run(["git", "ls-files", str(ROOT / folder)], cwd=ROOT, capture_output=True, text=True)
        assert sorted(Path(path).name for path in listed.stdout.splitlines()) == sorted(names.split()), folder
    outputs = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["package"]["outs"]
    assert project.SERVED.parent.as_posix() in outputs


def test_a_program_that_does_not_start_is_an_error(monkeypatch, tmp_path):
    assert found(assets.installed, "report tools")[0] == "ok"
    monkeypatch.setattr(assets, "_starts", lambda program: "it does not start: wrong architecture")
    assert found(assets.installed, "pandoc")[0] == "error"
    monkeypatch.undo()
    (tmp_path / "pandoc").write_text("not a program")
    assert "does not start" in assets._starts(tmp_path / "pandoc")
    monkeypatch.setattr(assets, "INSTALLED", {"typst": ("json", "fonts/none.ttf", "typst")})
    assert found(assets.installed, "typst")[:2] == ("error", "not in the package typst")
