"""Data-parallel training in several processes started by `torchrun`: each computes its share of every batch."""

import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from darkroom.foundations.errors import DarkroomError, explain

T = TypeVar("T")

COLLECTIVE = timedelta(minutes=10)
"""Timeout of collective operations, the only sign that another machine has disappeared."""
POLL = 0.2
"""Seconds between two checks whether the main process has finished its own work."""
LOST = ("gloo", "closed by peer")
"""Texts in PyTorch's errors when the connection to another process breaks."""
OTHER_LAUNCHERS = {"srun": "SLURM_STEP_NUM_TASKS", "mpirun": "OMPI_COMM_WORLD_SIZE", "mpiexec": "PMI_SIZE"}
"""Launchers that do not set torchrun's variables, with the variable for their number of processes."""


@dataclass(frozen=True)
class World:
    """The processes of a training run. A single process does not communicate."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank of this process on its machine."""
    local_size: int = 1
    """Number of processes on its machine."""
    store: Store | None = None
    """Key-value store shared by all processes, once they are connected."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this process's share of `count` rows."""
        return slice(self.rank, count, self.size)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are the mean over all processes.

        On GPUs, batch norm uses the whole batch. On the CPU, where PyTorch has no such layer, each process normalises
        its own share.
        """
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def broadcast_object(self, value: T) -> T:
        """Return the main process's value: anything that can be pickled, with tensors on the CPU."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]

    def run_on_main(self, name: str, compute: Callable[[], T]) -> T:
        """Run `compute` in the main process and return its result in all; the others wait without a timeout.

        They poll the store: a collective operation would time out after ten minutes, and could not be interrupted.
        """
        if self.size == 1:
            return compute()
        assert self.store is not None
        value = None
        if self.is_main:
            value = compute()
            self.store.set(name, "done")
        _wait(self.store, name)
        return self.broadcast_object(value)  # type: ignore[return-value]  # the main process's value is a T

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes by rank: anything that can be pickled."""
        values = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value)
        return values

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Overwrite a tensor with the main process's values, and return it."""
        if self.size > 1:
            distributed.broadcast(tensor, 0)
        return tensor


ALONE = World()


def launched(environment: Mapping[str, str] = os.environ) -> World:
    """Return the world from torchrun's environment variables, or a single process.

    Raises DarkroomError if another launcher started several processes: each would train its own network and overwrite
    those of the others.
    """
    if "RANK" not in environment:
        for launcher, variable in OTHER_LAUNCHERS.items():
            if (count := environment.get(variable, "1")) not in ("", "0", "1"):
                raise DarkroomError(
                    f"{launcher} started {count} processes ({variable}={count}) that are not connected: start one "
                    f"per machine, and let torchrun start the rest: {launcher} torchrun --nnodes=MACHINES "
                    "--nproc-per-node=GPUS --rdzv-backend=c10d --rdzv-endpoint=FIRST:29500 stages/…"
                )
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    rank, size, local_rank, local_size = (int(environment.get(name, default)) for name, default in names.items())
    return World(rank, size, local_rank, local_size)


@contextmanager
def joined(world: World, device: torch.device, identity: str) -> Iterator[World]:
    """Connect the processes for the duration of the block; `identity` is that of this process's device.

    Yields the connected world. If the block raises, the device types differ, or two processes share a GPU, the process
    exits immediately and torchrun stops the others. An orderly shutdown of the process group could deadlock. The first
    process to fail prints the reason; the others print nothing.
    """
    if world.size == 1:
        yield world
        return

    # torchrun sends this signal to the other processes when one has failed.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    store = None
    try:
        store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=COLLECTIVE))
        _refuse_devices(store, world, identity)
        # Objects are sent by gloo from the CPU's memory, even if the tensors are on GPUs.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=COLLECTIVE)
        yield replace(world, store=PrefixStore("darkroom", store))
    except BaseException as error:
        if _fails_first(store):
            _report(error, world)
        leave(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
    distributed.destroy_process_group()
    signal.signal(signal.SIGTERM, before)


def _refuse_devices(store: Store, world: World, identity: str) -> None:
    """Raise DarkroomError unless all processes use the same type of device, each its own GPU.

    Uses the store, because processes with different device types cannot form a process group.
    """
    store.set(f"device/{world.rank}", identity)
    for rank in range(world.size):
        _wait(store, f"device/{rank}", COLLECTIVE.total_seconds())
    identities = [store.get(f"device/{rank}").decode() for rank in range(world.size)]
    types = [each.split()[0] for each in identities]
    for rank in range(world.size):
        if types[rank] != types[0]:
            raise DarkroomError(
                f"process {rank} of {world.size} trains on {types[rank]} and process 0 on {types[0]}: set device to "
                "one that all have"
            )
        if types[rank] == "cuda" and (other := identities.index(identities[rank])) != rank:
            raise DarkroomError(
                f"processes {other} and {rank} of {world.size} have the same GPU: start as many processes on each "
                "machine as it has GPUs"
            )


def _wait(store: Store, name: str, seconds: float = math.inf) -> None:
    """Wait until `name` is in the store; unlike PyTorch's own wait, signals can interrupt it."""
    begin = time.monotonic()
    while not store.check([name]):
        if time.monotonic() - begin > seconds:
            raise DarkroomError(f"another process did not start within {seconds / 60:.0f} minutes: see its message")
        time.sleep(POLL)


def _fails_first(store: Store | None) -> bool:
    """Return whether this is the first process to fail, whose message explains the cause."""
    try:
        return store is None or store.add("failures", 1) == 1
    except RuntimeError:  # the store is gone with torchrun
        return True


def _report(error: BaseException, world: World) -> None:
    """Print why this process ends: one line for a user's mistake or a lost process, a traceback for a bug."""
    others = isinstance(error, (SystemExit, distributed.DistError))
    if message := explain(error):
        print(f"error: {message}", file=sys.stderr)
    elif others or (isinstance(error, RuntimeError) and any(words in str(error) for words in LOST)):
        print(
            f"error: process {world.rank} of {world.size} stops, because another process or torchrun has ended. "
            "The next dvc repro resumes from the last checkpoint",
            file=sys.stderr,
        )
    elif not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)


def leave(status: int = 0) -> NoReturn:
    """Exit this process, one of several, immediately.

    Without Python's own shutdown: PyTorch's threads may outlive objects that they use and abort the process (rarely
    observed: "terminate called without an active exception"), and torchrun would then stop all others.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
