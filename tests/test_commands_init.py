import builtins
import io
import re
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from ruamel.yaml import YAML

from darkroom import fetching, packed, schema
from darkroom.commands import init, main, proposal, weights
from darkroom.data.archives.origin import Origin, write_origin
from darkroom.data.pack import contents, packing
from darkroom.data.settings import FolderSource, PackSettings, SplitSettings
from darkroom.data.sources import folder
from darkroom.data.split import duplicates, holdout, splitting
from darkroom.data.surveying import SIZE, survey
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import backbones, packaged
from darkroom.training.transfer.backbones import Published
from tests.imports import ROOT
from tests.pictures import class_folders, encode, pixels, write_folder, write_tar, write_zip
from tests.test_data_scenes import scene, shot

LARGE = pixels(1000, 200, 180)


def many():
    """Return pictures of which something can be said: copies, a conflict, greys, broken ones, uneven classes."""
    members = class_folders({"cat": 24, "dog": 12})
    grey = Image.fromarray(pixels(500, 40, 30)).convert("L")
    return members | {
        "cat/large.png": encode(LARGE),
        "cat/again.png": encode(LARGE),
        "cat/near.jpg": encode(LARGE, "JPEG", quality=60),
        "dog/grey.jpg": encode(grey, "JPEG"),
        "dog/stolen.png": members["cat/000.png"],
        "dog/[bold]cut[/bold].jpg": encode(LARGE, "JPEG")[:300],
        "dog/raw.heic": b"x",
        "README.txt": b"no picture",
    }


def small_params():
    """Return the real `params.yaml` with two data sets and one network, which is quick to read."""
    real = YAML(typ="safe").load(ROOT / "params.yaml")
    real |= {name: {} for name in ("zoo", "transfer")}
    real["datasets"] = {name: real["datasets"][name] for name in ("digits", "folder")}
    real["scratch"] = {"resnet9": real["scratch"]["resnet9"]}
    text = io.StringIO()
    YAML(typ="safe").dump(real, text)
    return text.getvalue()


