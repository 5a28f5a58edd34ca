import os
import random
import shutil
import subprocess
import sys
import zipfile

import pytest

from darkroom.data.archives import archive, origin
from darkroom.data.pack import contents
from darkroom.data.settings import KaggleSource
from darkroom.data.sources import kaggle
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from tests.imports import ROOT
from tests.kaggle_server import Kaggle, KaggleHandler, point_client_to
from tests.pictures import class_folders, write_zip
from tests.test_fetching import kill_at
from tests.web import serve

ITALIAN = {
    "cane": "dog", "cavallo": "horse", "elefante": "elephant", "farfalla": "butterfly", "gallina": "chicken",
    "gatto": "cat", "mucca": "cow", "pecora": "sheep", "ragno": "spider", "scoiattolo": "squirrel",
}  # fmt: skip
SOURCE = KaggleSource(dataset="somebody/animals", classes=ITALIAN)
BULK = random.Random(0).randbytes(3_000_000)  # the client writes a megabyte at once


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return an archive in the form of Animals-10."""
    members = class_folders({f"raw-img/{name}": 3 for name in ITALIAN})
    path = tmp_path_factory.mktemp("kaggle") / "animals.zip"
    return write_zip(path, {**members, "translate.py": BULK}).read_bytes()


@pytest.fixture
def web(tmp_path, monkeypatch, whole):
    (tmp_path / "home").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(kaggle, "WAITS", (0.0, 0.0, 0.0))
    with serve(Kaggle({"/storage/animals.zip": whole}), KaggleHandler) as web:
        assert isinstance(web, Kaggle)
        point_client_to(web, str(tmp_path / "home"), monkeypatch)
        yield web


def fetch(tmp_path, source=SOURCE):
    found = kaggle.fetch(source, "animals", tmp_path / "downloads", tmp_path / "out")
    origin.write_origin(tmp_path / "out", found)
    return (tmp_path / "out" / "animals.zip").read_bytes()


def test_a_public_set_comes_without_credentials_and_its_folders_get_their_class_names(web, tmp_path, whole):
    assert fetch(tmp_path) == whole
    assert [call for call, _ in web.calls] == ["GetDatasetMetadata", "DownloadDataset"]
    assert {authorization for _, authorization in web.calls} == {""}
    written = files.read_json(tmp_path / "out" / "source.json")
    assert written["source"] == "https://www.kaggle.com/datasets/somebody/animals"
    opened = contents.open_contents(tmp_path / "out")
    assert {(item.name.split("/")[1], item.label) for item in opened.items} == set(ITALIAN.items())


@pytest.mark.shared
def test_the_real_pictures_come_through(web, tmp_path, shared):
    path = shared / "data" / "animals10-sample.zip"
    web.files["/storage/animals.zip"] = path.read_bytes()
    assert fetch(tmp_path) == path.read_bytes()
    labels = [item.label for item in contents.open_contents(tmp_path / "out").items]
    assert {label: labels.count(label) for label in labels} == dict.fromkeys(ITALIAN.values(), 32)


@pytest.mark.parametrize(
    ("script", "answers"),
    [
        ([("cut", 1_500_000)], []),
        ([429], [429, 200, 429]),
        ([500], [503]),
    ],
    ids=["cut", "rate limit", "server failure"],
)
def test_what_passes_is_tried_again(web, tmp_path, whole, script, answers):
    web.script, web.answers = list(script), list(answers)
    assert fetch(tmp_path) == whole
    assert (web.script, web.answers) == ([], [])


def token_in_environment(home, patch):
    patch.setenv("KAGGLE_API_TOKEN", "hunter2")


def token_in_file(home, patch):
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "access_token").write_text("hunter2")


def legacy_file(home, patch):
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text('{"username": "somebody", "key": "hunter2"}')


def legacy_environment(home, patch):
    patch.setenv("KAGGLE_USERNAME", "somebody")
    patch.setenv("KAGGLE_KEY", "hunter2")


def nothing(home, patch):
    pass


CREDENTIALS = [
    (token_in_environment, "Bearer hunter2", "KAGGLE_API_TOKEN"),
    (token_in_file, "Bearer hunter2", r"\S+/home/\.kaggle/access_token"),
    (legacy_file, "Basic c29tZWJvZHk6aHVudGVyMg==", r"\S+/home/\.kaggle/kaggle\.json"),
    (legacy_environment, "Basic c29tZWJvZHk6aHVudGVyMg==", "KAGGLE_USERNAME and KAGGLE_KEY"),
]


@pytest.mark.parametrize(("give", "sent", "place"), CREDENTIALS, ids=[give.__name__ for give, *_ in CREDENTIALS])
def test_credentials_are_used_where_they_are(web, tmp_path, monkeypatch, whole, give, sent, place):
    give(tmp_path / "home", monkeypatch)
    assert fetch(tmp_path) == whole
    assert web.calls[-1] == ("DownloadDataset", sent)
    shutil.rmtree(tmp_path / "downloads")
    (tmp_path / "out" / "animals.zip").unlink()
    web.answers = [401] * 4
    with pytest.raises(DarkroomError, match=rf"rejects the credentials in {place} \(401\): create a token at") as error:
        fetch(tmp_path)
    assert "hunter2" not in str(error.value)
    assert "or download the archive elsewhere from https://www.kaggle.com/datasets/somebody/animals" in str(error.value)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([401], r"requires credentials for somebody/animals \(401\), and there are none: create a token at https://www\.kaggle"),
        ([403], r"denies access to somebody/animals \(403\): open https://www\.kaggle\.com/datasets/somebody/animals"),
        ([200, 403], r"\(403\): open \S+ and accept its terms; create a token at"),
        ([404], r"Kaggle has no data set somebody/animals \(404\): source\.dataset must be OWNER/NAME"),
        (["Dataset not found"], r"Kaggle has no data set somebody/animals \(404\)"),
        (["Permission 'datasets.get' was denied"], r"denies access to somebody/animals \(403\)"),
        ([429] * 4, r"Kaggle's rate limit is reached \(429\): wait a few minutes and run again"),
        ([500] * 4, "Kaggle's server reports an internal error: run again later"),
        (["Something new"], r"downloaded no archive \(status 1\); its last output: Something new: try it manually"),
    ],
)  # fmt: skip
def test_every_refusal_is_one_message_with_the_remedy(web, tmp_path, answers, message):
    web.answers = list(answers)
    with pytest.raises(DarkroomError, match=message) as error:
        fetch(tmp_path)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_advice_changes_when_there_are_credentials(web, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "hunter2")
    web.answers = [200, 403]
    with pytest.raises(DarkroomError, match=r"\(403\): open \S+ and accept its terms; then check KAGGLE_API_TOKEN"):
        fetch(tmp_path)


def test_a_broken_zip_is_fetched_once_more_and_then_given_up(web, tmp_path, whole):
    broken = whole.replace(BULK[:1000], b"x" * 1000)
    web.files["/storage/animals.zip"] = broken
    with pytest.raises(
        DarkroomError,
        match=r"is damaged \(translate\.py: damaged in the archive .*\): run again later, or download",
    ):
        fetch(tmp_path)
    assert len(web.seen) == 2
    web.files["/storage/animals.zip"] = whole[:-100]  # whole as the server says, and no zip
    with pytest.raises(DarkroomError, match=r"is damaged \(.* is damaged or truncated \(File is not a zip file\)\)"):
        fetch(tmp_path)
    web.files["/storage/animals.zip"] = whole
    assert fetch(tmp_path) == whole


def test_garbage_in_the_place_of_an_earlier_download_does_not_stay(web, tmp_path, whole):
    folder = tmp_path / "downloads" / "somebody_animals"
    folder.mkdir(parents=True)
    (folder / "animals.zip").write_bytes(b"x" * len(whole))
    assert fetch(tmp_path) == whole


def test_what_is_whole_already_is_not_fetched_again(web, tmp_path, whole):
    folder = tmp_path / "downloads" / "somebody_animals"
    folder.mkdir(parents=True)
    (folder / "animals.zip").write_bytes(whole)
    assert fetch(tmp_path) == whole
    assert web.calls == []


def test_no_client_is_one_message(web, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DarkroomError, match="the kaggle command is missing: install the project's packages"):
        fetch(tmp_path)


def test_no_network_is_one_message(web, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(
        DarkroomError,
        match=r"Kaggle cannot be reached: check the network and the proxy, or download.* into data/inbox/ and run",
    ):
        fetch(tmp_path)


def test_a_client_that_says_nothing_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "STALLED", 0.3)
    with pytest.raises(DarkroomError, match=r"printed nothing for 0 s: run again"):
        kaggle._run([sys.executable, "-c", "import time; time.sleep(60)"])


def test_what_the_client_says_hides_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "hunter2")
    problem, _, _ = kaggle._explain(
        KaggleSource(dataset="a/b"), "b", tmp_path / "b.zip", kaggle.Ended(0, ["odd: hunter2"])
    )
    assert problem == "the kaggle command downloaded no archive (status 0); its last output: odd: ***"


def test_a_cut_that_the_client_gives_up_on_says_how_much_has_come(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"x" * 2_500_000)
    lines = [
        "Retrying in 32.1 seconds... (attempt 5/5)",
        "Download failed after 5 retries.",
        "Error: ChunkedEncodingError",
    ]
    problem, remedy, again = kaggle._explain(
        KaggleSource(dataset="a/b"), "b", tmp_path / "b.zip", kaggle.Ended(1, lines)
    )
    assert (problem, again) == ("the download of a/b was interrupted after 2.5 MB", False)
    assert "resume" in remedy


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            {"cone": "dog"},
            r"renames cone, but animals\.zip has no such class folder\. Its class folders: cane, cavallo",
        ),
        (dict.fromkeys(ITALIAN, "animal"), "leaves only the class 'animal': keep at least two"),
    ],
)
def test_class_names_that_do_not_fit_the_folders_are_told_at_once(web, tmp_path, classes, message):
    with pytest.raises(DarkroomError, match=message):
        fetch(tmp_path, KaggleSource(dataset="somebody/animals", classes=classes))
    assert (tmp_path / "downloads" / "somebody_animals" / "animals.zip").is_file()  # for when the names are right


@pytest.mark.parametrize(
    "dataset", ["animals", "-x/animals", "a/b/c", "a/--help", "a/../b", "https://www.kaggle.com/a/b", ""]
)
def test_a_set_is_named_by_owner_and_name(dataset):
    with pytest.raises(ValueError, match="write OWNER/NAME or OWNER/NAME/VERSION"):
        KaggleSource(dataset=dataset)
    assert KaggleSource(dataset="a/b/3").dataset == "a/b/3"


PARAMS = "datasets: {animals: {source: {kind: kaggle, dataset: somebody/animals, classes: {cane: dog}}}}"


def test_a_download_killed_at_random_moments_ends_with_the_same_bytes(web, tmp_path, whole):
    params, out = tmp_path / "params.yaml", tmp_path / "raw"
    params.write_text(PARAMS)
    command = [sys.executable, str(ROOT / "stages" / "download.py"), "--dataset", "animals", "--params", str(params)]
    command += ["--inbox", str(tmp_path), "--downloads", str(tmp_path / "downloads"), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    chance = random.Random(3)
    web.pause = 0.006
    for _ in range(3):  # through `dvc repro` and more often: test_pipeline_killed.py
        kill_at(command, environment, chance.uniform(0.5, 4))
    web.pause = 0
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert (out / "animals.zip").read_bytes() == whole
    assert sorted(item.name for item in out.iterdir()) == ["animals.zip", "source.json"]
    assert not (tmp_path / "downloads").exists()
    with zipfile.ZipFile(out / "animals.zip") as opened:
        assert opened.testzip() is None
    assert len(archive.names(out / "animals.zip")) == 31
