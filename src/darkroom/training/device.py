"""What to train on, and in which precision."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from darkroom.errors import DarkroomError
from darkroom.training.distributed import ALONE, World
from darkroom.training.settings import Device


@dataclass(frozen=True)
class Compute:
    """A device and whether it multiplies in bfloat16."""

    device: torch.device
    bfloat16: bool

    @property
    def words(self) -> str:
        """Device and precision for people."""
        return f"{self.device.type} in {'bfloat16' if self.bfloat16 else 'float32'}"

    def autocast(self) -> torch.autocast:
        """Return a context in which convolutions and products run in the device's best precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def choose(wanted: Device, deterministic: bool = False, world: World = ALONE) -> Compute:
    """Return the device to train on, ready for it; `auto` takes cuda, then mps, then the processor.

    Raises DarkroomError when the wanted device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(name for name, there in available.items() if there) if wanted == "auto" else wanted
    if not available[name]:
        there = ", ".join(key for key, value in available.items() if value)
        raise DarkroomError(f"device {name!r} is not available here. Allowed: auto, {there}")
    if name == "cuda":
        return Compute(_prepare_cuda(deterministic, world), _cuda_has_bfloat16())
    if name == "cpu" and world.neighbours > 1:
        # torchrun gives each process a single thread.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.neighbours))
    return Compute(torch.device(name), name == "cpu" and _processor_has_bfloat16())


def _prepare_cuda(deterministic: bool, world: World) -> torch.device:
    """Return this process's GPU, set to be fast or to give the same bits each time."""
    if world.place >= (count := torch.cuda.device_count()):
        raise DarkroomError(
            f"launch starts {world.neighbours} processes here, and there are {count} GPUs: start {count}"
        )
    device = torch.device("cuda", world.place)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return device


def describe(compute: Compute) -> dict[str, str]:
    """Return versions, device, precision and threads, for a card."""
    cuda = compute.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else compute.device.type,
        "precision": "bfloat16" if compute.bfloat16 else "float32",
        "threads": str(torch.get_num_threads()),
    }


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error of PyTorch says that memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


def refusal(error: RuntimeError) -> str:
    """Return what to do about an error of PyTorch that a parameter of the training brought about, or nothing."""
    first = str(error).partition("\n")[0]
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"the network cannot be compiled here ({first}): set compile: false, or install a C++ compiler"
    if "does not have a deterministic implementation" in first:
        return f"this network cannot be trained deterministically on this device ({first}): set deterministic: false"
    return ""


@contextmanager
def memory_refused(device: torch.device) -> Iterator[None]:
    """Turn full memory anywhere in a training into one message; a step that does not fit says more, see loop."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not out_of_memory(error):
            raise
        raise DarkroomError(
            f"the memory of {device.type} is full, outside of a training step: close other programs, or lower "
            "pack.image_size, batch_size or the network's width"
        ) from error


def _cuda_has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _processor_has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 products; without them emulation is slower than float32."""
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
