"""Pooling that networks of several families share."""

from torch import Tensor, nn


class GlobalMaxPool(nn.Module):
    """The largest value of each channel, (N, C, H, W) to (N, C).

    As `nn.AdaptiveMaxPool2d(1)`, whose gradient CUDA cannot compute deterministically.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return the maxima; equal ones share the gradient."""
        return images.amax((2, 3))
