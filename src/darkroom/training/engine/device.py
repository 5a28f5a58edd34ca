"""Choice of the training device and precision."""

import os
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from darkroom import processor
from darkroom.foundations.errors import DarkroomError
from darkroom.training.engine.distributed import ALONE, World
from darkroom.training.settings import Device

ALLOCATION_FAILURES = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "ALLOC_FAILED",  # cuBLAS and cuDNN up to version 8
    "ALLOCATION_FAILED",  # cuDNN 9
)
"""Texts in the errors of PyTorch and its libraries when memory is full."""


@dataclass(frozen=True)
class Compute:
    """A device, and the precision of its convolutions and matrix products."""

    device: torch.device
    precision: torch.dtype = torch.float32
    """bfloat16 or, with loss scaling, float16 where they are fast, otherwise float32."""

    @property
    def words(self) -> str:
        """Device and precision as text."""
        return f"{self.device.type} in {self.precision_name}"

    @property
    def precision_name(self) -> str:
        """Name of the precision without `torch.`."""
        return str(self.precision).removeprefix("torch.")

    def autocast(self) -> torch.autocast:
        """Return a context in which convolutions and matrix products use the device's best precision."""
        reduced = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision if reduced else torch.bfloat16, enabled=reduced)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaler for float16, which keeps small gradients from vanishing; otherwise a no-op."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)


def put(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on `device`, without waiting for pending work of a GPU.

    A GPU copies from pinned memory while the CPU continues; for other memory, the CPU waits.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def choose(wanted: Device, deterministic: bool = False, world: World = ALONE) -> Compute:
    """Return the initialised training device; `auto` selects cuda, then mps, then the CPU.

    With `auto`, a GPU that cannot be used causes a warning. Raises DarkroomError when the requested device is not
    available, or cannot be used by several processes.
    """
    problem = cuda_problem()
    available = {"cuda": not problem, "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(name for name, there in available.items() if there) if wanted == "auto" else wanted
    if not available[name]:
        there = ", ".join(key for key, value in available.items() if value)
        reason = f" ({problem})" if name == "cuda" else ""
        raise DarkroomError(f"device {name!r} is not available here{reason}. Allowed: auto, {there}")
    if wanted == "auto" and problem and problem != NO_GPU and world.is_main:
        print(f"warning: training runs on {name}, because {problem}", file=sys.stderr, flush=True)
    if name == "mps" and world.size > 1:
        raise DarkroomError("Apple GPUs support only one training process: set launch: python, or device: cpu")
    if world.local_size > 1:
        # torchrun gives each process a single thread, which is too slow to supply even a GPU with images.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.local_size))
    if name == "cuda":
        return Compute(_prepare_cuda(deterministic, world), _cuda_precision())
    return Compute(torch.device(name), _processor_precision() if name == "cpu" else torch.float32)


NO_GPU = "PyTorch finds no NVIDIA GPU"


def cuda_problem() -> str:
    """Return why PyTorch cannot use an NVIDIA GPU here, or an empty string."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        # PyTorch reports a driver that is too old as a warning only.
        said = next((str(warning.message) for warning in found if "driver" in str(warning.message)), "")
        return said.partition("\n")[0].rstrip(". ") or NO_GPU
    capability, kernels = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if not has_kernels(capability, kernels):
        return (
            f"{torch.cuda.get_device_name()} needs kernels for sm_{capability[0]}{capability[1]}, but this build of "
            f"PyTorch {torch.__version__} has {', '.join(kernels)}: install a build that has them, see "
            "UV_TORCH_BACKEND in `make help`"
        )
    return ""


def has_kernels(capability: tuple[int, int], kernels: Sequence[str]) -> bool:
    """Return whether a build with `kernels` (sm_80, compute_90, …) runs on a GPU of this compute capability.

    A binary runs on later minor versions of its own major version, intermediate code (compute_NN) on all later
    GPUs: CUDA C++ Programming Guide, section "Compute capability".
    """
    for name in kernels:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")
        built = (int(digits[:-1]), int(digits[-1]))
        if built <= capability and (kind == "compute" or (built[0] == capability[0] and digits == number)):
            return True
        if digits != number and built == capability:  # sm_90a runs on exactly this version
            return True
    return False


def _prepare_cuda(deterministic: bool, world: World) -> torch.device:
    """Return this process's GPU, configured for speed or for reproducibility."""
    count = torch.cuda.device_count()
    # Some launchers show each process only its own GPU; `joined` rejects two processes on the same one.
    place = 0 if count == 1 else world.local_rank
    if place >= count:
        raise DarkroomError(
            f"launch starts {world.local_size} processes here, but there are {count} GPUs: start {count}"
        )
    device = torch.device("cuda", place)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return device


def identity(device: torch.device) -> str:
    """Return the device's type, for a GPU with its unique identifier."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_properties(device).uuid}"
    return device.type


def describe(compute: Compute) -> dict[str, str]:
    """Return versions, device, processor, precision and threads, for a card: equal ones give equal weights."""
    cuda = compute.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else compute.device.type,
        "processor": processor.kind(),
        "precision": compute.precision_name,
        "threads": str(torch.get_num_threads()),
    }


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error of PyTorch means that memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in ALLOCATION_FAILURES)


def refusal(error: Exception) -> str:
    """Return the remedy for an error of PyTorch that is caused by a parameter, or an empty string."""
    first = str(error).partition("\n")[0]
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")) or isinstance(error, AssertionError):
        return f"the network cannot be compiled here ({first}): set compile: false, or install a C++ compiler"
    if "does not have a deterministic implementation" in first:
        return f"this network cannot be trained deterministically on this device ({first}): set deterministic: false"
    return ""


@contextmanager
def memory_refused(device: torch.device) -> Iterator[None]:
    """Convert out-of-memory errors anywhere in training to one message; for steps that do not fit, see loop."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        raise DarkroomError(
            f"the memory of {device.type} is full, outside of a training step: close other programs, or lower "
            "pack.image_size, batch_size or the network's width"
        ) from error


def _cuda_precision() -> torch.dtype:
    """Return bfloat16 if the GPU supports it (NVIDIA from Ampere on), otherwise float16, for older tensor cores."""
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _processor_precision() -> torch.dtype:
    """Return bfloat16 if the CPU has instructions for it; emulation would be slower than float32."""
    abilities = torch.cpu.get_capabilities()
    fast = abilities.get("avx512_bf16") or abilities.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32
