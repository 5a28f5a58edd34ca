"""What `darkroom curate` shows and writes, without a browser."""

import http.client
import io
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from darkroom import frames, packed
from darkroom.commands import main
from darkroom.commands.curate import cases, curate, ledger, server
from darkroom.commands.curate.ledger import Ledger, TakenError
from darkroom.commands.curate.pictures import Gallery
from darkroom.data.split import decisions
from darkroom.foundations.errors import DarkroomError
from tests.curated import CLASSES, TOKEN, Project, curating, serving, write_project
from tests.reviewed import git

LABELS = Path("data/labels.csv")
SCENE = 11
"""Number of the case that is a scene in `served`, after ten label errors and one image in several classes."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return write_project(tmp_path_factory.mktemp("curate") / "project", conflict=True)


@pytest.fixture
def project(original: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    top = tmp_path / "project"
    shutil.copytree(original.top, top)
    monkeypatch.chdir(top)
    return Project(top, original.records)


def collected(project: Project) -> list[cases.Case]:
    return cases.collect(cases.open_project(), project.decided())


def row_of(project: Project, name: str) -> int:
    return next(row for row, record in enumerate(project.records) if record.name == name)


def test_label_errors_come_first_and_an_image_comes_once(project: Project) -> None:
    project.write_issues([3, 1, 40])
    project.write_mistakes([40, 50])
    found = collected(project)
    assert [(case.row, case.suspicion.reason) for case in found[:3]] == [(3, cases.LABEL_ERROR)] + [
        (row, cases.LABEL_ERROR) for row in (1, 40)
    ]
    assert [case.suspicion.reason for case in found[3:]] == [cases.CONFLICT, cases.MISTAKE]
    twins = [row_of(project, name) for name in ("cat/010.png", "dog/twin.png", "frog/twin.png")]
    assert sorted(found[3].rows) == sorted(twins)
    assert found[4].row == 50
    assert (found[0].suspicion.proposed, found[0].suspicion.probability) == ("dog", None)
    assert "may be wrong (probability 97%)" in found[0].suspicion.why
    assert found[4].suspicion.probability == 0.97


def test_names_in_the_list_may_start_like_formulas_and_images_may_be_gone(project: Project) -> None:
    row = row_of(project, "cat/=cmd|' 'a.png")
    project.write_issues([row, 1], proposed="frog")
    listed = frames.read(cases.ISSUES)
    listed.loc[1, ["image", "sha256"]] = ["gone.png", "0" * 64]
    frames.write(cases.ISSUES, listed)
    found = [case for case in collected(project) if case.suspicion.reason == cases.LABEL_ERROR]
    assert [(case.row, case.suspicion.proposed) for case in found] == [(row, "frog")]


def test_a_mistake_without_confidence_and_a_row_that_no_longer_matches_are_left_out(project: Project) -> None:
    project.write_mistakes([1, 2])
    table = cases.TABLES / "mistakes.csv"
    table.write_text(table.read_text().replace("0.97", "0.89", 1).replace(project.records[2].name, "other.png"))
    assert [case.suspicion.reason for case in collected(project)] == [cases.CONFLICT]


def ledger_of(project: Project) -> Ledger:
    opened = cases.open_project()
    return Ledger(opened, cases.collect(opened, project.decided()), project.decided(), LABELS, "Ada")


def test_each_decision_is_in_the_file_and_undo_brings_back_its_bytes(project: Project) -> None:
    project.write_issues([1, 2, 3])
    stale = decisions.Decision(project.records[2].sha256, "old", "wolf", "cat", "by hand", "Ben")
    other = decisions.Decision("f" * 64, "other", "cat", "dog", "by hand", "Ben")
    decisions.write(LABELS, [stale, other])
    ledger, start = ledger_of(project), LABELS.read_bytes()
    ledger.decide(0, "label", "frog")
    ledger.decide(1, "keep")
    ledger.decide(2, "exclude")
    made = {each.image: each for each in project.decided()}
    assert [made[project.records[row].name].new for row in (1, 2, 3)] == ["frog", "cat", ""]
    assert made[project.records[1].name] == decisions.Decision(
        project.records[1].sha256, project.records[1].name, "cat", "frog", cases.LABEL_ERROR, "Ada"
    )
    assert stale not in made.values()  # it would contradict the new one
    assert other in made.values()
    counts = ledger.counts()
    assert (counts.changed, counts.kept, counts.excluded, counts.open) == (1, 1, 1, 1)
    for number in (1, 0, 2):
        ledger.undo(number)
    assert LABELS.read_bytes() == start
    with pytest.raises(TakenError, match="already undone"):
        ledger.undo(0)


def test_a_decision_is_for_all_copies_and_ends_their_conflict(project: Project) -> None:
    ledger = ledger_of(project)
    assert [case.suspicion.reason for case in ledger.cases] == [cases.CONFLICT]
    ledger.decide(0, "label", "frog")
    assert sorted((each.image, each.old, each.new) for each in project.decided()) == [
        ("cat/010.png", "cat", "frog"), ("dog/twin.png", "dog", "frog"), ("frog/twin.png", "frog", "frog"),
    ]  # fmt: skip
    project.split()
    metrics = json.loads((project.top / "metrics" / "data.json").read_text())
    assert (metrics["conflicts"], metrics["relabelled"], metrics["decisions_contradictory"]) == (0, 2, 0)
    assert collected(project) == []


def test_what_was_kept_is_not_shown_again_but_a_later_copy_of_it_is(project: Project) -> None:
    project.write_issues([1])
    ledger = ledger_of(project)
    for number in range(2):
        ledger.decide(number, "keep")
    assert collected(project) == []
    decisions.write(LABELS, [each for each in project.decided() if each.image != "dog/twin.png"])
    (case,) = collected(project)
    assert project.records[case.row].label != case.suspicion.proposed


def test_one_image_is_decided_once_by_many_threads(project: Project) -> None:
    project.write_issues(list(range(12)))
    ledger = ledger_of(project)
    taken = []

    def work(label: str) -> None:
        for number in range(12):
            try:
                ledger.decide(number, "label", label)
            except TakenError:
                taken.append(number)

    threads = [threading.Thread(target=work, args=(label,)) for label in CLASSES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted([*range(12)] * 2)
    assert len(project.decided()) == 14  # row 10 has two copies


def test_a_malformed_file_leaves_the_case_open(project: Project) -> None:
    ledger = ledger_of(project)
    LABELS.write_text("<<<<<<< HEAD\n")
    with pytest.raises(DarkroomError, match="has the first line"):
        ledger.decide(0, "keep")
    assert ledger.upcoming(9) == [0]
    assert LABELS.read_text() == "<<<<<<< HEAD\n"


def rows_in(project: Project, label: str, split: str) -> list[int]:
    """Return rows of a class in a split, without the image that is in several classes."""
    found = packed.read_split(project.top / "data" / "split.csv")
    pairs = zip(project.records, found.splits, strict=True)
    return [row for row, (each, part) in enumerate(pairs) if each.label == label and part == split]


def scenes_of(project: Project) -> list[cases.Case]:
    opened = cases.open_project()
    shown = {row for case in cases.collect(opened, project.decided()) for row in case.rows}
    return cases.collect_scenes(opened, project.decided(), shown)


def scene_ledger(project: Project) -> Ledger:
    return Ledger(cases.open_project(), scenes_of(project), project.decided(), LABELS, "Ada")


def decided(project: Project, rows: list[int]) -> list[tuple[str, str] | None]:
    found = {each.sha256: (each.new, each.reason) for each in project.decided()}
    return [found.get(project.records[row].sha256) for row in rows]


def test_scenes_are_shown_without_excluded_images_and_after_label_errors(project: Project) -> None:
    test, train = rows_in(project, "dog", "test"), rows_in(project, "dog", "train")
    project.write_scenes([test[0], *train[:3]], train[3:5], train[5:7], [train[7], row_of(project, "dog/twin.png")])
    project.write_issues([train[4]])
    sha256, name = project.records[train[1]].sha256, project.records[train[1]].name
    decisions.write(LABELS, [decisions.Decision(sha256, name, "dog", "", "by hand", "Ada")])
    first, second = scenes_of(project)  # the image in two classes and the label error are decided first
    assert first.scene == ((test[0],), (train[0],), (train[2],))
    assert first.suspicion.why == (
        "These 3 images of the class dog seem to show one scene. It is in the test split and in another one, so "
        "accuracies are also reported without it."
    )
    assert second.rows == tuple(train[5:7])
    assert second.suspicion.why.startswith(
        "These 2 images of the class dog seem to show one scene. It is in train only"
    )
    ledger = scene_ledger(project)
    ledger.decide(0, "keep")
    ledger.decide(1, "exclude", marked=[1])
    assert scenes_of(project) == []
    project.write_scenes([test[0], *train[:3], train[8]])  # another image has joined
    assert len(scenes_of(project)) == 1


def test_images_of_a_scene_are_excluded_or_taken_out_of_it(project: Project) -> None:
    rows = rows_in(project, "dog", "train")[:4]
    project.write_scenes(rows)
    sha256, name = project.records[rows[0]].sha256, project.records[rows[0]].name
    other = decisions.Decision(sha256, name, "cat", "", "a copy in another class", "Ada")
    decisions.write(LABELS, [decisions.Decision(sha256, name, "dog", "frog", "by hand", "Ada"), other])
    before, ledger = LABELS.read_bytes(), scene_ledger(project)
    kept, by_hand = ("dog", cases.SCENE), ("frog", "by hand")
    alone = ("dog", decisions.NOT_ONE_SCENE)
    for action, marked, expected in [
        ("keep", [], [by_hand, kept, kept, kept]),
        ("exclude", [1, 3], [by_hand, ("", cases.SCENE), kept, ("", cases.SCENE)]),
        ("exclude", [], [("", cases.SCENE)] * 4),
        ("apart", [1], [by_hand, alone, kept, kept]),
        ("apart", [], [("frog", "by hand; not one scene"), alone, alone, alone]),
    ]:
        ledger.decide(0, action, marked=marked)
        assert decided(project, rows) == expected, (action, marked)
        assert other in project.decided()
        counts = ledger.counts()
        assert (counts.kept, counts.excluded) == ((0, 1) if action == "exclude" else (1, 0))
        ledger.undo(0)
        assert LABELS.read_bytes() == before


def test_a_later_label_does_not_put_an_image_back_into_its_scene(project: Project) -> None:
    rows = rows_in(project, "dog", "train")[:2]
    project.write_scenes(rows)
    scene_ledger(project).decide(0, "apart")
    project.write_issues(rows[:1])
    records = project.records
    decisions.write(LABELS, [each for each in project.decided() if each.sha256 == records[rows[0]].sha256])
    opened = cases.open_project()
    (case,) = cases._label_errors(opened)
    ledger = Ledger(opened, [cases.Case(case, (case.row,))], project.decided(), LABELS, "Ada")
    ledger.decide(0, "label", "frog")
    assert decided(project, rows) == [("frog", "probable label error; not one scene"), None]
    applied = decisions.apply(records, project.decided(), LABELS)
    assert np.flatnonzero(applied.alone).tolist() == rows[:1]


def test_a_decision_that_a_pull_brought_is_kept(project: Project) -> None:
    """Ben decides about the shown image and the next one, and his commit is merged while the page is open."""
    project.write_issues([1, 2, 3, 4])
    git(project.top, "add", "--force", str(LABELS))
    git(project.top, "-c", "user.email=a@b", "commit", "-qm", "Start")
    git(project.top, "checkout", "-qb", "ben")
    bens = [
        decisions.Decision(project.records[row].sha256, project.records[row].name, "cat", "frog", "by hand", "Ben")
        for row in (1, 2)
    ]
    decisions.write(LABELS, bens)
    git(project.top, "-c", "user.email=a@b", "commit", "-qam", "Ben's")
    git(project.top, "checkout", "-q", "-")
    ledger = ledger_of(project)
    git(project.top, "merge", "-q", "ben")
    with pytest.raises(TakenError, match=r"decided elsewhere meanwhile, and that decision is kept: frog \(by Ben\)"):
        ledger.decide(0, "exclude")
    assert [project.records[ledger.cases[number].row].name for number in ledger.upcoming(1)] == [
        project.records[3].name
    ]
    ledger.decide(2, "label", "dog")
    assert set(bens) < set(project.decided())
    assert (ledger.counts().decided, ledger.counts().elsewhere, ledger.counts().open) == (1, 2, 2)
    assert "1 decision in" in (lines := curate.summary(ledger.counts()))[0]
    assert lines[0].endswith("2 left. 2 cases were decided elsewhere.")
    with pytest.raises(TakenError, match="already undone"):
        ledger.undo(0)
    decisions.write(LABELS, bens)  # someone removes the new one
    with pytest.raises(TakenError, match="another decision about this image now"):
        ledger.undo(2)
    assert project.decided() == sorted(bens)


def test_two_sessions_at_once_lose_no_decision(project: Project) -> None:
    project.write_issues(list(range(20)))
    ledgers = [ledger_of(project) for _ in range(2)]
    refused, together = [], threading.Barrier(2)

    def work(ledger: Ledger, label: str, numbers: list[int]) -> None:
        for number in numbers:
            together.wait(60)
            try:
                ledger.decide(number, "label", label)
            except TakenError:
                refused.append(number)

    forth = list(range(20))
    threads = [
        threading.Thread(target=work, args=each)
        for each in ((ledgers[0], "dog", forth), (ledgers[1], "frog", forth[::-1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = {each.new for each in project.decided()}
    assert len(project.decided()) == 22  # row 10 has two copies
    assert made == {"dog", "frog"}
    assert len(refused) == 20
    assert sum(ledger.counts().decided for ledger in ledgers) == 20


def test_when_another_process_never_releases_the_file_the_case_stays_open(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PATIENCE", 0.1)
    session = ledger_of(project)
    Path(".darkroom").mkdir(exist_ok=True)
    with FileLock(ledger.LOCK), pytest.raises(DarkroomError, match=r"another process has been writing labels\.csv"):
        session.decide(0, "keep")
    assert session.upcoming(9) == [0]


def test_examples_are_of_the_class_and_not_suspicious(project: Project) -> None:
    project.write_issues([31, 32])
    opened = cases.open_project()
    shown = cases.collect(opened, [])
    gallery = Gallery(opened, shown)
    for label in CLASSES:
        found = gallery.examples(label, shown[0])
        assert len(found) == 4
        assert {project.records[row].label for row in found} == {label}
        assert not {31, 32, *opened.conflicts} & set(found)
    assert gallery.examples("wolf", shown[0]) == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, original: Project) -> Iterator[tuple[str, Project]]:
    top = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(original.top, top)
    project = Project(top, original.records)
    project.write_issues([*range(10)])
    project.write_scenes(rows_in(project, "frog", "train")[-2:])
    with serving(project) as (address, _):
        yield address, project


def ask(address: str, path: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the response for a path that is sent as it is, with any headers, and its body."""
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


