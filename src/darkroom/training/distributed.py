"""One training over several processes, as `torchrun` starts them: each takes its share of every batch."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from darkroom.errors import DarkroomError

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others, such as the first while it computes features alone. When one fails, torchrun
ends the others at once."""


@dataclass(frozen=True)
class World:
    """The processes of a training. One alone needs no communication, and does none."""

    rank: int = 0
    size: int = 1
    place: int = 0
    """This process's number on its own machine."""
    neighbours: int = 1
    """Processes on its machine."""

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
        distributed.broadcast_object_list(values, 0)
        return values[0]

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


def launched() -> World:
    """Return the world that torchrun's variables describe, or one process alone."""
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    return World(*(int(os.environ.get(name, default)) for name, default in names.items()))


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes for as long as the block lasts.

    Raises DarkroomError in those that are left when one of them fails.
    """
    if world.size == 1:
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        print(f"error: {_left_alone(world)}", file=sys.stderr)
        sys.exit(128 + number)

    # torchrun ends the others with this signal as soon as one has failed.
    before = signal.signal(signal.SIGTERM, stop)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, distributed.DistBackendError) or "gloo" in str(error) or "closed by peer" in str(error):
            raise DarkroomError(_left_alone(world)) from None
        raise
    finally:
        distributed.destroy_process_group()
        signal.signal(signal.SIGTERM, before)


def leave() -> NoReturn:
    """End this process, one of several, with all that it had to do done.

    Not as Python ends: PyTorch's threads may outlive what they use there, and then abort the process (seen once in
    many runs, "terminate called without an active exception"), for which torchrun ends all others.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _left_alone(world: World) -> str:
    return (
        f"process {world.rank} of {world.size} stops, since another one or torchrun itself ended: see its message. "
        "Nothing is lost: the next dvc repro goes on from the last checkpoint"
    )
