"""Unlabelled images in `darkroom curate`: which are selected, how they are scored, and where labelled ones go."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from darkroom import images
from darkroom.commands import main
from darkroom.commands.curate import cases, curate, scoring, selection, unlabelled
from darkroom.commands.curate.ledger import Ledger
from darkroom.foundations.errors import DarkroomError
from darkroom.predictor import Predictor
from tests import factories
from tests.curated import CLASSES, Project, curating, serving, write_project
from tests.pictures import encode, pixels, write_folder

LABELS = Path("data/labels.csv")
IMAGES = {f"{'ab'[number % 2]}/{number:02}.png": encode(pixels(2_000 + number, 40, 30)) for number in range(40)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = write_project(tmp_path_factory.mktemp("unlabelled") / "project")
    project.write_model()
    write_folder(project.top / unlabelled.FOLDER, IMAGES)
    return project


@pytest.fixture
def project(original: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    top = tmp_path / "project"
    shutil.copytree(original.top, top)
    monkeypatch.chdir(top)
    return Project(top, original.records)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def gathered(project: Project, folder: Path | None = None, count: int = 50) -> tuple[list[cases.Case], list[str]]:
    """Return all cases, and the lines printed."""
    said: list[str] = []
    return curate.gather(cases.open_project(), project.decided(), folder, count, said.append), said


def names(found: list[cases.Case]) -> list[str]:
    return [case.upload.name for case in found if case.upload]


def ledger_of(project: Project) -> Ledger:
    return Ledger(cases.open_project(), gathered(project)[0], project.decided(), LABELS, "Ada")


@pytest.mark.parametrize(
    ("probabilities", "margin"), [([0.5, 0.5, 0], 0), ([0.1, 0.2, 0.7], 0.5), ([1, 0], 1), ([0.25] * 4, 0)]
)
def test_the_margin_is_the_difference_of_the_two_largest_probabilities(
    probabilities: list[float], margin: float
) -> None:
    assert selection.margins(np.array([probabilities, probabilities])) == pytest.approx([margin] * 2)


def test_classes_take_turns_each_time_with_the_smallest_margin() -> None:
    margins, predicted = np.array([0.9, 0.1, 0.2, 0.3, 0.5, 0.1]), np.array([1, 0, 0, 0, 2, 0])
    assert selection.in_turn(margins, predicted).tolist() == [1, 4, 0, 5, 2, 3]
    assert selection.in_turn(margins[:0], predicted[:0]).tolist() == []


@pytest.mark.parametrize(
    ("labelled", "predicted", "expected"),
    [
        ([0], [0, 0, 0, 0, 0], [4, 2, 1, 0, 3]),  # 10 and 5; then 2 is farther from both than 1 is
        ([], [0, 0, 0, 0, 0], [0, 4, 2, 1, 3]),  # nothing is known, so the first one is taken
        ([0, 10], [0, 0, 0, 0, 0], [2, 1, 0, 3, 4]),
        ([0], [0, 1, 0, 1, 3], [2, 1, 4, 0, 3]),  # 5 and 2, the farthest of their classes, and 10; then 1 and 2
    ],
)
def test_the_farthest_image_from_labelled_and_taken_ones_is_next(
    labelled: list[int], predicted: list[int], expected: list[int]
) -> None:
    points = np.array([[1, 0], [2, 0], [5, 0], [2, 0], [10, 0]], dtype=np.float32)
    known = np.array([[place, 0] for place in labelled], dtype=np.float32).reshape(-1, 2)
    assert selection.spread_out(points, known, np.array(predicted), 5).tolist() == expected
    assert selection.spread_out(points, known, np.array(predicted), 2).tolist() == expected[:2]


def test_distances_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    points, labelled = (generator.normal(size=(count, 8)).astype(np.float32) for count in (50, 20))
    expected, nearest = [], ((points[:, np.newaxis] - labelled) ** 2).sum(axis=2).min(axis=1)
    for _ in range(10):
        expected.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[expected[-1]]) ** 2).sum(axis=1))
    monkeypatch.setattr(selection, "ROWS", 7)
    assert selection.spread_out(points, labelled, np.zeros(50, np.int64), 10).tolist() == expected


def test_the_selected_images_are_the_same_whether_all_were_in_memory_or_few(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "POOL", 2)
    found, said = gathered(project, count=4)  # 16 of 40 images are in memory at most
    predictor = Predictor(unlabelled.MODEL)
    assert predictor.index is not None
    decoded = np.stack([images.decode(data, 16).pixels for _, data in sorted(IMAGES.items())])
    likely, embedded = predictor.probabilities(decoded), predictor.embedded(decoded)[1]
    assert embedded is not None
    first = selection.in_turn(selection.margins(likely), likely.argmax(axis=1))[:8]
    labelled = predictor.index.vectors.astype(np.float32)
    places = selection.spread_out(embedded[first], labelled, likely.argmax(axis=1)[first], 4)
    assert names(found) == [sorted(IMAGES)[place] for place in first[places]]
    assert {case.suspicion.proposed for case in found} == set(CLASSES)
    assert said == ["40 images in data/unlabelled"]
    best = likely[first[places[0]]]
    suspicion, label = found[0].suspicion, CLASSES[best.argmax()]
    assert (suspicion.proposed, suspicion.probability) == (label, pytest.approx(best.max()))
    assert suspicion.why.startswith(f"Unlabelled. Most probable classes: {label} ({best.max():.0%}) and ")


def test_copies_decided_and_unreadable_images_are_left_out_and_counted(project: Project) -> None:
    folder = unlabelled.FOLDER
    ledger_of(project).decide(0, "exclude")
    write_folder(folder, {
        "labelled.png": encode(pixels(0, 40, 30)), "z/again.png": IMAGES["a/00.png"],
        "cut.png": IMAGES["a/00.png"][:99], "x.heic": b"x", "notes.txt": b"x", ".hidden.png": IMAGES["a/00.png"],
    })  # fmt: skip
    (folder / "folder.png").mkdir()
    found, said = gathered(project)
    assert len(found) == 39
    assert not {"labelled.png", "z/again.png", "cut.png"} & set(names(found))
    assert said[0] == "44 images in data/unlabelled, 2 exact copies left out, 1 decided before"
    assert said[1].startswith("2 images cannot be read: cut.png (damaged image (")
    assert said[1].endswith("), x.heic (not a supported image (JPEG, PNG, GIF, WEBP, BMP, TIFF, AVIF))")


def test_a_second_start_computes_nothing_and_shows_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SAVED", 7)
    first = gathered(project)[0]
    assert len(first) == 40
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", lambda *_, **__: pytest.fail("decoded again"))
        assert gathered(project)[0] == first
    (unlabelled.FOLDER / "a" / "00.png").write_bytes(encode(pixels(5_000, 40, 30)))
    assert len(gathered(project)[0]) == 40  # the new content is decoded
    folder = project.top / "models" / "served"
    packed_folder, split = project.top / "data" / "packed", project.top / "data" / "split.csv"
    factories.write_candidate(folder, packed_folder, split, error=0.3)
    changed = gathered(project)[0]
    assert [case.suspicion.probability for case in changed] != [case.suspicion.probability for case in first]


def test_after_an_interruption_what_was_computed_is_remembered(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scoring.Scorer(unlabelled.MODEL, unlabelled.CACHE)
    files = [(path.name, path) for path in sorted(unlabelled.FOLDER.rglob("*.png"))]

    def interrupted() -> Iterator[tuple[str, Path]]:
        yield from files[:30]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(scorer.score(interrupted(), ()))
    assert (project.top / unlabelled.CACHE / "features.sqlite").is_file()


def test_like_labelled_ones_decided_images_repel_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "POOL", 100)
    ledger = ledger_of(project)
    first = names(gathered(project, count=1)[0])
    ledger.decide(next(number for number, case in enumerate(ledger.cases) if names([case]) == first), "exclude")
    given: list[int] = []
    real = selection.spread_out

    def noted(features: selection.Floats, labelled: selection.Floats, *rest: Any) -> selection.Places:
        given.append(len(labelled))
        return real(features, labelled, *rest)

    monkeypatch.setattr(selection, "spread_out", noted)
    found = gathered(project, count=1)[0]
    index = Predictor(unlabelled.MODEL).index
    assert index is not None
    assert given == [len(index.vectors) + 1]
    assert names(found) != first


def test_without_an_index_margins_alone_count(project: Project) -> None:
    (unlabelled.MODEL / "neighbors.npz").unlink()
    found, _ = gathered(project, count=40)
    probable = [case.suspicion.probability for case in found]
    assert len(probable) == 40
    assert gathered(project, count=3)[0] == found[:3]


def link(project: Project) -> None:
    (unlabelled.FOLDER / "out.png").symlink_to(project.top / "params.yaml")


def of_digits(project: Project) -> None:
    params = project.top / "params.yaml"
    params.write_text(params.read_text().replace("dataset: folder", "dataset: digits"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link, "out.png is a link: replace it by the file or folder itself"),
        (lambda _: shutil.rmtree(unlabelled.MODEL), "models/served/model.onnx is missing: run `dvc repro` first"),
        (of_digits, "cannot be added to the data: .* is of kind digits.*: move your labelled images to data/inbox"),
    ],
)  # fmt: skip
def test_images_that_cannot_be_shown_do_not_hide_other_cases(
    project: Project, change: Callable[[Project], None], message: str
) -> None:
    project.write_issues([1])
    change(project)
    found, (line,) = gathered(project)
    assert [case.suspicion.reason for case in found] == [cases.LABEL_ERROR]
    assert line.startswith("The images in data/unlabelled are not shown: ")
    with pytest.raises(DarkroomError, match=message):
        gathered(project, unlabelled.FOLDER)
    assert not unlabelled.CACHE.exists()


def test_a_folder_that_is_missing_or_empty(project: Project, tmp_path: Path) -> None:
    shutil.rmtree(unlabelled.FOLDER)
    assert gathered(project) == ([], [])
    (tmp_path / "empty").mkdir()
    assert gathered(project, tmp_path / "empty") == ([], [f"There are no images in {tmp_path}/empty"])
    with pytest.raises(DarkroomError, match="gone is not a folder: give the folder of the images to --unlabelled"):
        main.run(["curate", "--unlabelled", str(tmp_path / "gone")])


def inbox(label: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("data/inbox", label).glob("*"))}


def test_files_of_the_same_name_do_not_replace_each_other(project: Project) -> None:
    shutil.rmtree(unlabelled.FOLDER)
    one, two, three = (encode(pixels(3_000 + number, 40, 30)) for number in range(3))
    write_folder(
        unlabelled.FOLDER, {"a/1.png": one, "b/1.png": two, "c/1.png": three, "x\\..\\y\n.png": IMAGES["a/00.png"]}
    )
    write_folder(Path("data/inbox/dog"), {"1.png": three})
    ledger = ledger_of(project)
    numbers = {names([case])[0]: number for number, case in enumerate(ledger.cases)}
    for name in sorted(numbers):
        ledger.decide(numbers[name], "label", "dog")
    assert inbox("dog") == {
        "1.png": three, f"1-{digest(one)[:12]}.png": one, f"1-{digest(two)[:12]}.png": two,
        f"{digest(IMAGES['a/00.png'])}.png": IMAGES["a/00.png"],
    }  # fmt: skip
    for name in sorted(numbers):
        ledger.undo(numbers[name])
    assert inbox("dog") == {"1.png": three}  # which was there before
    assert project.decided() == []


def test_an_image_that_has_changed_or_cannot_be_stored_stays_open(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_of(project)
    upload = ledger.cases[0].upload
    assert upload is not None
    before = upload.path.read_bytes()
    upload.path.write_bytes(before + b"more")
    with pytest.raises(DarkroomError, match=r"has changed since it was read: start darkroom curate again"):
        ledger.decide(0, "label", "cat")
    upload.path.write_bytes(before)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("darkroom.data.split.decisions.write", full)
        with pytest.raises(OSError, match="No space left"):
            ledger.decide(0, "label", "cat")
    assert inbox("cat") == {}
    assert project.decided() == []
    ledger.decide(0, "label", "cat")
    assert list(inbox("cat").values()) == [before]


def test_the_page_gets_them_and_the_next_start_shows_others(project: Project) -> None:
    with serving(project) as (address, ledger):
        state = httpx.get(f"{address}state", timeout=60).json()
        shown, total = state["cases"][0], state["total"]
        upload = ledger.cases[0].upload
        assert upload is not None
        assert (total, shown["label"], shown["image"], shown["split"]) == (40, "", upload.name, "unlabelled")
        assert shown["proposed"] in CLASSES
        assert httpx.get(f"{address}case/0", timeout=60).headers["content-type"] == "image/jpeg"
        keep = {"id": 0, "action": "keep"}
        assert httpx.post(f"{address}decide", timeout=60, json=keep).status_code == 422
        for number, action in enumerate(("label", "exclude")):
            asked = {"id": number, "action": action, "label": "frog"}
            assert httpx.post(f"{address}decide", timeout=60, json=asked).json()["problem"] == ""
    labelled, excluded = ledger.cases[0].upload, ledger.cases[1].upload
    assert labelled is not None
    assert excluded is not None
    assert inbox("frog") == {labelled.path.name: IMAGES[labelled.name]}
    found = {each.image: (each.sha256, each.new, each.reason, each.by) for each in project.decided()}
    assert found == {
        labelled.name: (digest(IMAGES[labelled.name]), "frog", unlabelled.UNLABELLED, "Ada"),
        excluded.name: (digest(IMAGES[excluded.name]), "", unlabelled.UNLABELLED, "Ada"),
    }
    again, said = gathered(project)
    assert set(names(again)) == set(IMAGES) - {labelled.name, excluded.name}
    assert said == ["40 images in data/unlabelled, 2 decided before"]


def test_the_command_for_real(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "new"
    shutil.move(unlabelled.FOLDER, elsewhere)
    project.write_issues([1])
    output: list[str] = []
    with curating(project.top, "--unlabelled", str(elsewhere), "--next", "3", output=output) as address:
        state = json.loads(httpx.get(f"{address}state", timeout=60).text)
        assert [each["reason"] for each in state["cases"]] == [cases.LABEL_ERROR, *[unlabelled.UNLABELLED] * 3]
        assert urlsplit(address).hostname == "127.0.0.1"
    printed = "".join(output)
    assert printed.startswith(f"40 images in {elsewhere}\n4 cases to decide: 1 × probable label error, 3 × unlabelled")
