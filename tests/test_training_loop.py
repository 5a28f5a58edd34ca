import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from darkroom.candidate import chunk_size
from darkroom.foundations.errors import DarkroomError
from darkroom.training.augmentation import mixing
from darkroom.training.engine import batches, device, loop, muon, optimizer, scoring
from darkroom.training.engine import schedule as schedules
from darkroom.training.engine.batches import Data
from darkroom.training.engine.device import Compute
from darkroom.training.engine.loop import Callback, Plan, Trainer
from darkroom.training.networks import network
from darkroom.training.networks.network import Network
from darkroom.training.settings import AugmentSettings, RecipeSettings, TrainingSettings

CPU = Compute(torch.device("cpu"))
STATISTICS = [0.3] * 3, [0.2] * 3
"""Mean and standard deviation of the images below, about."""


def blobs(count: int, seed: int) -> Data:
    """Return images whose class is which third is bright."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=random)
    images = torch.randint(0, 120, (count, 12, 12, 3), generator=random, dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 4 * label : 4 * label + 4] += 60
    return Data(images, None, labels)


class History(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.epochs: list[loop.Epoch] = []
        self.ways: list[float] = []

    def epoch(self, epoch: loop.Epoch) -> None:
        self.epochs.append(epoch)

    def step(self, progress: float) -> None:
        self.ways.append(progress)


def trainer(
    seed: int = 0,
    epochs: int = 4,
    compute: Compute = CPU,
    architecture: str = "lab_cnn",
    training: TrainingSettings | None = None,
    **options,
) -> Trainer:
    settings = RecipeSettings(**{"learning_rate": 0.05, **options})
    data = (blobs(120, 1), blobs(60, 2))
    model = network.build({"architecture": architecture, "width": 4}, 3, 12, seed)
    whole = Network(model, *STATISTICS)
    plan = Plan(settings, AugmentSettings(shift=1), training or TrainingSettings(), epochs, 16, seed)
    return Trainer(whole, optimizer.groups([(whole, 1.0)], settings), data, plan, compute)


def train(*arguments, **options):
    it = trainer(*arguments, **options)
    callback = History()
    best = it.run(callback)
    return it.network, best, callback.epochs, (it.training, it.validation)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.05},
        {"schedule": "constant", "learning_rate": 0.02},
        {"schedule": "cosine", "warmup": 0.1},
        {"schedule": "plateau"},
        {"average": 0.9, "label_smoothing": 0.1},
        {"mixup": 0.2, "cutmix": 1.0},
        {"optimizer": "muon", "learning_rate": 0.1},
        {"clip": 1.0},
        {"small_start": 0.7, "architecture": "resnet9"},
    ],
)
def test_a_network_learns(options):
    whole, best, history, data = train(**options)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]
    assert history[-1].train_loss < history[0].train_loss
    assert max(epoch.validation_accuracy for epoch in history) > 0.9
    loss, accuracy = scoring.score(whole, data[1], CPU)
    chosen = history[best - 1]
    assert (loss, accuracy) == pytest.approx((chosen.validation_loss, chosen.validation_accuracy))
    top = max(epoch.validation_accuracy for epoch in history)
    assert accuracy >= top - (top * (1 - top) / len(data[1])) ** 0.5


@pytest.mark.parametrize(("schedule", "best"), [("one_cycle", 4), ("cosine", 4), ("constant", 2), ("plateau", 2)])
def test_a_lead_by_luck_does_not_keep_an_epoch_of_a_falling_rate(monkeypatch, schedule, best):
    accuracies = iter([0.8, 0.9, 0.85, 0.87, 0.8])  # of 60 images: the standard error of 0.9 is 0.039
    monkeypatch.setattr(scoring, "score", lambda *_: (1.0, next(accuracies)))
    assert train(epochs=5, schedule=schedule)[1] == best


def test_of_equally_good_epochs_the_last_is_kept():
    _, best, history, _ = train(epochs=6)
    top = max(epoch.validation_accuracy for epoch in history)
    assert best == max(epoch.number for epoch in history if epoch.validation_accuracy == top)


def test_the_seed_decides_every_bit():
    first, again, other = (train(seed, epochs=2)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_bfloat16_learns_too_and_predicts_in_full_precision():
    whole, _, history, data = train(compute=Compute(torch.device("cpu"), torch.bfloat16))
    assert history[-1].validation_accuracy > 0.9
    logits = scoring.predict(whole, data[1]).logits
    assert logits.dtype == np.float32
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(logits), whole(data[1].images))


def test_predictions_are_computed_on_the_processor():
    class Elsewhere(torch.nn.Linear):
        def forward(self, images):
            assert images.device == self.weight.device == torch.device("cpu")
            return super().forward(images.float().mean((1, 2)))

    whole = Elsewhere(3, 3)
    on_meta = Data(torch.zeros((600, 32, 32, 3), dtype=torch.uint8), None, torch.zeros(600))
    assert scoring.predict(whole, on_meta).logits.shape == (600, 3)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("size", "count"), [(8, 8192), (32, 512), (224, 10), (1024, 1)])
def test_larger_images_are_predicted_in_smaller_chunks(size, count):
    assert chunk_size(size) == count


def test_a_loss_that_explodes_says_what_to_lower():
    with pytest.raises(
        DarkroomError, match=r"training diverged: the loss of epoch \d is .*Lower learning_rate, now 1e\+20"
    ):
        train(learning_rate=1e20)


def test_a_loss_beyond_return_is_refused_too():
    with pytest.raises(DarkroomError, match=r"training diverged: the loss of epoch 1 is \d.*e\+.* Lower learning_rate"):
        train(optimizer="adam", learning_rate=1e8)


def test_float16_with_scaled_losses_learns_and_resumes():
    it = trainer(compute=Compute(torch.device("cpu"), torch.float16), clip=1.0, epochs=6)
    it.run(Callback())
    assert it.best.accuracy > 0.9
    again = trainer(compute=Compute(torch.device("cpu"), torch.float16), clip=1.0, epochs=6)
    again.restore(it.state())
    assert again.gradients.scaler.get_scale() == it.gradients.scaler.get_scale()
    trainer(epochs=6).restore(it.state())  # another kind of machine needs no scale
    again.restore(trainer(epochs=6).state())


def test_only_whole_batches_of_one_type_are_compiled_and_before_the_clock_starts(monkeypatch):
    seen: list[tuple[int, int, torch.dtype]] = []

    class Compiled(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append((*images.shape[:2], images.dtype))
            return self.model(images)

    monkeypatch.setattr(torch, "compile", lambda model, dynamic: Compiled(model))
    options = {"architecture": "resnet9", "compile": True, "epochs": 3, "small_start": 0.8}
    it = trainer(**options)
    it.training = Data(it.training.images[:101], None, it.training.labels[:101])  # six batches of 16, one of 5
    it.steps, it.total = 6, 18
    sides = {10, 11, 12}
    before = {name: tensor.clone() for name, tensor in it.network.state_dict().items()}
    it.gradients.warm_up(sides, 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in it.network.state_dict().items())
    assert seen == [(16, side, torch.float32) for side in sorted(sides)]
    it.run(Callback())
    assert set(seen) == {(16, side, torch.float32) for side in (12,)} | set(seen[:3])
    assert len(it.history) == 3


def test_what_cannot_be_compiled_says_what_to_set():
    class Uncompiled(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise InvalidCxxCompiler

    it = trainer()
    it.gradients.model = Uncompiled()
    with pytest.raises(DarkroomError, match=r"cannot be compiled here .*: set compile: false, or install a C\+\+"):
        it.run(Callback())


def test_biases_and_norms_do_not_decay():
    model = network.build({"architecture": "resnet9", "width": 4}, 3, 16, 0)
    settings = RecipeSettings(learning_rate=0.1, weight_decay=0.01)
    groups = optimizer.groups([(model.get_submodule("features"), 0.5), (model.get_submodule("head"), 1.0)], settings)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.05, 0.01), (0.05, 0.0), (0.1, 0.01)]
    assert all(parameter.ndim == 1 for parameter in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("schedule", "progress", "share"),
    [
        ("one_cycle", 0.1, 0.5),
        ("one_cycle", 0.2, 1.0),
        ("one_cycle", 0.6, 0.5),
        ("one_cycle", 1.0, 0.0),
        ("cosine", 0.1, 0.5),
        ("cosine", 0.6, 0.5),
        ("cosine", 0.4, (1 + 2**-0.5) / 2),
        ("cosine", 1.0, 0.0),
        ("constant", 0.9, 1.0),
        ("plateau", 0.9, 1.0),
    ],
)
def test_schedules_rise_a_fifth_of_the_way_and_fall(schedule, progress, share):
    settings = RecipeSettings(learning_rate=1.0, schedule=schedule, warmup=0.2)
    assert schedules.factor(settings, progress, []) == pytest.approx(share)


@pytest.mark.parametrize(
    ("accuracies", "share"),
    [
        ([0.5, 0.6, 0.6, 0.6, 0.6, 0.6], 1.0),
        ([0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6], 0.2),
        ([0.5, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6], 1.0),
        ([0.6] + 10 * [0.5], 0.04),
        ([], 1.0),
    ],
)
def test_a_plateau_of_five_epochs_lowers_the_learning_rate(accuracies, share):
    assert schedules.plateau(accuracies) == pytest.approx(share)


def test_training_starts_with_small_images_and_ends_with_whole_ones():
    settings = RecipeSettings(learning_rate=1.0, small_start=0.5)
    sizes = [schedules.image_size(settings, 32, progress / 100) for progress in range(100)]
    assert sizes == sorted(sizes)
    assert [(size, sizes.index(size)) for size in sorted(set(sizes))] == [(16, 0), (24, 35), (32, 65)]
    assert {schedules.image_size(RecipeSettings(learning_rate=1.0), 32, progress) for progress in (0.0, 1.0)} == {32}


def test_patience_ends_a_training_that_gets_no_better():
    whole, best, history, data = train(epochs=60, patience=3)
    accuracies = [epoch.validation_accuracy for epoch in history]
    assert len(history) == accuracies.index(max(accuracies)) + 1 + 3 < 60
    assert scoring.score(whole, data[1], CPU)[1] == history[best - 1].validation_accuracy


def test_a_training_that_is_short_of_time_ends_with_a_finished_schedule(monkeypatch):
    ticks = itertools.count(0, 0.005)  # a look at the clock is one; the machine's own would make this test one of time
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    it = trainer(epochs=10_000, training=TrainingSettings(max_minutes=1 / 60))
    callback = History()
    it.run(callback)
    assert len(callback.epochs) < 10_000
    assert callback.ways == sorted(callback.ways)
    assert callback.ways[-1] > 0.95  # the clock may pass the end between two steps
    assert it.progress == 1
    assert callback.epochs[-1].learning_rate < 0.05 * 0.1
    assert it.seconds == pytest.approx(1, abs=0.5)


class Small(torch.nn.Module):
    """A network on a device with room for a few images."""

    def __init__(self, inner: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room = inner, room

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return self.inner(images)


def test_a_batch_too_large_for_memory_says_which_size_fits():
    it = trainer()
    it.gradients.model = Small(it.network, 5)
    with pytest.raises(DarkroomError, match=r"a batch of 16 images does not fit .* 4 do: set batch_size to 4, or acc"):
        it.run(Callback())


def test_a_batch_too_large_for_memory_is_taken_in_parts_with_the_same_result():
    whole, best, history, _ = train(epochs=2)
    it = trainer(epochs=2, training=TrainingSettings(accumulate=True))
    it.gradients.model = Small(it.network, 5)
    assert it.run(Callback()) == best
    assert it.gradients.most == 4
    assert [epoch.train_loss for epoch in it.history] == pytest.approx(
        [epoch.train_loss for epoch in history], rel=1e-4
    )
    for mine, other in zip(it.network.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_class_weights_are_the_same_whole_and_in_parts():
    logits, labels = torch.randn((12, 3), generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    targets, weight = mixing.Targets(labels, labels, 1.0), torch.tensor([0.2, 1.0, 1.8])
    whole = targets.loss(logits, weight, 0.1)
    parts = [targets.part(slice(row, row + 1)).loss(logits[row : row + 1], weight, 0.1) for row in range(12)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    assert not torch.isclose(whole, targets.loss(logits, None, 0.1))


def test_a_class_weight_multiplies_the_whole_loss_of_its_images():
    logits, labels = torch.randn((4, 2), generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 0])
    smoothed = torch.full((4, 2), 0.05) + 0.9 * torch.nn.functional.one_hot(labels, 2)
    expected = (torch.tensor([0.5, 0.5, 10, 0.5]) * -(smoothed * logits.log_softmax(1)).sum(1)).mean()
    found = mixing.Targets(labels, labels, 1.0).loss(logits, torch.tensor([0.5, 10]), 0.1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("batch", "room"), [(16, 3), (13, 4), (16, 2), (23, 5)])
@pytest.mark.parametrize("architecture", ["vgg3_bn", "resnet9"])
def test_no_part_is_too_small_for_batch_norm(architecture, batch, room):
    it = trainer(epochs=1, architecture=architecture, training=TrainingSettings(accumulate=True))
    it.plan = replace(it.plan, batch_size=batch)
    it.gradients.batch_size = batch
    it.steps = it.total = batches.steps(len(it.training), batch)
    it.gradients.model = Small(it.network, room)
    sizes = []
    it.network.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])) if module.training else None)
    it.run(Callback())
    assert sum(sizes) == len(it.training)
    assert min(sizes) >= 2
    assert max(sizes) <= room


def test_not_even_one_image_fits():
    it = trainer(training=TrainingSettings(accumulate=True))
    it.gradients.model = Small(it.network, 0)
    with pytest.raises(DarkroomError, match="not even two images fit into memory"):
        it.run(Callback())


def test_an_orthogonal_step_has_singular_values_near_one():
    matrix = torch.randn((12, 40), generator=torch.Generator().manual_seed(0))
    before, after = (torch.linalg.svdvals(each) for each in (matrix, muon.orthogonal(matrix)))
    assert before.max() / before.min() > 2
    assert 0.5 < after.min() <= after.max() < 1.4
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ muon.orthogonal(matrix) @ right.T
    assert (turned - torch.diag(turned.diag())).abs().max() < 0.05
    torch.testing.assert_close(muon.orthogonal(matrix.T), muon.orthogonal(matrix).T, rtol=0.05, atol=0.02)


def test_muon_moves_filters_and_adam_the_rest():
    model = network.build({"architecture": "resnet9", "width": 4}, 3, 16, 0)
    settings = RecipeSettings(learning_rate=0.2, optimizer="muon", adam_learning_rate=0.02)
    filters, rest = optimizer.build(optimizer.groups([(model, 1.0)], settings), settings)
    assert isinstance(filters, muon.Muon)
    assert all(parameter.ndim == 4 for group in filters.param_groups for parameter in group["params"])
    assert [group["lr"] for group in [*filters.param_groups, *rest.param_groups]] == [0.2, 0.02, 0.02]
    assert sum(len(group["params"]) for each in (filters, rest) for group in each.param_groups) == len(
        list(model.parameters())
    )


@pytest.mark.parametrize(("settings", "kind"), [({"mixup": 1.0}, "blend"), ({"cutmix": 1.0}, "paste")])
def test_mixed_images_come_with_both_labels_in_their_shares(settings, kind):
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].repeat(1, 10, 10, 3) * 50
    labels = torch.arange(4)
    mixed, targets = mixing.mix(images, labels, RecipeSettings(learning_rate=1.0, **settings), seed=5)
    assert targets.first.tolist() == [0, 1, 2, 3]
    assert targets.second.tolist() == [1, 2, 3, 0]
    assert 0 < targets.share < 1
    expected = targets.share * images.float().mean((1, 2, 3)) + (1 - targets.share) * images.roll(-1, 0).float().mean(
        (1, 2, 3)
    )
    torch.testing.assert_close(mixed.float().mean((1, 2, 3)), expected)
    values = mixed[0].unique().tolist()
    assert len(values) == 1 if kind == "blend" else values == [0, 50]
    logits = torch.randn((4, 4), generator=torch.Generator().manual_seed(0))
    blended = targets.share * torch.eye(4)[targets.first] + (1 - targets.share) * torch.eye(4)[targets.second]
    torch.testing.assert_close(targets.loss(logits, None, 0.0), torch.nn.functional.cross_entropy(logits, blended))
    assert mixing.mix(images, labels, RecipeSettings(learning_rate=1.0), seed=5)[0] is images


@pytest.mark.parametrize(("count", "batch"), [(10, 5), (11, 5), (13, 5), (4, 5), (1, 5), (6, 5), (2, 2), (3, 2)])
def test_an_epoch_holds_every_image_once_and_no_batch_of_one(count, batch):
    data = Data(torch.zeros((count, 2, 2, 3), dtype=torch.uint8), None, torch.arange(count))
    chunks = batches.order(data, batch, torch.Generator().manual_seed(0))
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
    return Data(labels.to(torch.uint8)[:, None, None, None].repeat(1, 2, 2, 3), None, labels)


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
        return data.labels[torch.cat([part for _ in range(60) for part in batches.order(data, 16, generator, weights)])]

    drawn = draw(0)
    assert len(drawn) == 60 * len(data)
    assert (torch.bincount(drawn) / len(drawn)).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert torch.equal(drawn, draw(0))
    assert not torch.equal(drawn, draw(1))


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_balance_helps_the_rare_class(balance):
    def recall(progress: str) -> float:
        common, rare = blobs(160, 1), blobs(200, 2)
        often, seldom = (torch.nonzero(chosen)[:, 0] for chosen in (common.labels > 0, common.labels == 0))
        rows = torch.cat([often, seldom[:4]])
        data = (Data(common.images[rows], None, common.labels[rows]), rare)
        settings = RecipeSettings(learning_rate=0.02)
        model = network.build({"architecture": "lab_cnn", "width": 4}, 3, 12, 0)
        whole = Network(model, *STATISTICS)
        plan = Plan(settings, AugmentSettings(), TrainingSettings(balance=progress), 2, 16, 0)
        Trainer(whole, optimizer.groups([(whole, 1.0)], settings), data, plan, CPU).run(Callback())
        mine = Data(rare.images[rare.labels == 0], None, rare.labels[rare.labels == 0])
        return float((scoring.predict(whole, mine).logits.argmax(1) == 0).mean())

    assert recall(balance) > recall("none")


def test_a_device_that_is_not_there_is_refused():
    missing = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(DarkroomError, match=f"device '{missing}' is not available here.*. Allowed: auto, .*cpu"):
        device.choose(missing)
    assert device.choose("cpu").device.type == "cpu"
    assert device.choose("auto").device.type in ("cuda", "mps", "cpu")
    described = device.describe(CPU)
    assert (described["device"], described["precision"]) == ("cpu", "float32")
