import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from darkroom import fetching
from darkroom.fetching import Checksum
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from tests.imports import ROOT
from tests.pictures import class_folders, write_zip
from tests.web import Web, serve

DATA = random.Random(0).randbytes(200_000)
SHA = Checksum("sha256", hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF", 0.0)
    with serve(Web({"/set.zip": DATA})) as web:
        yield web


def fetch(web, tmp_path, *paths, limit=1_000_000):
    urls = [path if "://" in path else f"{web.address}{path}" for path in paths or ("/set.zip",)]
    fetching.fetch(urls, SHA, tmp_path / "downloads", tmp_path / "target", limit, "do this")
    return (tmp_path / "target").read_bytes()


@pytest.mark.parametrize(
    ("script", "ranges", "length", "asked"),
    [
        ([], True, True, [""]),
        ([("cut", 50_000)], True, True, ["", "bytes=50000-"]),
        ([("cut", 50_000), ("cut", 0), ("cut", 9)], True, True, ["", *["bytes=50000-"] * 2, "bytes=50009-"]),
        ([("cut", 50_000)], False, True, ["", "bytes=50000-"]),  # no ranges: all of it again
        ([("cut", 50_000)], True, False, ["", ""]),  # without a length a cut shows in the checksum alone
        ([("cut", 50_000), ("shift", 10)], True, True, ["", "bytes=50000-", ""]),
        ([503, 429, 500], True, True, ["", "", "", ""]),
    ],
)  # fmt: skip
def test_whatever_happens_on_the_way_the_bytes_are_right(web, tmp_path, script, ranges, length, asked):
    web.script, web.ranges, web.length = list(script), ranges, length
    assert fetch(web, tmp_path) == DATA
    assert [wanted for _, wanted in web.seen] == asked


@pytest.mark.parametrize("old", [b"x" * 1000, b"x" * 200_000, b"x" * 300_000, DATA[:1000], DATA, b""])
def test_what_an_earlier_run_left_is_continued_or_begun_anew(web, tmp_path, old):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / SHA.digest).write_bytes(old)
    assert fetch(web, tmp_path) == DATA
    assert len(web.seen) == {DATA: 0, DATA[:1000]: 1, b"": 1}.get(old, 2)


def test_the_next_address_continues_where_the_last_was_cut(web, tmp_path, capsys):
    web.files["/other.zip"] = DATA
    web.script = [("cut", 50_000), *[500] * 4]
    assert fetch(web, tmp_path, "/set.zip", "/other.zip") == DATA
    assert web.seen[-1] == ("/other.zip", "bytes=50000-")
    assert "/set.zip could not be fetched (500 Internal Server Error), tried 5 times; trying the next" in (
        capsys.readouterr().err
    )


def test_wrong_bytes_are_not_believed_and_the_next_address_is_asked(web, tmp_path, capsys):
    web.files["/wrong.zip"] = DATA[::-1]
    assert fetch(web, tmp_path, "/wrong.zip", "/none.zip", "http://127.0.0.1:1/x", "/set.zip") == DATA
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[2].partition(" (")[0] for line in said] == [
        f"does not have {SHA}; trying the next URL", "could not be fetched", "could not be reached"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "limit", "message"),
    [
        (["/none.zip"], 10**6, r"/none.zip could not be fetched \(404 Not Found\): do this$"),
        (["/wrong.zip"], 10**6, "/wrong.zip does not have SHA-256 [0-9a-f]{64}: do this$"),
        (["/none.zip", "/wrong.zip"], 10**6, r"\(404 Not Found\)\n  http\S+/wrong.zip does not have .*\ndo this$"),
        (["/set.zip"], 199_999, "is larger than the 199,999 bytes allowed: do this"),
        (["http://127.0.0.1:1/x"], 10**6, "could not be reached .*refused"),
        (["http://nowhere.invalid/x"], 10**6, "could not be reached .*resolve"),
        (["http://[::1/x"], 10**6, "could not be fetched"),
        (["ftp://127.0.0.1/x"], 10**6, "must begin with http"),
    ],
)
def test_a_failure_names_each_address_with_its_reason_and_ends_with_the_remedy(web, tmp_path, paths, limit, message):
    web.files["/wrong.zip"] = b"other"
    with pytest.raises(DarkroomError, match=message):
        fetch(web, tmp_path, *paths, limit=limit)
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "downloads" / SHA.digest).exists()  # wrong bytes do not stay, too many are not begun


