"""Training with several processes, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from darkroom import candidate
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.training.engine.distributed import ALONE, World, launched
from stages import pretrained
from tests import factories

ROOT = Path(__file__).parents[1]
PARAMS = """\
dataset: tiny
seed: 0
device: cpu
deterministic: false
datasets:
  tiny:
    source: {kind: folder}
    augment: {shift: 1, flip: alternating}
    training: {epochs: EPOCHS, batch_size: 16}
baseline: {cells: 4, strengths: [1.0]}
scratch:
  plain: {architecture: lab_cnn, width: 8, learning_rate: 0.05, average: 0.9}
  small: {architecture: lab_cnn, width: 8, learning_rate: 0.05, batch_size: 3}
  normed: {architecture: resnet9, width: 4, learning_rate: 0.05}
transfer:
  probed: {weights: PLACE/weights, sha256: "SHA256", method: probe}
  tuned: {weights: PLACE/weights, sha256: "SHA256", method: probe+finetune}
select: {folds: 0}
"""


LONG = 300
"""Seconds after which a process hangs; it takes a few, or on a busy machine many more."""


FLOAT32 = "import darkroom.training.engine.device as device; device._processor_precision = lambda: device.torch.float32"
"""Rounding to bfloat16 would hide what the number of processes changes."""


NO_ONNX = "from darkroom.training.networks import export; export.write_onnx = lambda *_: None"
"""Exporting takes seconds, and one process does it alone: a few runs of two processes are enough."""


PATIENT = """\
import datetime, time
from torch import distributed
from darkroom.training.transfer import initialization
init, fit = distributed.init_process_group, initialization.fit
distributed.init_process_group = lambda *a, **k: init(*a, **{**k, "timeout": datetime.timedelta(seconds=12)})
initialization.fit = lambda *a, **k: (time.sleep(15), fit(*a, **k))[1]
"""
"""Lets the main process take longer alone than collective operations would wait for it."""


ABORT = "import atexit, os; atexit.register(os.abort)"
"""What PyTorch's threads did once as Python ended."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with packed images."""
    top = tmp_path_factory.mktemp("distributed")
    factories.write_packed(top / "packed", per_class=50, noise=20)
    factories.write_split(top / "split.csv", top / "packed")
    return top


def start(
    place: Path, name: str, out: str, processes: int, epochs: int = 3, before: str = "pass"
) -> subprocess.Popen[str]:
    """Start a training stage as DVC would with this `launch`; `before` is Python to run in each process first."""
    params = place / f"params-{epochs}.yaml"
    text = PARAMS.replace("EPOCHS", str(epochs)).replace("PLACE", str(place))
    if (weights := place / "weights" / "weights.safetensors").is_file():
        text = text.replace("SHA256", files.sha256(weights))
    params.write_text(text)
    script = place / f"{out}.py"
    stage = ROOT / "stages" / ("transfer.py" if name in ("probed", "tuned") else "scratch.py")
    script.write_text(
        f"import os, runpy, signal, sys, threading\n{before}\nsys.argv[0] = {str(stage)!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    data = ["--params", params, "--dataset", "tiny", "--packed", place / "packed", "--split", place / "split.csv"]
    where = ["--checkpoints", place / "checkpoints", "--every", 0.2, "--out", place / out]
    if stage.stem == "transfer":
        arguments = [name, "--params", params, "--backbones", place, "--downloads", place / "downloads"]
        pretrained.main([str(part) for part in [*arguments, "--out", place / f"pretrained-{out}"]])
        where += ["--pretrained", place / f"pretrained-{out}"]
        where += ["--features", place / f"features-{out}"]
    command = [*launch, script, name, *data, *where]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("plain", 1e-4), ("normed", None)])
def test_two_processes_learn_what_one_does(place, name, tolerance):
    for processes in (1, 2):
        before = f"{FLOAT32}; {ABORT if processes == 2 else NO_ONNX}"
        process = start(place, name, f"{name}-{processes}", processes, before=before)
        said, errors = process.communicate(timeout=LONG)
        assert process.returncode == 0, errors
        assert said.count("best epoch") == 1  # only the first process speaks
        assert ("2 processes" in said) is (processes == 2)
    one, two = (load_file(place / f"{name}-{processes}" / "weights.safetensors") for processes in (1, 2))
    if tolerance is not None:
        assert max(np.abs(one[key] - two[key]).max() for key in one) < tolerance
    one, two = (candidate.read_predictions(place / f"{name}-{processes}") for processes in (1, 2))
    # Each process normalises with its own share of a batch, so with norms the networks are not the same.
    assert (one.test.argmax(1) == two.test.argmax(1)).mean() > (0.99 if tolerance else 0.8)
    assert not list((place / "checkpoints").glob("*.pt"))


@pytest.fixture(scope="module")
def pretrained_place(place: Path) -> Path:
    """Return the folder with a candidate in `weights`, from which transfers start."""
    process = start(place, "plain", "weights", 1, before=f"{FLOAT32}; {NO_ONNX}")
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 0, errors
    return place


