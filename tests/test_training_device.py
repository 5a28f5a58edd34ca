"""What happens when a device cannot do what it is asked for."""

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