PARAMS = small_params()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a project's folder, the current one, with a small `params.yaml`; torchvision's weights can be fetched."""
    monkeypatch.setattr(fetching, "unreachable", lambda urls: [])
    top = tmp_path / "project"
    top.mkdir()
    (top / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(top)
    return top


def state(photos):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*") if path.is_file()}


def test_init_tells_what_it_found_and_fits_the_parameters_to_it(place, capsys):
    shutil.copyfile(ROOT / "params.yaml", place / "params.yaml")
    photos = write_folder(place.parent / "my photos", many())
    before, old = state(photos), (place / "params.yaml").read_text()
    main.run(["init", str(photos), "--yes"])
    printed = capsys.readouterr().out
    for part in (
        "41 images in 2 classes, 1 of them greyscale",
        "Shorter side: 12 to 180 pixels, median 12",
        "2 exact and 1 near copy;",
        "train: the rest\n",
        "validation: 15% of each class\n",
        "test: 20% of each class\n",
        "excluded: 2 with a copy in another class",
        "2 images have a copy in another class and are excluded: cat/000.png, dog/stolen.png",
        "Classes with fewer than 30 images, so unreliable: cat (27), dog (14)",
        "2 images cannot be read and are excluded:\n  dog/[bold]cut[/bold].jpg: damaged image",
        "dog/raw.heic: not a supported image (JPEG, PNG",
        "the largest class has 1.9 times the images of the smallest",
        "-dataset: digits   # one entry of datasets\n+dataset: folder   # one entry of datasets",
        "params.yaml has been updated.",
        "dvc repro -f download",
    ):
        assert part in printed
    assert state(photos) == before
    new = schema.load(place / "params.yaml")
    entry = new.datasets[new.dataset]
    assert new.dataset == "folder"
    assert entry.source == FolderSource(path=str(photos))
    assert entry.pack.image_size == 32
    assert (entry.augment.flip, entry.augment.shift) == (True, 2)
    assert entry.training.balance == "weights"
    text = (place / "params.yaml").read_text()
    assert [line.split("#")[1] for line in text.splitlines() if "#" in line] == [
        line.split("#")[1] for line in old.splitlines() if "#" in line
    ]
    main.run(["init", str(photos), "--yes"])
    assert "params.yaml already has these values" in capsys.readouterr().out
    assert (place / "params.yaml").read_text() == text


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_the_survey_finds_what_the_pipeline_will(tmp_path, kind):
    photos = tmp_path / f"photos.{kind}"
    if kind == "folder":
        write_folder(photos, many())
    else:
        write_zip(photos, many()) if kind == "zip" else write_tar(photos, many(), "w:gz")
    found = survey(photos, near_copies=8)
    raw, out = tmp_path / "raw", tmp_path / "packed"
    raw.mkdir()
    out.mkdir()
    folder.fetch(FolderSource(path=str(photos)), tmp_path, tmp_path, raw)
    write_origin(raw, Origin("Photos", "", ""))
    packing.pack(raw, PackSettings(image_size=SIZE), out)
    store = packed.open_packed(out)
    key = {record.name: record for record in store.records}
    assert {record.name: record for record in found.records} == key
    assert found.broken == store.broken
    copies = duplicates.find(store.records, store.images, 8)
    order = [found.records.index(record) for record in store.records]
    assert np.array_equal(found.copies.conflicts[order], copies.conflicts)
    assert len(np.unique(found.copies.clusters)) == len(np.unique(copies.clusters)) == 38


def test_a_manifest_is_followed(place, capsys):
    pictures = class_folders({"a": 8})
    lines = "".join(f"{name},{'cat' if place % 2 else 'dog'}\n" for place, name in enumerate(pictures))
    photos = write_folder(place / "data" / "photos", {**pictures, "manifest.csv": b"path,label\n" + lines.encode()})
    main.run(["init", str(photos), "--yes"])
    assert "8 images in 2 classes" in capsys.readouterr().out
    assert schema.load(place / "params.yaml").datasets["folder"].source.path == "data/photos"


def test_what_lies_in_the_inbox_needs_no_path(place, capsys):
    write_folder(place / "data" / "inbox", class_folders({"cat": 4, "dog": 4}))
    main.run(["init", "data/inbox/", "--yes"])
    assert schema.load(place / "params.yaml").datasets["folder"].source.path is None
    assert "-f download" not in capsys.readouterr().out


def test_init_says_where_each_split_comes_from_and_why_pictures_are_in_none(place, capsys):
    members = class_folders({"train/cat": 24, "train/dog": 24, "val/cat": 8, "val/dog": 8, "predict": 5})
    members |= {f"val/cat/again{number}.png": members[f"train/cat/00{number}.png"] for number in range(3)}
    members["train/dog/stolen.png"] = members["train/cat/020.png"]
    photos = write_folder(place / "photos", members)
    main.run(["init", str(photos), "--yes"])
    printed = capsys.readouterr().out
    found = survey(photos, 8)
    splits = splitting.divide(found.records, found.copies, SplitSettings(), 0).splits
    for part in (
        f"{splits.count('train'):,} train: the images in train\n",
        "19 validation: the images in val\n",
        f"{splits.count('test'):,} test: 20% of train, because there is no folder test\n",
        "5 excluded: 2 with a copy in another class and 3 copies of a validation or test image\n",
        "photos: 5 images are not in a class folder and will be ignored: 5 in predict\n",
    ):
        assert part in printed
    assert "cannot be read" not in printed


def test_one_image_is_not_several(place, capsys):
    members = {f"{label}/{n}.png": encode(pixels(n + 50 * ord(label), 12)) for label in "ab" for n in range(4)}
    members |= {"a/again.png": members["a/0.png"], "b/damaged.png": b"x", "a/more.zip": b"x", "a/notes.txt": b"x"}
    members["b/stolen.png"] = encode(LARGE[:12, :12])
    members["a/stolen.png"] = members["b/stolen.png"]
    main.run(["init", str(write_folder(place / "photos", members)), "--yes"])
    printed = capsys.readouterr().out
    assert "Shorter side: 12 pixels\n" in printed
    assert "1 image cannot be read and is excluded:" in printed
    assert "1 nested archive, which is not opened (a/more.zip)" in printed
    assert "ignored 1 file in class folders" in printed
    assert not re.search(
        r"\b1 (images|files|classes|copies|pixels)\b|\b([02-9]|\d\d+) (image|file|class|copy|pixel)\b", printed
    )


def test_a_folder_without_labels_becomes_a_class_only_if_the_parameters_say_so(place, capsys):
    photos = write_folder(place / "photos", class_folders({"cat": 4, "dog": 4, "to_label": 5}))
    main.run(["init", str(photos), "--yes"])
    printed = capsys.readouterr().out
    assert "8 images in 2 classes" in printed
    assert "will be ignored: 5 in to_label; its name says so. If it is a class, add to_label: to_label to" in printed
    settings = schema.load(place / "params.yaml").datasets["folder"].source
    raw = place / "raw"
    raw.mkdir()
    write_origin(raw, folder.fetch(settings, Path("inbox"), Path("downloads"), raw))
    assert {item.label for item in contents.open_contents(raw).items} == {"cat", "dog"}

    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(text.replace("classes: {}", "classes: {to_label: mixed}", 1))
    capsys.readouterr()
    main.run(["init", str(photos), "--yes"])
    assert "13 images in 3 classes" in capsys.readouterr().out
    settings = schema.load(place / "params.yaml").datasets["folder"].source
    assert settings.classes == {"to_label": "mixed"}
    write_origin(raw, folder.fetch(settings, Path("inbox"), Path("downloads"), raw))
    assert {item.label for item in contents.open_contents(raw).items} == {"cat", "dog", "mixed"}


def flat(values, start=""):
    """Return dotted key -> value."""
    parts = (
        flat(value, f"{start}{key}.") if isinstance(value, dict) else {start + key: value}
        for key, value in values.items()
    )
    return {key: value for part in parts for key, value in part.items()}


def run_init(place, capsys, *arguments):
    """Run `init`; return the dotted keys that changed, and the table of reasons."""
    path = place / "params.yaml"
    before, _ = flat(YAML(typ="safe").load(path)), capsys.readouterr()
    main.run(["init", *map(str, arguments), "--yes"])
    after = flat(YAML(typ="safe").load(path))
    reasons = capsys.readouterr().out.partition("with reasons:")[2].partition("\n@@")[0]
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}, reasons


def test_every_value_that_init_changes_has_a_reason(place, capsys):
    shutil.copyfile(ROOT / "params.yaml", place / "params.yaml")
    uneven = {"cat": 4, "dog": 12}
    small = write_folder(place / "small", class_folders(uneven))
    even = write_folder(place / "even", class_folders({"left": 8, "right": 8}))
    large = {name: encode(pixels(n, 120, 110)) for n, name in enumerate(class_folders(uneven))}
    large = write_folder(place / "large", large)
    seen = set()
    for arguments in (
        [small],
        [large],
        [large, "--offline"],
        [even],
        [small, "--name", "mine"],
        [large, "--name", "mine"],
        [even, "--name", "mine"],
    ):
        changed, reasons = run_init(place, capsys, *arguments)
        seen |= changed
        for key in changed:
            section, name, *_ = [*key.split("."), ""]
            words = {"source": "path", "split": "split"}.get(
                key.split(".")[2] if key.count(".") > 2 else "", key.split(".")[-1]
            )
            if section in ("scratch", "zoo", "transfer"):
                words = rf"(no other networks|(no|scratch|transfer) {name})"
            assert re.search(rf"^ *{words}\b", reasons, re.MULTILINE), f"{arguments}: no reason for {key} in\n{reasons}"
    wanted = {
        "dataset",
        "select.folds",
        *(f"datasets.folder.{key}" for key in ("source.path", "augment.flip", "augment.shift")),
    }
    assert wanted | {"datasets.mine.split.test", "datasets.folder.training.balance"} <= seen


@pytest.mark.parametrize("grow", ["train", "all"])
def test_init_keeps_the_test_images_from_before_as_the_run_will(place, capsys, grow):
    photos = write_folder(place / "photos", class_folders({"cat": 20, "dog": 20}))
    records = survey(photos, 8).records
    terms = holdout.Terms(dataset="folder", seed=0, test=0.2, limit_per_class=None)
    files.write_json(Path(init.TEST_IMAGES), {**terms.model_dump(), "images": [records[0].sha256, records[-1].sha256]})
    parameters = (place / "params.yaml").read_text(encoding="utf-8").replace("grow: train", f"grow: {grow}")
    (place / "params.yaml").write_text(parameters, encoding="utf-8")
    main.run(["init", str(photos), "--yes"])
    assert ("2 test: those listed in data/test_images.json" in capsys.readouterr().out) == (grow == "train")


@pytest.mark.parametrize("label", ["sparrow", "bright textile", "Copyright", "unlettered", "leftover", "numbered lots"])
def test_words_inside_others_do_not_turn_mirroring_off(label):
    assert not proposal.ONE_WAY.fullmatch(label)


@pytest.mark.parametrize(
    "label", ["left-arrow", "arrows_2", "Number", "counterclockwise", "printed text", "turn RIGHT"]
)
def test_whole_words_do(label):
    assert proposal.ONE_WAY.fullmatch(label)


@pytest.mark.parametrize("labels", ["0123", ["turn left", "turn right"], ["A", "b", "cat"]])
def test_what_means_something_else_in_a_mirror_is_not_mirrored(place, capsys, labels):
    photos = write_folder(place / "photos", class_folders(dict.fromkeys(labels, 4)))
    main.run(["init", str(photos), "--yes"])
    assert schema.load(place / "params.yaml").datasets["folder"].augment.flip is False
    assert "flipping would change the meaning of" in capsys.readouterr().out


def photographs(*labels):
    """Return pictures that are large enough for a network of ImageNet's."""
    names = [f"{label}/{number}.jpg" for label in labels for number in range(5)]
    return {name: encode(pixels(seed, 150, 130), "JPEG") for seed, name in enumerate(names)}


