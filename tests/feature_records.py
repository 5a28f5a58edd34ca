"""Invented features and their cache, for tests and for the processes that they start: without torch, to start fast."""

import numpy as np

from darkroom.training.transfer.cache import FeatureCache


def image(number):
    """Return the hash of an invented image."""
    return number.to_bytes(32, "little")


def row(number, values=100):
    """Return its features."""
    return np.random.default_rng(number).normal(size=values).astype(np.float16)


def fill(folder, numbers, at_once=5, limit=10**9):
    """Save the features of invented images."""
    kept = FeatureCache(folder, limit)
    numbers = list(numbers)
    for begin in range(0, len(numbers), at_once):
        part = numbers[begin : begin + at_once]
        kept.save("network", [image(number) for number in part], np.stack([row(number) for number in part]), 1.0)


def known(folder, numbers):
    """Return which invented images have features, after comparing these."""
    found = FeatureCache(folder).load("network", [image(number) for number in numbers])
    available = [number for number, there in zip(numbers, found.known, strict=True) if there]
    assert all(np.array_equal(values, row(number)) for values, number in zip(found.features, available, strict=True))
    assert len(found.features) == len(available)
    return available