def get(address: str) -> httpx.Response:
    return httpx.get(address, timeout=60, verify=False)  # loading certificates takes longest


def post(address: str, **sent) -> httpx.Response:
    return httpx.post(address, timeout=60, verify=False, **sent)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/state", {}),
        (f"/{TOKEN}", {}),
        (f"/{TOKEN[:-1]}/", {}),
        (f"/x{TOKEN}/state", {}),
        ("//state", {}),
        ("/%ff/state", {}),
        (f"/{TOKEN}/", {"Host": "evil.example"}),
        (f"/{TOKEN}/", {"Host": "127.0.0.1.evil.example:8787"}),
        (f"/{TOKEN}/", {"Host": "[bad"}),
        (f"/{TOKEN}/state", {"Origin": "https://evil.example"}),
        (f"/{TOKEN}/state", {"Origin": "null"}),
    ],
)
def test_without_the_token_or_from_elsewhere_nothing_is_shown(served, path: str, headers: dict[str, str]) -> None:
    response, body = ask(served[0], path, headers)
    assert response.status == 403
    assert {name: response.getheader(name) for name in server.HEADERS} == server.HEADERS
    assert b"cat" not in body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "[::1]:9"])
def test_a_tunnel_may_use_another_port(served, host: str) -> None:
    assert ask(served[0], f"/{TOKEN}/", {"Host": host})[0].status == 200


