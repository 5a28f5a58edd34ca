"""The processor, as far as it decides how numbers are rounded: its model and vector instructions."""

import os
import platform
import re
from pathlib import Path

from darkroom.foundations import naming

PROCESSOR = Path("/proc/cpuinfo")
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_CBWR", "OPENBLAS_CORETYPE")
"""Environment variables with which oneDNN, PyTorch, MKL and OpenBLAS select the code of another processor."""


def kind() -> str:
    """Return model, instructions, and variables that limit them, such as `AMD EPYC, x86_64 AVX2`.

    Libraries promise equal results only on one kind of processor: another kind sums numbers in a different order.
    """
    limits = [f", {name}={naming.shown(os.environ[name])}" for name in LIMITS if os.environ.get(name)]
    return f"{model()}, {platform.machine()} {instructions()}".rstrip() + "".join(limits)


def instructions() -> str:
    """Return the vector instructions; empty on systems that do not list them."""
    known = flags()
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "bfloat16" if "bf16" in known else ""
    vectors = "AVX-512" if "avx512f" in known else "AVX2" if "avx2" in known else "no AVX2" if known else ""
    return f"{vectors} bfloat16" if known & {"avx512_bf16", "amx_bf16"} else vectors


def flags() -> set[str]:
    """Return the processor's instruction sets, as Linux names them; empty elsewhere."""
    found = re.search(r"^(?:flags|Features)\s*: (.*)", _text(), re.MULTILINE)
    return set(found[1].split()) if found else set()


def model() -> str:
    """Return the processor's name."""
    found = re.search(r"^model name\s*: (.*)", _text(), re.MULTILINE)
    return naming.shown(found[1].strip() if found else platform.processor() or platform.machine())


def _text() -> str:
    try:
        return PROCESSOR.read_text(errors="replace")
    except OSError:
        return ""
