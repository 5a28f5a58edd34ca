"""`darkroom verify` rebuilds a commit for real: a tiny data set, one small network."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom.foundations import files
from darkroom.serving import proofs
from tests.clones import GIT, clone, environment, ran, run
from tests.pictures import class_folders, write_folder

pytestmark = pytest.mark.slow


def tiny(parameters):
    parameters["dataset"] = "folder"
    parameters["datasets"]["folder"]["pack"]["image_size"] = 16
    parameters["datasets"]["folder"]["training"] = {"epochs": 1, "batch_size": 16}
    del parameters["scratch"]["resnet9"]
    parameters["transfer"] = {}
    parameters["robustness"]["images"] = 10


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", ".")
    run(folder, *GIT, "commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a clone with committed results of images in its inbox."""
    folder = clone(tmp_path_factory.mktemp("verify") / "project", tiny)
    write_folder(folder / "data" / "inbox", class_folders({"cat": 12, "dog": 12}))
    run(folder, "dvc", "repro")
    commit(folder, "results")
    return folder


def test_a_commit_is_verified_and_its_proof_travels_in_the_bento(project, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = ("env", f"TMPDIR={temporary}", "OMP_NUM_THREADS=1", "darkroom", "verify")
    output = run(project, *command)
    assert "is verified" in output
    assert "exactly equal" in output
    assert list(temporary.iterdir()) == []
    version = files.read_json(project / "models" / "served" / "service.json")["version"]
    proof = proofs.read(project / "verification", version)
    assert proof["differences"] == []
    assert proof["data"]["origin"] == "DVC cache"
    assert proof["outputs"]["models/served"]["agrees"]
    assert proof["commit"] == run(project, "git", "rev-parse", "HEAD").strip()

    commit(project, "proof")
    assert ran(run(project, "dvc", "repro")) == {"package"}
    proof_path = project / "verification" / "proof.json"
    packaged = project / "dist" / "darkroom.bento" / "src" / "verification" / "proof.json"
    assert packaged.read_bytes() == proof_path.read_bytes()
    commit(project, "Bento with the proof")
    assert ran(run(project, "dvc", "repro")) == set()  # the proof changes no result that it is about
    assert proofs.read(project / "verification", version) is not None


def test_ctrl_c_leaves_nothing_behind(project, tmp_path):
    before = run(project, "git", "status", "--porcelain")
    variables = {**environment(project), "TMPDIR": str(tmp_path)}
    # A shell that starts the tests in the background makes them, and what they start, ignore Ctrl-C.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from darkroom.commands.main import main; main()"
    command = [sys.executable, "-c", code, "verify"]
    with subprocess.Popen(command, cwd=project, env=variables, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("[2/"):
                break
        running = [path for path in Path("/proc").glob("[0-9]*") if _is_in(path, tmp_path)]
        assert running
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait(300) == 130
    deadline = time.monotonic() + 120
    while any(_is_in(path, tmp_path) for path in running) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [path for path in running if _is_in(path, tmp_path)]
    assert list(tmp_path.iterdir()) == []
    assert run(project, "git", "status", "--porcelain") == before


def _is_in(process: Path, folder: Path) -> bool:
    """Return whether a process runs in a folder."""
    try:
        return Path(str((process / "cwd").readlink()).removesuffix(" (deleted)")).is_relative_to(folder)
    except OSError:
        return False