def test_the_page_and_its_images_have_strict_headers(served) -> None:
    address, _ = served
    state = get(f"{address}state").json()
    assert state["classes"] == list(CLASSES)
    for path in ("", "curate.js", "scene.js", "curate.css", "case/0", "row/0"):
        response = get(address + path)
        assert response.status_code == 200
        assert {name: response.headers[name] for name in server.HEADERS} == server.HEADERS
    original, small = (Image.open(io.BytesIO(get(address + path).content)) for path in ("case/0", "row/0"))
    assert (original.size, small.size) == ((40, 30), (16, 16))
    for path in ("case/999", "row/99999", "../params.yaml", "curate.py", "case/x", "%2e%2e/params.yaml"):
        assert get(address + path).status_code in (403, 404)
    text = get(address).text
    assert "style=" not in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {"id": 0, "action": "label", "label": "wolf"}}, 422),
        ({"json": {"id": 0, "action": "delete"}}, 422),
        ({"json": {"id": 999, "action": "keep"}}, 422),
        ({"json": {"id": -1, "action": "keep"}}, 422),
        ({"json": {"id": True, "action": "keep"}}, 422),
        ({"json": {"id": 0, "action": "apart"}}, 422),
        ({"json": {"id": 0, "action": "exclude", "marked": [0]}}, 422),
        ({"json": {"id": 0, "action": "exclude", "marked": "0"}}, 422),
        ({"json": {"id": 0, "action": "exclude", "marked": [True]}}, 422),
        ({"json": {"id": SCENE, "action": "label", "label": "dog"}}, 422),
        ({"json": {"id": SCENE, "action": "apart", "marked": [2]}}, 422),
        ({"json": {"id": SCENE, "action": "exclude", "marked": [-1]}}, 422),
        ({"json": ["keep"]}, 422),
        ({"content": "{", "headers": {"content-type": "application/json"}}, 422),
        ({"content": " " * 20_000, "headers": {"content-type": "application/json"}}, 413),
        ({"data": {"id": "0", "action": "keep"}}, 415),
        ({"content": '{"id": 0, "action": "keep"}', "headers": {"content-type": "text/plain"}}, 415),
    ],
)
def test_a_wrong_request_decides_nothing(served, sent, status: int) -> None:
    address, project = served
    before = (project.top / LABELS).read_bytes()
    assert post(f"{address}decide", **sent).status_code == status
    assert (project.top / LABELS).read_bytes() == before


