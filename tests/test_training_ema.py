import pytest
import torch
from torch import nn

from darkroom.training.engine import ema


def test_the_average_follows_the_network_ever_more_slowly_and_counts_as_it_does() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    expected = 1.0
    for step, value in enumerate((3.0, -2.0, 0.5, 4.0)):
        nn.init.constant_(network.weight, value)
        assert network.num_batches_tracked is not None
        network.num_batches_tracked.fill_(step + 1)
        ema.blend(average, network, decay=0.3, step=step)
        decay = (0.1, 2 / 11, 0.25, 0.3)[step]
        expected = decay * expected + (1 - decay) * value
        assert average.weight.tolist() == [pytest.approx(expected)] * 2
        assert average.num_batches_tracked == step + 1
    assert torch.equal(average.bias, torch.zeros(2))
