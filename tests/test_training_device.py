"""What happens when a device cannot do what it is asked for."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from darkroom.foundations.errors import DarkroomError
from darkroom.training.engine import device
from darkroom.training.engine.distributed import World


def test_full_memory_outside_of_a_step_is_a_message() -> None:
    # Refused at once on any machine, where a little less would make it swap.
    with (
        pytest.raises(DarkroomError, match=r"memory of cpu is full.* lower"),
        device.memory_refused(torch.device("cpu")),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_another_failure_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="must match"), device.memory_refused(torch.device("cpu")):
        torch.ones(2) + torch.ones(3)


def test_what_no_kernel_does_deterministically_says_what_to_set() -> None:
    # A processor has such a kernel for everything that networks use, so this is an operation that none uses.
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError) as error:
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert "set deterministic: false" in device.refusal(error.value)
    assert not device.refusal(RuntimeError("another one"))


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_every_library_that_finds_memory_full_is_understood(message: str) -> None:
    assert device.out_of_memory(RuntimeError(message))
    assert not device.out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize(
    ("capability", "kernels", "runs"),
    [
        ((9, 0), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 6), ["sm_75", "sm_80", "sm_90"], True),  # binaries run on later minor versions
        ((8, 0), ["sm_86", "sm_90"], False),
        ((6, 1), ["sm_75", "sm_80"], False),
        ((10, 3), ["sm_90", "compute_90"], True),  # compiled by the driver
        ((12, 0), ["sm_90", "sm_100"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], False),
        ((8, 9), [], False),
    ],
)
def test_which_gpus_a_build_of_pytorch_has_kernels_for(capability, kernels, runs) -> None:
    assert device.has_kernels(capability, kernels) is runs


@pytest.fixture
def old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GeForce GTX 1080")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])


@pytest.mark.usefixtures("old_gpu")
def test_a_gpu_without_kernels_is_refused_or_passed_over_with_a_warning(capsys) -> None:
    reason = r"GeForce GTX 1080 needs kernels for sm_61, but this build of PyTorch .* has sm_75, sm_80: install"
    with pytest.raises(DarkroomError, match=rf"device 'cuda' is not available here \({reason}"):
        device.choose("cuda")
    assert device.choose("auto").device.type != "cuda"
    assert "warning: training runs on cpu, because GeForce GTX 1080 needs kernels" in capsys.readouterr().err
    device.choose("auto", world=World(rank=1, size=2))
    assert not capsys.readouterr().err  # the first process has said it


def test_a_driver_that_is_too_old_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_available() -> bool:
        said = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).\nUpdate"
        warnings.warn(said, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(DarkroomError, match=r"driver on your system is too old \(found version 11040\)\)\. Allowed"):
        device.choose("cuda")


def test_without_a_gpu_nothing_is_said(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device.choose("auto")
    assert not capsys.readouterr().err


def test_apple_gpus_train_with_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DarkroomError, match="only one training process: set launch: python, or device: cpu"):
        device.choose("mps", world=World(size=2))


@pytest.mark.parametrize(("seen", "place", "expected"), [(4, 3, "cuda:3"), (1, 3, "cuda:0"), (2, 3, None)])
def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch, seen, place, expected) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    world = World(place, 4, place, 4)
    if expected is None:
        with pytest.raises(DarkroomError, match="launch starts 4 processes here, but there are 2 GPUs: start 2"):
            device._prepare_cuda(False, world)
    else:
        assert device._prepare_cuda(False, world) == torch.device(expected)


def test_older_gpus_compute_in_float16_with_scaled_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    compute = device.Compute(torch.device("cpu"), device._cuda_precision())
    assert compute.words == "cpu in float16"
    assert compute.scaler().is_enabled()
    with compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float16
    assert not device.Compute(torch.device("cpu"), torch.bfloat16).scaler().is_enabled()


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(device, "os", SimpleNamespace(cpu_count=lambda: 12, environ={}))
    device.choose("cpu", world=World(0, 4, 0, 4))
    assert set_to == [3]