def test_photographs_get_a_network_that_knows_photographs_and_small_pictures_the_old_ones_back(place, capsys):
    shutil.copyfile(ROOT / "params.yaml", place / "params.yaml")
    before = schema.load(place / "params.yaml")
    write_folder(place / "large", photographs("cat", "dog"))
    write_folder(place / "small", class_folders({"cat": 6, "dog": 6}))
    main.run(["init", "large", "--yes"])
    assert "the weights are installed already" in " ".join(capsys.readouterr().out.split())
    large = schema.load(place / "params.yaml")
    assert (large.datasets["folder"].pack.image_size, large.select.folds) == (128, 4)
    assert (list(large.transfer), large.scratch) == (["efficientnet_lite0"], {})
    assert large.transfer["efficientnet_lite0"] == TransferSettings(architecture="efficientnet_lite0")
    assert large.zoo == before.zoo | before.scratch
    main.run(["init", "small", "--yes", "--offline"])
    small = schema.load(place / "params.yaml")
    assert (small.datasets["folder"].pack.image_size, small.select.folds) == (32, 0)
    assert (small.scratch, small.transfer) == ({"resnet9": before.scratch["resnet9"]}, {})


def test_scenes_are_proposed_for_bursts_and_not_for_copies(place, capsys):
    members = {f"{label}/{7 * n}x.jpg": (label == "cat", n) for label in ("cat", "dog") for n in range(20)}
    photos = {path: shot(scene(100 * cat + n), f"2024:05:01 17:{n:02}:00") for path, (cat, n) in members.items()}
    photos["cat/copy.png"] = encode(np.asarray(scene(100)))
    folder = write_folder(place / "photos", photos)
    run_init(place, capsys, folder)
    assert schema.load(place / "params.yaml").datasets["folder"].split.scenes is False
    burst = {f"cat/next{n}.jpg": shot(closer(scene(100 + n)), f"2024:05:01 17:{n:02}:03") for n in range(2)}
    write_folder(folder, burst)
    for name in ("folder", "new"):
        changed, reasons = run_init(place, capsys, folder, "--name", name)
        assert f"datasets.{name}.split.scenes" in changed
        # The copy belongs to the first burst.
        assert "scenes true 5 images are in bursts, which then stay in the same" in " ".join(reasons.split())
        assert schema.load(place / "params.yaml").datasets[name].split.scenes is True