def test_an_endless_answer_ends_at_the_limit(web, tmp_path):
    web.length = False
    with pytest.raises(DarkroomError, match="is larger than the 100,000 bytes allowed"):
        fetch(web, tmp_path, limit=100_000)


def test_a_server_that_never_gives_it_whole_ends_with_what_has_come(web, tmp_path):
    web.script = [("cut", 10_000)] * 5
    remedy = r"was interrupted\), tried 5 times: do this \(0\.1 MB have been downloaded: the next run resumes\)"
    with pytest.raises(DarkroomError, match=remedy):
        fetch(web, tmp_path)
    assert (tmp_path / "downloads" / SHA.digest).read_bytes() == DATA[:50_000]


def test_retry_after_is_kept_to(web, tmp_path):
    web.script, web.headers = [429], {"Retry-After": "1"}
    begin = time.monotonic()
    assert fetch(web, tmp_path) == DATA
    assert 1 <= time.monotonic() - begin < 5


def test_what_may_be_secret_in_an_address_is_not_shown(web, tmp_path):
    assert naming.shown_address("https://me:pass@host:81/a.zip?token=1#2") == "https://host:81/a.zip"
    for url in (f"{web.address}/none.zip?token=hunter2", "http://me:hunter2@127.0.0.1:1/a?b=hunter2"):
        with pytest.raises(DarkroomError) as error:
            fetch(web, tmp_path, url)
        assert "hunter2" not in str(error.value)


PARAMS = """
datasets: {{web: {{source: {{kind: folder, path: null, url: "{url}", sha256: {sha}}}}}}}
"""


def kill_at(command, environment, seconds, web=None):
    """Run a stage and kill it after so many seconds, of its download from `web` if given; return if it had ended."""
    before = len(web.seen) if web else 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while web and len(web.seen) == before and process.poll() is None:
        time.sleep(0.01)  # a busy machine takes seconds to start Python
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode == 0


def test_a_download_killed_at_random_moments_ends_with_the_same_bytes(tmp_path):
    path = write_zip(tmp_path / "set.zip", class_folders({"cat": 900, "dog": 900}))
    data = path.read_bytes()
    assert len(data) > 400_000
    params, out, downloads = tmp_path / "params.yaml", tmp_path / "raw", tmp_path / "downloads"
    command = [sys.executable, str(ROOT / "stages" / "download.py"), "--dataset", "web", "--params", str(params)]
    command += ["--inbox", str(tmp_path), "--downloads", str(downloads), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    chance = random.Random(3)
    with serve(Web({"/set.zip": data}, pause=0.012)) as web:
        url, digest = f"{web.address}/set.zip", hashlib.sha256(data).hexdigest()
        params.write_text(PARAMS.format(url=url, sha=digest))
        for _ in range(3):  # through `dvc repro` and more often: test_pipeline_killed.py
            assert not (out / "source.json").exists()
            if kill_at(command, environment, chance.uniform(0.05, 0.5), web):
                break
        web.pause = 0
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert (out / "set.zip").read_bytes() == data
    assert sorted(item.name for item in out.iterdir()) == ["set.zip", "source.json"]
    assert not downloads.exists()
    starts = [int(wanted[6:-1] or 0) if wanted else 0 for _, wanted in web.seen]
    assert starts == sorted(starts)  # no run began anew
    assert starts[-1] > 0
