import numpy as np
import pytest
import torch

from darkroom.candidate import chunk_size
from darkroom.errors import DarkroomError
from darkroom.training import batches, device, loop, network, optimizer
from darkroom.training.batches import Data
from darkroom.training.device import Compute
from darkroom.training.loop import Plan
from darkroom.training.network import Network
from darkroom.training.settings import AugmentSettings, RecipeSettings

CPU = Compute(torch.device("cpu"), bfloat16=False)


def blobs(count: int, seed: int) -> Data:
    """Return images whose class is which third is bright."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=random)
    images = torch.randint(0, 120, (count, 12, 12, 3), generator=random, dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 4 * label : 4 * label + 4] += 60
    return Data(images, labels)


def train(seed: int = 0, epochs: int = 4, compute: Compute = CPU, **options):
    settings = RecipeSettings(**{"learning_rate": 0.05, **options})
    data = (blobs(120, 1), blobs(60, 2))
    whole = Network(network.build({"architecture": "lab_cnn", "width": 4}, 3, 12, seed), *batches.statistics(data[0]))
    history: list[loop.Epoch] = []
    plan = Plan(settings, AugmentSettings(shift=1), epochs, 16, seed)
    best = loop.train(whole, optimizer.groups([(whole, 1.0)], settings), data, plan, compute, history.append)
    return whole, best, history, data


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.05},
        {"schedule": "constant", "learning_rate": 0.02},
        {"average": 0.9, "label_smoothing": 0.1},
    ],
)
def test_a_network_learns(options):
    whole, best, history, data = train(**options)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]
    assert history[-1].train_loss < history[0].train_loss
    assert max(epoch.validation_accuracy for epoch in history) > 0.9
    loss, accuracy = loop.score(whole, data[1], CPU)
    chosen = history[best - 1]
    assert (loss, accuracy) == pytest.approx((chosen.validation_loss, chosen.validation_accuracy))
    assert accuracy == max(epoch.validation_accuracy for epoch in history)


def test_of_equally_good_epochs_the_last_is_kept():
    _, best, history, _ = train(epochs=6)
    top = max(epoch.validation_accuracy for epoch in history)
    assert best == max(epoch.number for epoch in history if epoch.validation_accuracy == top)


def test_the_seed_decides_every_bit():
    first, again, other = (train(seed, epochs=2)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_bfloat16_learns_too_and_predicts_in_full_precision():
    whole, _, history, data = train(compute=Compute(torch.device("cpu"), bfloat16=True))
    assert history[-1].validation_accuracy > 0.9
    logits = loop.predict(whole, data[1].images)
    assert logits.dtype == torch.float32
    with torch.inference_mode():
        torch.testing.assert_close(logits, whole(data[1].images))


def test_predictions_are_never_rounded_to_tf32():
    class Probe(torch.nn.Module):
        def forward(self, images):
            assert not torch.backends.cudnn.allow_tf32
            return images.float().mean((1, 2))

    assert torch.backends.cudnn.allow_tf32  # PyTorch's default, which a GPU would follow
    assert loop.predict(Probe(), torch.zeros((600, 32, 32, 3), dtype=torch.uint8)).shape == (600, 3)
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("size", "count"), [(8, 8192), (32, 512), (224, 10), (1024, 1)])
def test_larger_images_are_predicted_in_smaller_chunks(size, count):
    assert chunk_size(size) == count


def test_a_loss_that_explodes_says_what_to_lower():
    with pytest.raises(
        DarkroomError, match=r"training diverged: the loss of epoch \d is .*Lower learning_rate, now 1e\+20"
    ):
        train(learning_rate=1e20)


def test_biases_and_norms_do_not_decay():
    model = network.build({"architecture": "resnet9", "width": 4}, 3, 16, 0)
    settings = RecipeSettings(learning_rate=0.1, weight_decay=0.01)
    groups = optimizer.groups([(model.get_submodule("features"), 0.5), (model.get_submodule("head"), 1.0)], settings)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.05, 0.01), (0.05, 0.0), (0.1, 0.01)]
    assert all(parameter.ndim == 1 for parameter in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_the_one_cycle_rises_a_fifth_of_the_way_and_falls_to_nothing():
    share = optimizer.schedule(RecipeSettings(learning_rate=1.0), 100)
    shares = [share(step) for step in range(100)]
    assert np.argmax(shares) in (19, 20)
    assert max(shares) == pytest.approx(1, abs=0.05)
    assert shares[0] == pytest.approx(1 / 21)
    assert shares[-1] == pytest.approx(1 / 80)
    assert all(0 < value <= 1 for value in shares)
    assert optimizer.schedule(RecipeSettings(learning_rate=1.0), 1)(0) > 0
    assert optimizer.schedule(RecipeSettings(learning_rate=1.0, schedule="constant"), 9)(8) == 1


@pytest.mark.parametrize(("count", "batch"), [(10, 5), (11, 5), (13, 5), (4, 5), (1, 5), (6, 5), (2, 2), (3, 2)])
def test_an_epoch_holds_every_image_once_and_no_batch_of_one(count, batch):
    data = Data(torch.zeros((count, 2, 2, 3), dtype=torch.uint8), torch.arange(count))
    chunks = [labels for _, labels in batches.shuffled(data, batch, torch.Generator().manual_seed(0))]
    assert sorted(torch.cat(chunks).tolist()) == list(range(count))
    assert len(chunks) == batches.steps(count, batch)
    assert count == 1 or min(map(len, chunks)) > 1


@pytest.mark.parametrize(
    ("count", "asked", "given"), [(60, 128, 8), (1000, 128, 62), (50_000, 128, 128), (1000, 16, 16), (60, 4, 4)]
)
def test_small_sets_get_small_batches(count, asked, given):
    assert batches.fitting_size(count, asked) == given


def uneven() -> Data:
    """Return 10 images of class 0, 30 of class 1 and 60 of class 2, marked by their class."""
    labels = torch.arange(3).repeat_interleave(torch.tensor([10, 30, 60]))
    return Data(labels.to(torch.uint8)[:, None, None, None].repeat(1, 2, 2, 3), labels)


def test_class_weights_give_every_class_the_same_sum():
    data = uneven()
    weights = batches.class_weights(data, 3)
    assert (weights * torch.bincount(data.labels)).tolist() == pytest.approx([100 / 3] * 3)
    assert float(weights[data.labels].mean()) == pytest.approx(1)


def test_the_sampler_draws_every_class_as_often_and_the_seed_decides():
    data = uneven()
    weights = batches.class_weights(data, 3)

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        chunks = [part for _ in range(60) for part in batches.shuffled(data, 16, generator, weights)]
        assert all((images[:, 0, 0, 0] == labels).all() for images, labels in chunks)
        return torch.cat([labels for _, labels in chunks])

    drawn = draw(0)
    assert len(drawn) == 60 * len(data)
    assert (torch.bincount(drawn) / len(drawn)).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert torch.equal(drawn, draw(0))
    assert not torch.equal(drawn, draw(1))


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_balance_helps_the_rare_class(balance):
    def recall(way: str) -> float:
        common, rare = blobs(160, 1), blobs(200, 2)
        often, seldom = (torch.nonzero(chosen)[:, 0] for chosen in (common.labels > 0, common.labels == 0))
        rows = torch.cat([often, seldom[:4]])
        data = (Data(common.images[rows], common.labels[rows]), rare)
        settings = RecipeSettings(learning_rate=0.02)
        model = network.build({"architecture": "lab_cnn", "width": 4}, 3, 12, 0)
        whole = Network(model, *batches.statistics(data[0]))
        plan = Plan(settings, AugmentSettings(), 2, 16, 0, way)
        loop.train(whole, optimizer.groups([(whole, 1.0)], settings), data, plan, CPU, lambda _: None)
        mine = rare.images[rare.labels == 0]
        return float((loop.predict(whole, mine).argmax(1) == 0).float().mean())

    assert recall(balance) > recall("none")


def test_statistics_are_those_of_numpy():
    data = blobs(50, 3)
    mean, std = batches.statistics(data)
    pixels = data.images.numpy().reshape(-1, 3) / 255
    assert mean == pytest.approx(pixels.mean(0), abs=1e-4)
    assert std == pytest.approx(pixels.std(0), abs=1e-4)
    flat = Data(torch.zeros((2, 2, 2, 3), dtype=torch.uint8), torch.zeros(2))
    assert batches.statistics(flat)[1] == [0.01] * 3  # nothing is divided by zero


def test_a_device_that_is_not_there_is_refused():
    missing = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(DarkroomError, match=f"device '{missing}' is not available here. Allowed: auto, .*cpu"):
        device.choose(missing)
    assert device.choose("cpu").device.type == "cpu"
    assert device.choose("auto").device.type in ("cuda", "mps", "cpu")
    described = device.describe(CPU)
    assert (described["device"], described["precision"]) == ("cpu", "float32")
