"""Weights from timm's hub, by its real client and from a stand-in on loopback: found, checked, resumed, kept."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

from darkroom import fetching
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.training import pretrained
from darkroom.training.networks.network import Network
from darkroom.training.settings import TransferSettings
from darkroom.training.transfer import hub as lookup
from darkroom.training.transfer import weights
from stages import pretrained as stage
from tests.hub_server import COMMIT, Hub, serve_hub
from tests.imports import ROOT
from tests.test_training_backbones import pictures

NAME = "timm/mobilenetv4_conv_small"
REPOSITORY = f"{NAME}.e2400_r224_in1k"
DATA = random.Random(0).randbytes(100_000)
SHA = hashlib.sha256(DATA).hexdigest()
TOKEN = "hf_secretsecret"
GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted"}
INVALID = {"X-Error-Message": "Invalid credentials in Authorization header"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "BACKOFF", 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    given = Hub({"/storage/model.safetensors": DATA}, repository=REPOSITORY, etag=SHA)
    with serve_hub(given):
        monkeypatch.setenv("HF_ENDPOINT", f"{given.address}/")
        yield given


def run(tmp_path, **parts):
    files.write_json(tmp_path / "params.yaml", {"transfer": {"mine": {"architecture": NAME, **parts}}})
    folders = ["--backbones", f"{tmp_path}/backbones", "--downloads", f"{tmp_path}/downloads"]
    stage.main(["mine", "--params", f"{tmp_path}/params.yaml", *folders, "--out", f"{tmp_path}/out"])


def test_published_weights_are_found_checked_and_read_and_the_next_run_needs_no_network(hub, tmp_path, capsys):
    torch.manual_seed(0)
    other = timm.create_model("mobilenetv4_conv_small")
    data = save(other.state_dict())
    hub.files["/storage/model.safetensors"], hub.etag = data, hashlib.sha256(data).hexdigest()
    run(tmp_path)
    assert pretrained.read_origin(tmp_path / "out") == pretrained.Origin(
        "imagenet", NAME, hub.etag, "weights.safetensors", "apache-2.0", REPOSITORY, COMMIT
    )
    network, description, words = weights.read(
        tmp_path / "out", TransferSettings(architecture=NAME, input_size=64), 3, 40, 0
    )
    assert words == f"{NAME}, from the weights {REPOSITORY}@{COMMIT[:7]}"
    assert description == {"architecture": NAME, "input_size": 64, "side": 64}
    with torch.inference_mode():
        seen = network.eval().model.features(network.normalise(pictures(2)))
        resized = network.model.features.resize(network.normalise(pictures(2)))
        expected = other.eval().forward_head(other.forward_features(resized), pre_logits=True)
    torch.testing.assert_close(seen, expected)
    assert isinstance(network, Network)
    asked = len(hub.requests)
    run(tmp_path, revision=COMMIT, learning_rate=0.2)
    assert len(hub.requests) == asked
    assert capsys.readouterr().out.splitlines()[-1] == "mine: the weights are already there"
    with pytest.raises(DarkroomError, match=f"no revision 9{{40}} .*remove revision .* {hub.address}/{REPOSITORY}/com"):
        run(tmp_path, revision="9" * 40)
    assert (tmp_path / "out" / "weights.safetensors").is_file()


def test_a_download_that_was_cut_continues_in_the_next_run(hub, tmp_path):
    hub.script = [("cut", 10_000)] * fetching.ATTEMPTS
    with pytest.raises(DarkroomError, match=r"was interrupted\), tried 5 times: check .*\(0\.1 MB .* next run resumes"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    run(tmp_path)
    assert hub.seen[-1] == ("/storage/model.safetensors", "bytes=50000-")
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == DATA
    assert not (tmp_path / "downloads").exists()


def test_the_token_goes_to_the_hub_alone_and_nothing_else_is_reported(hub, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "netrc").write_text("machine 127.0.0.1\nlogin someone\npassword other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    run(tmp_path)
    found = lookup.find(NAME, None, None)
    assert found.licence == "apache-2.0"
    methods = [(method, path.split("/")[1]) for method, path, _, _ in hub.requests]
    first = [("GET", "api"), ("HEAD", REPOSITORY.split("/")[0])]
    assert methods == [*first, ("GET", "timm"), ("GET", "storage"), *first]
    for _, path, authorization, agent in hub.requests:
        assert authorization == ("" if path.startswith("/storage") else f"Bearer {TOKEN}")
        assert "torch/" not in agent
        assert "agent/" not in agent
    kept = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    out, err = capfd.readouterr()
    assert TOKEN not in kept + out + err + repr(found)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({"files": {"/storage/model.safetensors": b"other"}}, {}, f"does not have SHA-256 {SHA}: check the network"),
        ({}, {"sha256": "0" * 64}, f"{COMMIT} has SHA-256 {SHA}, not 0{{64}}: remove sha256 .* or set revision"),
        ({"etag": "a" * 40}, {}, r"states no SHA-256 .* ETag is a{40}\): check HF_ENDPOINT, .* or pin .* sha256"),
        (
            {"refused": {"resolve": (401, GATED)}},
            {},
            r"only to accounts that accepted its terms \(401\), and HF_TOKEN is not set: accept them on that page, and "
            "set the environment variable HF_TOKEN",
        ),
        (
            {"refused": {"resolve": (403, GATED)}, "token": TOKEN},
            {},
            r"terms \(403\), and the account of your token has not accepted them: accept",
        ),
        ({"refused": {"api": (401, INVALID)}, "token": TOKEN}, {}, r"refused the token \(401\): set .* or unset it"),
        ({"refused": {"resolve": (403, {})}}, {}, r"is forbidden \(403\): give the token in HF_TOKEN the permission"),
        (
            {"repository": "timm/other"},
            {},
            r"the hub has no .*, or it is private and it needs a token .*\(401\): check",
        ),
        ({"refused": {"api": (404, {"X-Error-Code": "RepoNotFound"})}}, {}, r"the hub has no .*\(404\): check that HF"),
        ({"refused": {"resolve": (404, {"X-Error-Code": "EntryNotFound"})}}, {}, r"has no model\.safetensors \(404\)"),
        (
            {},
            {"revision": "9" * 40},
            r"has no revision 9{40} \(404\): remove revision from params\.yaml for the newest",
        ),
        (
            {"refused": {"api": (503, {})}},
            {},
            "answered with status 503, tried 5 times: run again later, set HF_ENDPOINT",
        ),
        (
            {"refused": {"resolve": (429, {})}},
            {},
            "answered with status 429, tried 5 times: run again later, set HF_TOKEN .*, set HF_ENDPOINT",
        ),
        ({"refused": {"api": (501, {})}}, {}, "answered with status 501: run again later, set HF_ENDPOINT"),
        ({"first": {"api": [(0, {})] * 5}}, {}, r"could not be reached \(Server disconnected .*\)\. Check the network"),
        ({"refused": {"api": (200, {})}}, {}, r"could not be reached \(Expecting value.*\)\. Check the network"),
        (
            {"names": ["config.json", "pytorch_model.bin"]},
            {},
            "contains no model.safetensors, only pytorch_model.bin, and a pickle can execute code .* choose other "
            rf"weights of this network as {NAME}.TAG \(e1200_r224_in1k, .*\), or, .* convert it with",
        ),
        (
            {"address": "http://127.0.0.1:1"},
            {},
            r"hub at http://127\.0\.0\.1:1 could not be reached \(.*refused.* mirror",
        ),
        ({"address": "ftp://u:pw@here"}, {}, "hub at ftp://here could not be reached"),
        ({"address": "http://here:port"}, {}, "hub at http://here:port could not be reached"),
    ],
)
def test_what_the_hub_does_not_give_is_one_message_and_leaves_nothing(
    hub, tmp_path, monkeypatch, change, given, message
):
    for name, value in change.items():
        match name:
            case "token":
                monkeypatch.setenv("HF_TOKEN", str(value))
            case "address":
                monkeypatch.setenv("HF_ENDPOINT", str(value))
            case _:
                setattr(hub, name, value)
    with pytest.raises(DarkroomError, match=message) as caught:
        run(tmp_path, **given)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "pw" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "downloads").glob("*"))


@pytest.mark.parametrize(
    ("first", "waits"),
    [
        ([(503, {}), (502, {}), (0, {}), (500, {})], [1, 2, 4, 8]),
        ([(429, {"Retry-After": "7"}), (503, {"Retry-After": "0"}), (503, {"Retry-After": "soon"})], [7, 0, 4]),
        ([(429, {"Retry-After": "3600"})], [60]),
        # As the hub has it: of "api" 0 requests remain, the next ones in 55 seconds.
        ([(429, {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'})], [55]),
    ],
)
@pytest.mark.parametrize("kind", ["api", "resolve"])
def test_a_busy_hub_is_asked_again_after_the_time_it_asks_for(hub, monkeypatch, capsys, first, waits, kind):
    monkeypatch.setattr(fetching, "BACKOFF", 1.0)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    hub.first = {kind: list(first)}
    assert lookup.find(NAME, None, None).sha256 == SHA
    assert slept == waits
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == [
        f"attempt {number} of 5 in {wait} s" for number, wait in enumerate(waits, 2)
    ]
    assert len(hub.requests) == 2 + len(waits)


def test_without_a_hub_nothing_is_repeated(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(DarkroomError, match="could not be reached"):
        lookup.find(NAME, None, None)


def test_without_network_the_message_says_how_to_bring_the_file(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DarkroomError) as caught:
        run(tmp_path)
    message = str(caught.value)
    assert "offline mode is enabled" in message
    assert f"download model.safetensors of {REPOSITORY} elsewhere and set weights: PATH and its sha256" in message
    assert "use efficientnet_lite0, whose weights are installed" in message
    assert hub.requests == []


def test_a_hub_without_checksums_serves_what_is_pinned(hub, tmp_path):
    hub.etag = "a" * 40
    run(tmp_path, sha256=SHA)
    assert pretrained.read_origin(tmp_path / "out").sha256 == SHA


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({"license": "mit"}, "mit"),
        (
            {"license": "other", "license_name": "dinov3-license", "license_link": "https://h/l"},
            "dinov3-license (https://h/l)",
        ),
        ({"license": "other", "license_name": "own"}, "own"),
        ({"license": ["mit", "cc-by-4.0"]}, "mit, cc-by-4.0"),
        # As timm's own table has it.
        ({"license": "unknown"}, "apache-2.0"),
        ({"license": "other"}, "apache-2.0"),
        ({"tags": ["timm"]}, "apache-2.0"),
        (None, "apache-2.0"),
    ],
)
def test_the_licence_is_that_of_the_model_card(hub, card, licence):
    hub.card = card
    assert lookup.find(NAME, None, None).licence == licence


def test_an_unknown_licence_is_empty(hub):
    hub.repository, hub.card = "timm/dla60_res2net.in1k", None
    assert lookup.find("timm/dla60_res2net", None, None).licence == ""


@pytest.mark.slow
def test_the_stage_alone_reads_the_clients_variables(hub, tmp_path):
    files.write_json(tmp_path / "params.yaml", {"transfer": {"mine": {"architecture": NAME}}})
    command = [sys.executable, str(ROOT / "stages"), "pretrained", "mine", "--params", f"{tmp_path}/params.yaml"]
    command += ["--backbones", "backbones", "--downloads", f"{tmp_path}/downloads", "--out", f"{tmp_path}/out"]
    environment = os.environ | {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}

    def go(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    offline = go(environment)
    assert offline.returncode == 1
    assert "offline mode is enabled" in offline.stderr
    assert "Traceback" not in offline.stderr
    environment.pop("HF_HUB_OFFLINE")
    online = go(environment)
    assert (online.returncode, online.stderr) == (0, "")
    assert online.stdout == f"mine: {NAME}, 0.1 MB, {REPOSITORY}@{COMMIT[:7]}, licence: apache-2.0\n"
    assert TOKEN not in offline.stdout + offline.stderr + online.stdout
    assert not list((tmp_path / "home").rglob("*")), "the client keeps no copy of its own"
    assert all(authorization in ("", f"Bearer {TOKEN}") for _, _, authorization, _ in hub.requests)
    assert Path(tmp_path / "out" / "source.json").is_file()


IMPORTS = """
import sys
from stages import pretrained, transfer
pretrained.main(sys.argv[1:])
print(*sorted({name.split(".")[0] for name in sys.modules} & {"timm", "huggingface_hub", "httpx2"}))
"""


@pytest.mark.parametrize(
    "entry",
    [{"architecture": "efficientnet_lite0"}, {"weights": str(ROOT / "backbones" / "cifar10_backbone")}],
    ids=["installed", "candidate"],
)
def test_weights_that_are_here_cost_no_import_of_timm_or_of_the_client(tmp_path, entry):
    files.write_json(tmp_path / "params.yaml", {"transfer": {"mine": entry}})
    folders = ["--backbones", str(ROOT / "backbones"), "--downloads", "downloads", "--out", "out"]
    command = [sys.executable, "-c", IMPORTS, "mine", "--params", "params.yaml", *folders]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [""]
