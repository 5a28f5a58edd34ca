"""What to train on, and in which precision."""

import platform
from dataclasses import dataclass

import torch

from darkroom.errors import DarkroomError
from darkroom.training.settings import Device


@dataclass(frozen=True)
class Compute:
    """A device and whether it multiplies in bfloat16."""

    device: torch.device
    bfloat16: bool

    def autocast(self) -> torch.autocast:
        """Return a context in which convolutions and products run in the device's best precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def choose(wanted: Device) -> Compute:
    """Return the device to train on; `auto` takes cuda, then mps, then the processor.

    Raises DarkroomError when the wanted device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(name for name, there in available.items() if there) if wanted == "auto" else wanted
    if not available[name]:
        there = ", ".join(key for key, value in available.items() if value)
        raise DarkroomError(f"device {name!r} is not available here. Allowed: auto, {there}")
    bfloat16 = {"cuda": _cuda_has_bfloat16, "mps": lambda: False, "cpu": _processor_has_bfloat16}[name]()
    return Compute(torch.device(name), bfloat16)


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


def _cuda_has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _processor_has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 products; without them emulation is slower than float32."""
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
