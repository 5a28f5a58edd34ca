"""What happens when a device's memory is full."""

import pytest
import torch

from darkroom.errors import DarkroomError
from darkroom.training import device


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
