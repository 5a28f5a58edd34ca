"""One training over several processes, as `torchrun` starts them: each takes its share of every batch."""

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
"""How long a process waits in a step for the others: when one machine is gone, nobody else says so."""
POLL = 0.2
"""Seconds between two looks at whether the first process is done with what it does alone."""
LOST = ("gloo", "closed by peer")
"""What PyTorch says when the connection to another process breaks."""
OTHER_LAUNCHERS = {"srun": "SLURM_STEP_NUM_TASKS", "mpirun": "OMPI_COMM_WORLD_SIZE", "mpiexec": "PMI_SIZE"}
"""Launchers that do not set torchrun's variables, and the one in which each gives the number of its processes."""


@dataclass(frozen=True)
class World:
    """The processes of a training. One alone needs no communication, and does none."""

    rank: int = 0
    size: int = 1
    place: int = 0
    """This process's number on its own machine."""
    neighbours: int = 1
    """Processes on its machine."""
    store: Store | None = None
    """Small values that all processes see, once they are joined."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return which of `count` rows are this process's."""
        return slice(self.rank, count, self.size)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are the mean over all processes.

        Batch norm sees the whole batch on GPUs; on the processor, where PyTorch has no such layer, each process
        normalises with its own share.
        """
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def tell(self, value: T) -> T:
        """Return the first process's value: anything that can be pickled, its tensors on the processor."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]

    def first(self, name: str, compute: Callable[[], T]) -> T:
        """Return what `compute` returns in the first process, to all; the others wait for as long as it takes.

        They look at the store now and then: a collective would give up after ten minutes, and could not be
        interrupted.
        """
        if self.size == 1:
            return compute()
        assert self.store is not None
        value = None
        if self.leads:
            value = compute()
            self.store.set(name, "done")
        _wait(self.store, name)
        return self.tell(value)  # type: ignore[return-value]  # the first one's, which is a T

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

    def lead(self, tensor: Tensor) -> Tensor:
        """Return the first process's tensor."""
        if self.size > 1:
            distributed.broadcast(tensor, 0)
        return tensor


ALONE = World()


def launched(environment: Mapping[str, str] = os.environ) -> World:
    """Return the world that torchrun's variables describe, or one process alone.

    Raises DarkroomError where another launcher started several: each would train a network of its own, and write it
    over the others'.
    """
    if "RANK" not in environment:
        for launcher, variable in OTHER_LAUNCHERS.items():
            if (count := environment.get(variable, "1")) not in ("", "0", "1"):
                raise DarkroomError(
                    f"{launcher} started {count} processes ({variable}={count}) that do not know of each other: start "
                    f"one a machine, and let torchrun start the rest: {launcher} torchrun --nnodes=MACHINES "
                    "--nproc-per-node=GPUS --rdzv-backend=c10d --rdzv-endpoint=FIRST:29500 stages/…"
                )
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    rank, size, place, neighbours = (int(environment.get(name, default)) for name, default in names.items())
    return World(rank, size, place, neighbours)


@contextmanager
def joined(world: World, device: torch.device, identity: str) -> Iterator[World]:
    """Connect the processes for as long as the block lasts; `identity` is that of this process's device.

    Yields the connected world. When the block raises, or devices differ in type, or two processes have the same GPU,
    the process ends at once and torchrun ends the others: to take the process group down in order could mean to wait
    for processes that wait for this one. The first process to fail prints the reason; the others say nothing.
    """
    if world.size == 1:
        yield world
        return

    # torchrun ends the others with this signal as soon as one has failed.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    store = None
    try:
        store, _, _ = next(rendezvous("env://", world.rank, world.size, timeout=COLLECTIVE))
        _refuse_devices(store, world, identity)
        # Objects go over gloo from the processor's memory, also where the tensors are on GPUs.
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
    """Raise DarkroomError unless all processes train on one type of device, each on a GPU of its own.

    Through the store, since processes with other devices could not even open a connection.
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
    """Wait until `name` is in the store, so that a signal can end it, which PyTorch's own wait does not notice."""
    begin = time.monotonic()
    while not store.check([name]):
        if time.monotonic() - begin > seconds:
            raise DarkroomError(f"another process did not start within {seconds / 60:.0f} minutes: see its message")
        time.sleep(POLL)


def _fails_first(store: Store | None) -> bool:
    """Return whether no other process has failed before this one: the first one's message is the one that explains."""
    try:
        return store is None or store.add("failures", 1) == 1
    except RuntimeError:  # the store is gone with torchrun
        return True


def _report(error: BaseException, world: World) -> None:
    """Print why this process ends: a user's mistake or the loss of another process in a line, a bug as a traceback."""
    others = isinstance(error, (SystemExit, distributed.DistError))
    if message := explain(error):
        print(f"error: {message}", file=sys.stderr)
    elif others or (isinstance(error, RuntimeError) and any(words in str(error) for words in LOST)):
        print(
            f"error: process {world.rank} of {world.size} stops, since another one or torchrun itself ended. Nothing "
            "is lost: the next dvc repro resumes from the last checkpoint",
            file=sys.stderr,
        )
    elif not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)


def leave(status: int = 0) -> NoReturn:
    """End this process, one of several, at once.

    Not as Python ends: PyTorch's threads may outlive what they use there, and then abort the process (seen once in
    many runs, "terminate called without an active exception"), for which torchrun ends all others.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
