import numpy as np
import pytest
import torch

from darkroom.training.augment import augment
from darkroom.training.settings import AugmentSettings


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 64, size: int = 9) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator(7))


def test_nothing_asked_for_is_nothing_changed():
    images = pictures()
    assert augment(images, AugmentSettings(), generator()) is images


def test_flip_mirrors_about_half_and_leaves_the_rest():
    images = pictures(400)
    changed = augment(images, AugmentSettings(flip=True), generator())
    kinds = [
        "same" if torch.equal(new, old) else "mirrored" if torch.equal(new, old.flip(1)) else "other"
        for new, old in zip(changed, images, strict=True)
    ]
    assert kinds.count("other") == 0
    assert 150 < kinds.count("mirrored") < 250


def test_shift_equals_a_crop_from_a_reflected_border():
    images = pictures(200, 8)
    changed = augment(images, AugmentSettings(shift=2), generator()).numpy()
    padded = np.pad(images.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    seen = set()
    for number in range(200):
        matches = [
            (y, x) for y in range(5) for x in range(5)
            if np.array_equal(padded[number, y : y + 8, x : x + 8], changed[number])
        ]  # fmt: skip
        assert len(matches) == 1
        seen |= set(matches)
    assert len(seen) == 25  # every shift occurs, each image with its own draw


def test_turning_moves_a_point_by_the_angle_and_keeps_the_centre():
    images = torch.zeros((300, 21, 21, 3), dtype=torch.uint8)
    images[:, 10, 10] = 255
    changed = augment(images, AugmentSettings(rotate=30), generator())
    assert changed.dtype == torch.float32
    assert (changed[:, 10, 10] > 254).all()
    images = torch.zeros((300, 41, 41, 3), dtype=torch.uint8)
    images[:, 20, 30:39] = 255  # a bar to the right of the centre
    changed = augment(images, AugmentSettings(rotate=30), generator())[..., 0]
    weights = changed / changed.sum((1, 2), keepdim=True)
    places = torch.arange(41.0) - 20
    angles = torch.rad2deg(torch.atan2((weights.sum(2) * places).sum(1), (weights.sum(1) * places).sum(1)))
    assert angles.abs().max() < 31
    assert angles.abs().max() > 27
    assert abs(float(angles.mean())) < 4


def test_zoom_scales_within_its_bounds():
    images = torch.zeros((300, 41, 41, 3), dtype=torch.uint8)
    images[:, 10:31, 10:31] = 255
    areas = augment(images, AugmentSettings(zoom=0.2), generator())[..., 0].sum((1, 2)) / 255 / 21**2
    assert float(areas.min()) == pytest.approx(0.8**2, rel=0.06)
    assert float(areas.max()) == pytest.approx(1.2**2, rel=0.06)


def test_cutout_greys_one_square():
    images = torch.zeros((200, 16, 16, 3), dtype=torch.uint8)
    changed = augment(images, AugmentSettings(cutout=4), generator())
    counts = (changed == 128).all(-1).sum((1, 2))
    assert int(counts.max()) == 16
    assert int(counts.min()) >= 4  # at a corner a quarter of the square is left
    assert set(changed.unique().tolist()) == {0, 128}


@pytest.mark.parametrize(
    "settings", [AugmentSettings(flip=True, shift=2), AugmentSettings(rotate=9, zoom=0.1, cutout=3)]
)
def test_the_generator_decides(settings):
    images = pictures()
    first, again, other = (augment(images, settings, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert torch.equal(images, pictures())  # the data set itself is left alone