def closer(image):
    return image.crop((16, 12, 120, 116)).resize(image.size)


def test_a_class_has_as_many_folds_as_groups(place):
    pictures = photographs("cat", "dog")
    groups = "".join(f"{name},{name[:3]},{name[:3]}{number % 3}\n" for number, name in enumerate(pictures))
    photos = write_folder(place / "photos", {**pictures, "manifest.csv": b"path,label,group\n" + groups.encode()})
    main.run(["init", str(photos), "--yes"])
    assert schema.load(place / "params.yaml").select.folds == 2  # one group of three is the test split


def test_what_would_not_be_read_afterwards_is_not_written(place):
    write_folder(place / "photos", photographs("cat", "dog"))
    (place / "params.yaml").write_text(
        PARAMS.replace("transfer: {}", "transfer: {Efficientnet_Lite0: {architecture: efficientnet_lite1}}")
    )
    old = (place / "params.yaml").read_bytes()
    with pytest.raises(DarkroomError, match=r"the proposed params.yaml has .*\n.*model names must be unique"):
        main.run(["init", "photos", "--yes"])
    assert (place / "params.yaml").read_bytes() == old


def no_network(monkeypatch, place):
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setattr(backbones, "published", lambda name: Published("http://127.0.0.1:1/m-0123.pth", "0123"))