@pytest.mark.slow
def test_two_processes_transfer_as_one_does_and_wait_for_what_the_first_does_alone(pretrained_place):
    place = pretrained_place
    for name in ("probed", "tuned"):
        for processes in (1, 2):
            is_last = (name, processes) == ("tuned", 2)
            before = f"{FLOAT32}\n{PATIENT if is_last else NO_ONNX}"
            process = start(place, name, f"{name}-{processes}", processes, before=before)
            said, errors = process.communicate(timeout=LONG)
            assert process.returncode == 0, errors
            assert said.count(f"{name}: last layer with L2 penalty") == 1
        one, two = (load_file(place / f"{name}-{processes}" / "weights.safetensors") for processes in (1, 2))
        assert max(np.abs(one[key] - two[key]).max() for key in one) < 1e-4


def at_step_10(code: str) -> str:
    """Return Python that lets the second process do something in its tenth step."""
    return (
        "from darkroom.training.engine import loop\n_step = loop.Trainer._step\ndef step(self, *arguments):\n"
        f"    if self.step == 10 and os.environ['RANK'] == '1':\n        {code}\n    _step(self, *arguments)\n"
        "loop.Trainer._step = step"
    )


OTHER_FILES = "sys.argv = [part.replace({!r}, {!r}) if os.environ['RANK'] == '1' else part for part in sys.argv]"
LOST = "error: process 0 of 2 stops, because another process or torchrun has ended. "
FAILURES = {
    "exception": (at_step_10("raise ValueError('broken on purpose')"), "ValueError: broken on purpose"),
    "killed": (at_step_10("os.kill(os.getpid(), signal.SIGKILL)"), LOST),
    "disk full": (
        "import resource\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "os.environ['RANK'] == '0' and resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))",
        "does not support files of that size",
    ),
    "code": (
        "from darkroom.training.engine import checkpoint\ncheckpoint.code = lambda: os.environ['RANK']",
        "error: process 1 of 2 has different code from process 0: use the same commit",
    ),
    "parameters": (OTHER_FILES.format("params-9999.yaml", "params-4.yaml"), "process 1 of 2 has different parameters"),
    "data": (OTHER_FILES.format("split.csv", "other.csv"), "error: process 1 of 2 has different data from process 0"),
    "device": (
        "import torch\nfrom darkroom.training.engine import device\n"
        "if os.environ['RANK'] == '1': device.choose = lambda *_: device.Compute(torch.device('meta'))",
        "error: process 1 of 2 trains on meta and process 0 on cpu: set device",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAILURES)
def test_a_process_that_fails_ends_all_with_one_message_and_no_half_output(place, kind):
    before, message = FAILURES[kind]
    (place / "params-4.yaml").write_text(PARAMS.replace("EPOCHS", "4").replace("PLACE", str(place)))
    (place / "other.csv").write_text((place / "split.csv").read_text().replace(",train,", ",test,", 1))
    process = start(place, "plain", "failed", 2, epochs=9999, before=before)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode != 0
    assert errors.count(message) == 1, errors
    assert errors.count("\nerror: ") + errors.startswith("error: ") == (kind != "exception")
    assert not [path for path in place.iterdir() if "failed" in path.name and path.suffix != ".py"]


@pytest.mark.slow
def test_a_training_whose_process_died_resumes_and_also_with_fewer_processes(place):
    process = start(place, "plain", "dies", 2, epochs=10_000, before=at_step_10("pass"))
    assert process.stdout is not None
    assert any("epoch  20/10000" in line for line in process.stdout)
    process.terminate()
    process.communicate(timeout=LONG)
    for processes in (2, 1):
        process = start(place, "plain", "dies", processes, epochs=10_000)
        assert process.stdout is not None
        assert any("resuming from a checkpoint" in line for line in process.stdout)
        process.terminate()
        _, errors = process.communicate(timeout=LONG)
        assert ("written on a different kind of machine" in errors) is (processes == 1)
    assert not (place / "dies").exists()


@pytest.mark.slow
def test_more_processes_than_a_batch_has_images_for_are_refused(place):
    process = start(place, "small", "refused", 2)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode != 0
    assert "error: launch starts 2 processes, and batches of 3 images have fewer than two for each: start 1" in errors
    assert not (place / "refused").exists()


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_shares_are_all_of_a_batch_once(count):
    rows = [row for rank in range(3) for row in range(count)[World(rank, 3).share(count)]]
    assert sorted(rows) == list(range(count))
    assert list(range(count)[ALONE.share(count)]) == list(range(count))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"SLURM_STEP_NUM_TASKS": "4"},
            r"srun started 4 processes \(SLURM_STEP_NUM_TASKS=4\) that are not connected",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun started 2 processes .*: mpirun torchrun --nnodes=MACHINES"),
        ({"PMI_SIZE": "3"}, "mpiexec started 3 processes"),
    ],
)
def test_processes_of_another_launcher_are_refused(environment, message):
    with pytest.raises(DarkroomError, match=message):
        launched(environment)


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, ALONE),
        ({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}, ALONE),
        ({"SLURM_NTASKS": "4"}, ALONE),  # a batch script, which srun did not start
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2"},
            World(5, 8, 1, 4),  # torchrun, which srun started on two machines
        ),
    ],
)
def test_the_world_is_what_torchrun_says(environment, world):
    assert launched(environment) == world
