"""The search for pairs of images that may be copies finds those of a comparison of all with all."""

import itertools

import numpy as np
import pytest

from darkroom.data.split import pairs


def hashes(kind: str) -> np.ndarray:
    """Return 300 hashes of which many differ in few bits."""
    random = np.random.default_rng(0)
    if kind == "equal":
        return np.zeros(300, dtype=np.uint64)
    if kind == "nearly equal":
        return np.uint64(1) << random.integers(0, 64, 300, dtype=np.uint64)
    found = random.integers(0, 2**63, 300, dtype=np.uint64)
    for row in range(0, 300, 2):  # each second one becomes a near copy of the next
        bits = random.choice(64, int(random.integers(0, 20)), replace=False)
        found[row] = found[row + 1] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0))
    return found


def listed(found: pairs.Pairs) -> list[tuple[int, int]]:
    return sorted(
        (min(pair), max(pair)) for first, second in found for pair in zip(first.tolist(), second.tolist(), strict=True)
    )


@pytest.mark.parametrize("kind", ["random", "equal", "nearly equal"])
@pytest.mark.parametrize("tolerance", [1, 4, 8, 16])
def test_every_pair_of_near_hashes_is_found_once(kind, tolerance):
    found = hashes(kind)
    distances = np.bitwise_count(found[:, None] ^ found)
    expected = [pair for pair in itertools.combinations(range(300), 2) if distances[pair] <= tolerance]
    assert len(expected) > 5
    assert listed(pairs.near_hashes(found, tolerance)) == expected


@pytest.mark.parametrize("distance", [0.05, 0.3, 5])
def test_every_pair_of_near_projections_is_found_once(distance):
    values = np.random.default_rng(0).normal(0, 0.3, (400, 8)).astype(np.float32)
    values[::4] = values[1::4] + np.float32(0.01)
    apart = np.linalg.norm(values[:, None].astype(np.float64) - values, axis=2)
    found = listed(pairs.near_projections(values, distance))
    assert found == sorted(set(found))
    assert set(found) == {pair for pair in itertools.combinations(range(400), 2) if apart[pair] <= distance}
    assert len(found) >= 100


def test_pairs_are_yielded_in_bounded_parts():
    sizes = [len(first) for first, _ in pairs.near_hashes(np.zeros(1000, dtype=np.uint64), 8)]
    assert sum(sizes) == 1000 * 999 // 2
    assert max(sizes) <= pairs.PAIRS + pairs.BLOCK * 1000


def test_few_pairs_are_gathered_and_an_empty_set_has_none():
    assert len(list(pairs.near_hashes(hashes("random"), 8))) == 1
    assert not list(pairs.near_hashes(hashes("random")[:1], 8))
    assert not list(pairs.near_projections(np.zeros((1, 8), dtype=np.float32), 0.1))


@pytest.mark.parametrize(("kind", "groups"), [("random", 9), ("nearly equal", 1), ("equal", 1)])
def test_hashes_are_compared_by_groups_of_bits_only_if_that_is_faster(monkeypatch, kind, groups):
    used = []
    compare = pairs._equal_groups
    monkeypatch.setattr(pairs, "_equal_groups", lambda *given: used.append(len(given[2])) or compare(*given))
    list(pairs.near_hashes(hashes(kind), 8))
    assert used == [groups]
