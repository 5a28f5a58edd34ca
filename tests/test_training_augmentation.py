import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from darkroom.training.augmentation import geometry
from darkroom.training.augmentation.augment import augment
from darkroom.training.engine.seeds import Draws
from darkroom.training.settings import AugmentSettings


def pictures(count: int = 64, size: int = 9) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


def test_nothing_asked_for_is_nothing_changed():
    images = pictures()
    assert augment(images, AugmentSettings(), Draws(0, 0, len(images))) is images


def test_flip_mirrors_about_half_and_leaves_the_rest():
    images = pictures(400)
    changed = augment(images, AugmentSettings(flip=True), Draws(0, 0, len(images)))
    kinds = [
        "same" if torch.equal(new, old) else "mirrored" if torch.equal(new, old.flip(1)) else "other"
        for new, old in zip(changed, images, strict=True)
    ]
    assert kinds.count("other") == 0
    assert 150 < kinds.count("mirrored") < 250


def test_an_alternating_flip_mirrors_half_and_then_the_other_half():
    images, settings = pictures(400), AugmentSettings(flip="alternating")
    rows = torch.randperm(400, generator=torch.Generator().manual_seed(0))

    def mirrored(rows, epoch, seed=5):
        changed = augment(images[rows], settings, Draws(seed, epoch, len(rows)), rows, epoch)
        flags = (changed == images[rows].flip(2)).flatten(1).all(1)
        assert torch.equal(changed, torch.where(flags[:, None, None, None], images[rows].flip(2), images[rows]))
        return flags

    first = mirrored(rows, 0)
    assert 150 < int(first.sum()) < 250
    assert torch.equal(mirrored(rows, 1), ~first)
    assert torch.equal(mirrored(rows, 2), first)
    # It is the image that decides, wherever it stands in the batch, and the seed.
    assert torch.equal(mirrored(torch.arange(400), 0)[rows], first)
    assert 150 < int((mirrored(rows, 0, seed=6) ^ first).sum()) < 250


def test_neighbouring_rows_and_seeds_have_nothing_in_common():
    flags = torch.stack([geometry.alternating(torch.arange(50_000), 1, seed) for seed in range(8)]).double()
    assert float((flags.mean(1) - 0.5).abs().max()) < 0.01
    flags = 2 * flags - 1
    together = flags @ flags.T / 50_000 - torch.eye(8)
    assert float(together.abs().max()) < 0.02
    assert all(float((flags[:, lag:] * flags[:, :-lag]).mean().abs()) < 0.01 for lag in (1, 2, 3, 64, 128, 512))


def test_shift_equals_a_crop_from_a_reflected_border():
    images = pictures(200, 8)
    changed = augment(images, AugmentSettings(shift=2), Draws(0, 0, len(images))).numpy()
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
    changed = augment(images, AugmentSettings(rotate=30), Draws(0, 0, len(images)))
    assert changed.dtype == torch.float32
    assert (changed[:, 10, 10] > 254).all()
    images = torch.zeros((300, 41, 41, 3), dtype=torch.uint8)
    images[:, 20, 30:39] = 255  # a bar to the right of the centre
    changed = augment(images, AugmentSettings(rotate=30), Draws(0, 0, len(images)))[..., 0]
    weights = changed / changed.sum((1, 2), keepdim=True)
    places = torch.arange(41.0) - 20
    angles = torch.rad2deg(torch.atan2((weights.sum(2) * places).sum(1), (weights.sum(1) * places).sum(1)))
    assert angles.abs().max() < 31
    assert angles.abs().max() > 27
    assert abs(float(angles.mean())) < 4


def test_zoom_scales_within_its_bounds():
    images = torch.zeros((300, 41, 41, 3), dtype=torch.uint8)
    images[:, 10:31, 10:31] = 255
    areas = augment(images, AugmentSettings(zoom=0.2), Draws(0, 0, len(images)))[..., 0].sum((1, 2)) / 255 / 21**2
    assert float(areas.min()) == pytest.approx(0.8**2, rel=0.06)
    assert float(areas.max()) == pytest.approx(1.2**2, rel=0.06)