def test_before_the_first_run_without_a_name_and_with_nothing_to_decide(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (project.top / ".git" / "config").unlink()
    with pytest.raises(DarkroomError, match=r"git config user\.name"):
        main.run(["curate"])
    ledger_of(project).decide(0, "keep")
    main.run(["curate"])
    assert capsys.readouterr().out.startswith("Nothing to decide: ")
    (project.top / "data" / "split.csv").unlink()
    with pytest.raises(DarkroomError, match=r"data/split.csv is missing.*run `dvc repro`"):
        main.run(["curate"])


def test_a_port_in_use_is_refused_and_otherwise_another_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(DarkroomError, match=f"port {port} cannot be used"):
            server.listen(port, 1)
        with server.listen(None, port) as taken:
            assert taken.getsockname()[1] not in (0, port)


def test_the_command_for_real(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_issues([1, 2])
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 5000 10.0.0.2 22")
    output: list[str] = []
    with curating(project.top, output=output) as address:
        port = urlsplit(address).port
        state = post(f"{address}decide", json={"id": 0, "action": "label", "label": "dog"}).json()
        assert (state["changed"], state["open"], state["problem"]) == (1, 2, "")
        again = post(f"{address}decide", json={"id": 0, "action": "keep"})
        assert (again.status_code, again.json()["problem"]) == (409, "this image was decided in another window")
        assert len(urlsplit(address).path) > 40
    printed = "".join(output)
    assert printed.startswith("3 cases to decide: 2 × probable label error, 1 × copies in two classes\n")
    assert f"ssh -L {port}:127.0.0.1:{port} 10.0.0.2\n" in printed
    assert "1 decision in data/labels.csv: 1 changed, 0 confirmed, 0 excluded; 2 left.\n" in printed
    assert printed.endswith("shows what they changed.\n")
    assert [(each.old, each.new, each.by) for each in project.decided()] == [("cat", "dog", "Ada")]
    assert curate.summary(ledger_of(project).counts())[0].startswith("No decisions were made")
    assert packed.read_index(project.top / "data" / "packed") == project.records
