"""Processor, memory, disk and GPU."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from darkroom import processor as cpu
from darkroom.commands.doctor import environment
from darkroom.commands.doctor.finding import Finding, error, ok, warning
from darkroom.foundations import errors, naming

CGROUP = Path("/sys/fs/cgroup")
GIB = 1024**3
LITTLE_MEMORY, LITTLE_DISK, NO_DISK = 2 * GIB, 5 * GIB, GIB // 2
"""Free bytes below which a run may fail; a run on the bundled digits writes 60 MB, on CIFAR-10 about 1 GB."""
PROBE = """
import json
import torch
from darkroom.training.engine import device
problem = device.cuda_problem()
print(json.dumps({"problem": problem, "precision": "" if problem else device.choose("cuda").precision_name}))
"""
"""Run in a process of its own: importing torch takes seconds, and a broken CUDA library can end the process."""
PATIENCE = 60.0
"""Seconds that the probe may take; on a cold disk torch alone takes ten."""


def processor() -> Iterator[Finding]:
    """Yield the cores that may be used, the instructions that determine their speed, and a limit that slows them."""
    cores, allowed = os.cpu_count() or 1, usable()
    quota = _quota()
    text = f"{allowed} of {naming.count(cores, 'core')}" if allowed < cores else naming.count(cores, "core")
    yield from _instructions(f"{cpu.model()}, {text}", cpu.flags())
    threads = environment.threads()
    if quota is not None and quota < allowed and (threads is None or threads > max(1, quota)):
        yield warning(
            "core limit",
            f"this container may use {quota:g} of {allowed} cores; more threads than that slow each other down",
            f"export OMP_NUM_THREADS={max(1, int(quota))}",
        )
    elif threads is not None and threads < allowed and (quota is None or threads < int(quota)):
        yield ok("core limit", f"OMP_NUM_THREADS={threads}: training uses at most {naming.count(threads, 'thread')}")


def _instructions(text: str, flags: set[str]) -> Iterator[Finding]:
    """Yield the processor with its vector instructions and the precision in which networks are trained on it."""
    if not flags:
        yield ok("processor", text)
    elif platform.machine().lower() in ("x86_64", "amd64"):
        vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
        fast = flags & {"avx512_bf16", "amx_bf16"}
        precision = "trains in bfloat16" if fast else "no bfloat16, trains in float32"
        if "avx2" in flags:
            yield ok("processor", f"{text}, {vectors}, {precision}")
        else:
            remedy = "use a processor from 2015 or later; a virtual machine may need the host's processor model"
            yield warning("processor", f"{text}, {vectors}: training is several times slower", remedy)
    else:
        yield ok("processor", f"{text}, {'bfloat16' if 'bf16' in flags else 'no bfloat16'}")


def usable() -> int:
    """Return the number of cores on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float | None:
    """Return the number of cores whose time the container may use (cgroup version 2 or 1), None without a limit."""
    try:
        limit, period = (CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit, period = (
                (CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        except OSError:
            return None
    return int(limit) / int(period) if limit.isdecimal() and int(period) else None


def memory() -> Iterator[Finding]:
    """Yield how much memory is free, the limit of a container included."""
    import psutil

    machine = psutil.virtual_memory()
    free, total, where = int(machine.available), int(machine.total), ""
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        folder = CGROUP if limit == "memory.max" else CGROUP / "memory"
        try:
            most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
        if most < total:
            free, total, where = min(free, most - taken), most, " that this container may use"
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free{where}"
    if free < LITTLE_MEMORY:
        yield warning("memory", text, "close other programs, or lower pack.image_size and batch_size in params.yaml")
    else:
        yield ok("memory", text)


def disk() -> Iterator[Finding]:
    """Yield the free space of the project's disk and of that for temporary files, if it is another one."""
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:
        yield error("disk", "no folder for temporary files can be written", "export TMPDIR=FOLDER, one with free space")
        temporary = Path()
    places = {"project": Path(), "temporary files": temporary}
    seen = set()
    for name, folder in places.items():
        if (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(folder).free
        text = f"{free / GIB:.1f} GiB free for the {name}" if name == "project" else f"{free / GIB:.1f} GiB for {name}"
        if free < LITTLE_DISK:
            state = error if free < NO_DISK else warning
            remedy = (
                "dvc gc --workspace removes the results of other commits from DVC's cache" if name == "project" else ""
            )
            yield state("disk", text, remedy or "free some space there, or export TMPDIR=FOLDER")
        else:
            yield ok("disk", text)
    if not os.access(Path(), os.W_OK):
        yield error("disk", f"{naming.shown(Path.cwd())} cannot be written", "get write access, or clone it elsewhere")


def gpu() -> Iterator[Finding]:
    """Yield the GPUs, their driver, and whether this build of torch has kernels for them."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield ok("GPU", "Apple GPU; device: auto uses it")
        return
    driver, cards = _nvidia()
    if not cards:
        if Path("/dev/kfd").exists():
            yield ok("GPU", "AMD GPU; a build of torch for it is needed: UV_TORCH_BACKEND=rocm6.4 make env")
        elif driver:
            yield warning("GPU", driver, "install or restart NVIDIA's driver; until then training uses the processor")
        else:
            yield ok("GPU", "none; training uses the processor")
        return
    text = f"{', '.join(cards)}, driver {driver}"
    verdict = _probe()
    if verdict["problem"]:
        remedy = "install a build of torch for it (UV_TORCH_BACKEND in make help), or a newer driver"
        yield error("GPU", f"{text}: {naming.shown(verdict['problem'])}", remedy)
    else:
        yield ok("GPU", f"{text}; trains in {verdict['precision']}")


def _nvidia() -> tuple[str, list[str]]:
    """Return the driver's version and the cards; without cards, what is wrong with the driver, or nothing."""
    try:
        import pynvml
    except ModuleNotFoundError:
        there = Path("/dev/nvidiactl").exists()
        return "there is an NVIDIA GPU, and the package nvidia-ml-py to query it is missing" if there else "", []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as problem:
        there = Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists()
        return f"NVIDIA's driver does not answer: {naming.shown(problem)}" if there else "", []
    cards = []
    for place in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(place)
        used = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = naming.shown(pynvml.nvmlDeviceGetName(handle))
        cards.append(f"{name} ({int(used.free) / GIB:.0f} of {int(used.total) / GIB:.0f} GiB free)")
    return str(pynvml.nvmlSystemGetDriverVersion()), cards


def _probe() -> dict[str, str]:
    """Return what torch says about the GPU: its `problem`, or an empty one and the `precision` of trainings."""
    path = os.pathsep.join([str(errors.LIBRARY.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROBE],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"torch did not answer within {PATIENCE:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"problem": f"torch cannot be loaded: {last}"}
    verdict: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return verdict