def test_a_random_crop_shows_parts_of_the_bounds_that_it_was_given():
    size = 40
    places = torch.arange(size, dtype=torch.uint8).expand(size, size)
    images = torch.stack([places, places.T, places], 2).repeat(500, 1, 1, 1)
    changed = augment(images, AugmentSettings(crop=0.3), Draws(0, 0, len(images)))
    middle = changed[:, 10:30, 10:30]  # two ramps: their slopes are the sides of the part, as shares of the image
    width = (middle[:, :, 19, 0] - middle[:, :, 0, 0]).mean(1) / 19
    height = (middle[:, 19, :, 1] - middle[:, 0, :, 1]).mean(1) / 19
    area = width * height
    assert float(area.min()) == pytest.approx(0.3, abs=0.02)
    assert float(area.max()) == pytest.approx(1, abs=0.05)
    ratio = width / height
    assert float(ratio.min()) == pytest.approx(3 / 4, abs=0.05)
    assert float(ratio.max()) == pytest.approx(4 / 3, abs=0.08)
    # Never beyond the image, where the ramp would be reflected, and up to its edges.
    assert float(changed[:, 20, :, 0].diff(dim=1).min()) > -0.1
    left = changed[:, 20, 0, 0]
    assert float(left.min()) == pytest.approx(0, abs=0.2)
    assert float(changed.amax()) == pytest.approx(size - 1, abs=0.2)
    assert len(set(left.round().tolist())) > 10


def test_a_crop_equals_torchvisions():
    wave = 128 + 100 * torch.sin(torch.arange(40.0)[:, None] / 5) * torch.cos(torch.arange(40.0)[None, :] / 4)
    images = wave[None, :, :, None].repeat(1, 1, 1, 3)
    top, left, height, width = 4, 10, 20, 16
    sides = torch.tensor([width / 40, height / 40])
    centre = torch.tensor([2 * (left + width / 2) / 40 - 1, 2 * (top + height / 2) / 40 - 1])
    matrix = torch.cat([torch.diag(sides), centre[:, None]], 1)[None]
    expected = reference.resized_crop(images.permute(0, 3, 1, 2), top, left, height, width, [40, 40], antialias=False)
    changed = geometry.sample(images, matrix)
    # At the part's border torchvision repeats its last pixel, and here the next one is seen.
    torch.testing.assert_close(changed[:, 2:-2, 2:-2], expected.permute(0, 2, 3, 1)[:, 2:-2, 2:-2], atol=0.01, rtol=0)


def test_cutout_greys_one_square():
    images = torch.zeros((200, 16, 16, 3), dtype=torch.uint8)
    changed = augment(images, AugmentSettings(cutout=4), Draws(0, 0, len(images)))
    counts = (changed == 128).all(-1).sum((1, 2))
    assert int(counts.max()) == 16
    assert int(counts.min()) >= 4  # at a corner a quarter of the square is left
    assert set(changed.unique().tolist()) == {0, 128}


@pytest.mark.parametrize(
    "settings", [AugmentSettings(flip=True, shift=2), AugmentSettings(rotate=9, zoom=0.1, cutout=3)]
)
def test_the_seed_decides(settings):
    images = pictures()
    first, again, other = (augment(images, settings, Draws(seed, 0, len(images))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert torch.equal(images, pictures())  # the data set itself is left alone


@pytest.mark.parametrize(
    "settings",
    [
        AugmentSettings(flip="alternating", shift=2, cutout=3),
        AugmentSettings(flip=True, rotate=10, zoom=0.1, crop=0.5),
        AugmentSettings(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
    ],
)
def test_processes_that_share_a_batch_change_each_image_as_one_alone_would(settings):
    images, rows = pictures(10), torch.arange(100, 110)
    whole = augment(images, settings, Draws(3, 8, 10), rows, 2)
    for rank in range(3):
        share = slice(rank, 10, 3)
        part = augment(images[share], settings, Draws(3, 8, 10, share), rows[share], 2)
        torch.testing.assert_close(part, whole[share])
