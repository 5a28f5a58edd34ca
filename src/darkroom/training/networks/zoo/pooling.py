"""Pooling layers shared by several families."""

from torch import Tensor, nn


class GlobalMaxPool(nn.Module):
    """The largest value of each channel, (N, C, H, W) to (N, C).

    Like `nn.AdaptiveMaxPool2d(1)`, whose gradient CUDA cannot compute deterministically.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return the maxima; equal maxima share the gradient."""
        return images.amax((2, 3))