MOBILENET = PARAMS.replace("transfer: {}", "transfer: {mobilenet_v2: {architecture: mobilenet_v2}}")


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_photographs_get_a_pretrained_one(place, capsys, monkeypatch, offline):
    no_network(monkeypatch, place)
    write_folder(place / "photos", photographs("cat", "dog"))
    if offline:
        (place / "params.yaml").write_text(MOBILENET)
    main.run(["init", "photos", "--yes", *["--offline"] * offline])
    after = schema.load(place / "params.yaml")
    assert list(after.transfer) == ["efficientnet_lite0"]
    assert not after.transfer["efficientnet_lite0"].downloaded
    assert "dvc exp run -S 'transfer=${photos}'" in capsys.readouterr().out
    assert list(after.photos) == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    assert pretrained.fetch(after.photos["efficientnet_lite1"], place, place, place).sha256.startswith("77cc7160")


def test_an_environment_without_the_weights_is_noticed(place, monkeypatch):
    write_folder(place / "photos", photographs("cat", "dog"))
    package = packaged.Package("no-such-package", "none.pth", "0" * 64)
    monkeypatch.setitem(packaged.PACKAGES, "efficientnet_lite0", package)
    with pytest.raises(DarkroomError, match="no-such-package, which holds the weights of efficientnet_lite0, is miss"):
        main.run(["init", "photos", "--yes"])
    assert (place / "params.yaml").read_text() == PARAMS


@pytest.mark.parametrize("kind", ["file", "candidate"])
def test_weights_of_a_colleague_are_recognised_and_pinned(place, kind):
    write_folder(place / "photos", photographs("cat", "dog"))
    if kind == "file":
        given = place / "backbones" / "from Ana.pth"
        given.parent.mkdir()
        torch.save({"state_dict": torchvision.models.squeezenet1_0().state_dict()}, given)
        name, sha256 = "squeezenet1_0", files.sha256(given)
    else:
        given = ROOT / "backbones" / "cifar10_backbone"
        name, sha256 = "cifar10_backbone", files.sha256(given / "weights.safetensors")
    main.run(["init", "photos", "--yes", "--weights", str(given)])
    entry = schema.load(place / "params.yaml").transfer[name]
    assert (place / entry.weights, entry.sha256) == (given, sha256)
    assert entry.architecture == (name if kind == "file" else None)
    again = TransferSettings(**entry.model_dump(exclude_unset=True))
    (place / "out").mkdir()
    assert pretrained.fetch(again, place / "backbones", place, place / "out").sha256 == sha256
    text = (place / "params.yaml").read_text()
    main.run(["init", "photos", "--yes", "--weights", str(given)])
    assert (place / "params.yaml").read_text() == text


def test_a_recipe_for_other_images_does_not_decide_how_a_candidate_is_trained(place):
    """The committed entry for `cifar10_backbone` fine-tunes it on digits: far too slow for photographs, and worse."""
    text = (place / "params.yaml").read_text()
    entry = "transfer:\n  cifar10_backbone: {weights: backbones/cifar10_backbone, method: finetune}\n"
    (place / "params.yaml").write_text(text.replace("transfer: {}\n", entry))
    assert schema.load(place / "params.yaml").transfer["cifar10_backbone"].method == "finetune"
    write_folder(place / "photos", photographs("cat", "dog"))
    main.run(["init", "photos", "--yes", "--weights", str(ROOT / "backbones" / "cifar10_backbone")])
    assert schema.load(place / "params.yaml").transfer["cifar10_backbone"].method == "auto"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--weights w.pth is not a weights file: give one that ends in .pth"),
        (b"x", "w.pth cannot be read as plain weights"),
        ({"a": torch.zeros(1)}, "--weights w.pth does not fit any supported network: resnet18"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_before_any_work(place, content, message):
    if isinstance(content, bytes):
        (place / "w.pth").write_bytes(content)
    elif content:
        torch.save(content, place / "w.pth")
    with pytest.raises(DarkroomError, match=message):
        main.run(["init", "nowhere", "--yes", "--weights", "w.pth"])


def test_weights_that_cannot_be_fetched_are_noticed_before_anything_is_changed(place, monkeypatch):
    write_folder(place / "photos", photographs("cat", "dog"))
    no_network(monkeypatch, place)
    (place / "params.yaml").write_text(MOBILENET)
    old = (place / "params.yaml").read_bytes()
    with pytest.raises(DarkroomError) as error:
        main.run(["init", "photos", "--yes"])
    for part in (
        "http://127.0.0.1:1/m-0123.pth could not be reached",
        "transfer.mobilenet_v2: the weights of mobilenet_v2 cannot be downloaded",
        "--offline to remove this entry",
        "into backbones/",
    ):
        assert part in str(error.value)
    assert (place / "params.yaml").read_bytes() == old
    (place / "backbones").mkdir()
    (place / "backbones" / "m-0123.pth").write_bytes(b"x")
    main.run(["init", "photos", "--yes"])
    assert set(schema.load(place / "params.yaml").transfer) == {"mobilenet_v2", "efficientnet_lite0"}


def test_weights_that_the_hub_does_not_have_are_noticed_before_anything_is_changed(place, monkeypatch):
    write_folder(place / "photos", photographs("cat", "dog"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    entry = "transfer: {dino: {architecture: timm/vit_small_patch14_dinov2, input_size: 224}}"
    (place / "params.yaml").write_text(PARAMS.replace("transfer: {}", entry))
    old = (place / "params.yaml").read_bytes()
    with pytest.raises(DarkroomError, match=r"transfer\.dino: .*127\.0\.0\.1:1 could not be reached.* pass --offline"):
        main.run(["init", "photos", "--yes"])
    assert (place / "params.yaml").read_bytes() == old
    main.run(["init", "photos", "--yes", "--offline"])
    assert set(schema.load(place / "params.yaml").transfer) == {"efficientnet_lite0"}


def test_a_large_set_gets_a_quick_look_first(place, capsys, monkeypatch):
    monkeypatch.setattr(init, "MANY", 10)
    photos = write_folder(place / "photos", class_folders({"cat": 12, "dog": 4}))
    main.run(["init", str(photos), "--yes"])
    assert "datasets.folder.pack.limit_per_class=2" in capsys.readouterr().out


def test_another_entry_leaves_the_first_as_it_is(place):
    photos = write_folder(place / "photos", class_folders({"cat": 4, "dog": 4}))
    before = schema.load(place / "params.yaml")
    main.run(["init", str(photos), "--yes", "--name", "pets-2"])
    after = schema.load(place / "params.yaml")
    assert after.dataset == "pets-2"
    assert {name: entry for name, entry in after.datasets.items() if name != "pets-2"} == before.datasets
    assert after.datasets["pets-2"].source.path == "photos"
    assert after.datasets["pets-2"].split == before.datasets["folder"].split


@pytest.mark.parametrize(("answer", "changes"), [("y", True), (" YES ", True), ("", False), ("no", False)])
def test_nothing_changes_before_it_is_agreed_to(place, monkeypatch, capsys, answer, changes):
    photos = write_folder(place / "photos", class_folders({"cat": 4, "dog": 4}))
    old = (place / "params.yaml").read_bytes()
    with pytest.raises(DarkroomError, match="is unchanged, because the input is not a terminal: pass --yes"):
        main.run(["init", str(photos)])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(builtins, "input", lambda _: answer)
    with nullcontext() if changes else pytest.raises(SystemExit, match="1"):
        main.run(["init", str(photos)])
    assert capsys.readouterr().out.endswith("params.yaml is unchanged.\n") != changes
    assert ((place / "params.yaml").read_bytes() != old) == changes
    assert sorted(path.name for path in place.iterdir()) == ["params.yaml", "photos"]


def test_few_pictures_of_a_class_end_it_as_they_would_end_the_pipeline(place, capsys):
    photos = write_folder(place / "photos", class_folders({"cat": 9, "dog": 2}))
    old = (place / "params.yaml").read_bytes()
    with pytest.raises(DarkroomError, match=r"too few distinct images to train on in dog \(2\)"):
        main.run(["init", str(photos), "--yes"])
    assert "11 images in 2 classes" in capsys.readouterr().out
    assert (place / "params.yaml").read_bytes() == old


def prepare(place, kind):
    if kind == "empty":
        (place / "photos").mkdir()
    elif kind == "one class":
        write_folder(place / "photos", class_folders({"cat": 4}))
    elif kind == "no class":
        write_folder(place / "photos", {"1.png": encode(LARGE), "2.png": encode(LARGE)})
    elif kind == "unreadable class":
        write_folder(place / "photos", {**class_folders({"cat": 4}), "dog/1.png": b"x"})
    elif kind == "no archive":
        (place / "photos").write_bytes(b"x")
    elif kind == "broken archive":
        (place / "photos.zip").write_bytes(b"x")
        return "photos.zip"
    elif kind == "link":
        write_folder(place / "photos", class_folders({"cat": 4, "dog": 4}))
        (place / "photos" / "dog" / "away.png").symlink_to(place / "params.yaml")
    elif kind == "name":
        name = b"\xff.png".decode(errors="surrogateescape")
        write_folder(place / "photos", {**class_folders({"cat": 4, "dog": 4}), f"dog/{name}": encode(LARGE)})
    return "photos"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "photos does not exist: give a folder or an archive"),
        ("empty", "photos contains no images: put the images of each class"),
        ("one class", "photos contains only the class folder 'cat', but a classifier needs at least two"),
        ("no class", "photos contains no images: put the images of each class"),
        ("unreadable class", r"photos: no image of class 'dog' can be read \(1 tried"),
        ("no archive", r"photos is not a supported archive: use one of \.zip"),
        ("broken archive", r"photos.zip is damaged or truncated \(.*\): download or create it again"),
        ("link", "away.png is a link: replace it by the file or folder itself"),
        ("name", r"photos contains 'dog/\\udcff.png', a name that is not UTF-8: rename it"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_message(place, kind, message):
    photos = prepare(place, kind)
    old = (place / "params.yaml").read_bytes()
    with pytest.raises(DarkroomError, match=message) as caught:
        main.run(["init", photos, "--yes"])
    assert "\n" not in str(caught.value)
    assert (place / "params.yaml").read_bytes() == old


@pytest.mark.parametrize(
    ("name", "message"),
    [("digits", "is of kind digits: give another name"), ("my pets", "is not allowed: use letters, digits, _ and -")],
)
def test_a_name_that_cannot_be_used_is_told_before_any_work(place, name, message):
    with pytest.raises(DarkroomError, match=message):
        main.run(["init", "nowhere", "--yes", "--name", name])


def test_many_classes_are_not_all_listed(capsys, tmp_path):
    photos = write_folder(tmp_path / "photos", class_folders({f"c{number:02}": 3 for number in range(40)}))
    init.show(survey(photos, 8), init.Console(width=100))
    printed = capsys.readouterr().out
    assert "and 10 more" in printed
    assert "c29" in printed
    assert "c30" not in printed


@pytest.mark.parametrize(
    ("side", "network", "size", "words"),
    [
        (
            400,
            "efficientnet_lite0",
            224,
            "efficientnet_lite0 was trained at 224 pixels; the median shorter side is 400",
        ),
        (
            400,
            "efficientnet_lite2",
            260,
            "efficientnet_lite2 was trained at 260 pixels; the median shorter side is 400",
        ),
        (250, "efficientnet_lite2", 224, "trained at 260 pixels, but images would have to be enlarged; the median"),
        (400, "inception_v3", 299, "inception_v3 was trained at 299 pixels; the median shorter side is 400"),
        (200, "mobilenet_v2", 160, "trained at 224 pixels, but images would have to be enlarged; the median"),
        (400, None, 64, "slow on larger images; the median shorter side is 400"),
        (30, None, 32, "the median shorter side is 30 pixels"),
    ],
)
def test_the_size_has_a_reason_that_speaks_for_it(side, network, size, words):
    start = weights.Weights(network, network) if network else None
    assert proposal._size(side, start) == size
    assert words in proposal._why_size(side, size, start)


def test_weights_of_a_candidate_have_the_size_of_most(tmp_path):
    start = weights.Weights("mine", None, "models/candidates/mine", "0" * 64)
    assert proposal._size(1000, start) == 224
    assert "mine was trained" not in proposal._why_size(1000, 224, start)


@pytest.mark.parametrize(
    ("size", "fit", "words"),
    [
        ((40, 36), "crop", ""),
        ((60, 40), "crop", "central squares show 67% of them"),
        ((40, 60), "crop", "central squares show 67% of them"),
        ((60, 40), "pad", ""),
    ],
)
def test_of_long_images_whole_ones_are_suggested_as_well(place, capsys, size, fit, words):
    names = [f"{label}/{number}.png" for label in "ab" for number in range(4)]
    photos = write_folder(place / "photos", {name: encode(pixels(seed, *size)) for seed, name in enumerate(names)})
    params = place / "params.yaml"
    document = YAML().load(params)
    document["datasets"]["folder"]["pack"]["fit"] = fit
    YAML().dump(document, params)
    main.run(["init", str(photos), "--yes"])
    printed = " ".join(capsys.readouterr().out.split())
    assert ("-S datasets.folder.pack.fit=stretch" in printed) is bool(words)
    assert words in printed
    assert schema.load(params).datasets["folder"].pack.fit == fit
