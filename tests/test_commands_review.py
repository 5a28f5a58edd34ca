"""`darkroom review` in a real git and DVC repository."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from darkroom import git, packed, test_uses
from darkroom.commands import main
from darkroom.commands.review import paired, review, revisions, snapshots
from darkroom.commands.review.blocks import Gallery
from darkroom.data.split import decisions
from darkroom.data.split.decisions import Decision
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from tests import reviewed
from tests.imports import ROOT

WRONG = range(12)
"""Test images on which the model of main is wrong, of 85."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a repository with results on main and on five branches."""
    top = tmp_path_factory.mktemp("project")
    reviewed.start(top)
    reviewed.write_data(top)
    reviewed.write_results(top, WRONG)
    reviewed.commit_data(top)
    reviewed.commit(top, "base")
    shutil.copy(top / "data" / "split.csv", top.with_suffix(".csv"))
    for name, wrong in {"better": range(2), "worse": range(25), "noise": [*range(3, 12), 15, 16, 17, 18, 19]}.items():
        reviewed.git(top, "switch", "--quiet", "--create", name, "main")
        reviewed.set_learning_rate(top, 0.2)
        reviewed.write_results(top, wrong)
        reviewed.commit(top, name)
    reviewed.git(top, "switch", "--quiet", "--create", "added", "main")
    reviewed.write_data(top, reviewed.PER_CLASS + 20)
    reviewed.write_results(top, range(11))
    reviewed.commit_data(top)
    reviewed.commit(top, "added")
    return top


@pytest.fixture
def switch(project, monkeypatch):
    """Change to a branch, and leave nothing behind."""
    monkeypatch.chdir(project)

    def to(branch):
        reviewed.git(project, "switch", "--quiet", "--force", branch)
        if branch != "added":  # DVC's outputs are not switched
            shutil.copy(project.with_suffix(".csv"), project / "data" / "split.csv")

    yield to
    reviewed.git(project, "reset", "--quiet", "--hard")


def call(*arguments):
    """Return the exit status of `darkroom review`."""
    try:
        main.run(["review", *arguments])
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize(
    ("branch", "status", "title", "said"),
    [
        ("better", 0, "the gate passes", "significant gain (10 newly right, 0 newly wrong; McNemar's test: p = 0.002)"),
        ("worse", 3, "the gate fails", "significant loss (0 newly right, 13 newly wrong; McNemar's test: p < 0.001)"),
        ("noise", 0, "the gate passes", "-2.35 points on the 85 test images: within noise (3 newly right, 5 newly"),
        ("added", 0, "the gate passes", "within noise (1 newly right, 0 newly wrong; McNemar's test: p = 1.000)"),
    ],
)  # fmt: skip
def test_each_branch_gets_its_verdict(switch, capsys, branch, status, title, said):
    switch(branch)
    assert call() == status
    printed = capsys.readouterr().out
    assert printed.startswith(f"## Darkroom review: {title}\n")
    assert said in printed.replace("\\", "")
    assert ("scratch.net.learning_rate | 0.1 | 0.2" in printed) == (branch != "added")
    assert "A fresh test set is due from 25 models on" in printed


def test_added_data_is_counted_and_shown_and_the_old_test_images_stay(switch, tmp_path, capsys):
    switch("added")
    page = tmp_path / "review.html"
    assert call("--html", str(page), "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == {"added": 60, "removed": 0}
    assert summary["test_images"] == {"common": 85, "only_before": 0, "only_after": 0}
    assert summary["models_scored"] == 3  # the baseline and net twice
    text = page.read_text("utf-8")
    assert "Added images: 60, of which 24 are shown" in text
    blocks = [block for section in review.review().sections for block in section.blocks]
    (added,) = [block for block in blocks if isinstance(block, Gallery) and block.title == "Added images"]
    names = [(each.cells[1], each.cells[0]) for each in added.thumbnails]
    assert names == sorted(names), "by class and name"
    assert text.count("<img") == 24 + 2 + 1  # added, confusion matrices, newly right
    assert text.count('src="data:image/png;base64,') == text.count("<img")


def test_no_class_name_is_markup_in_the_page_or_notifies_anyone_in_a_comment(switch, tmp_path):
    switch("worse")
    found = review.review(html=tmp_path / "review.html")
    page = (tmp_path / "review.html").read_text("utf-8")
    assert "&lt;/script&gt;&lt;b&gt;dog|@you" in page
    assert "<b>" not in page
    assert "</script>" not in page
    assert "| `</script><b>dog\\|@you` |" in found.markdown
    assert "@you" not in re.sub("`[^`]*`", "", found.markdown), "code notifies nobody"


def test_without_a_common_test_image_the_gate_cannot_decide(switch, project):
    switch("better")
    base, head = (take(project, name) for name in ("main", "better"))
    strange = head.images.assign(sha256=head.images["sha256"] + "0")
    common = paired.compare(base, snapshots.Snapshot(**{**vars(head), "images": strange}))
    assert common.metrics == {}
    found = review.gate.judge(review.gate.settings(head), head, common)
    assert (found.outcome, found.exit_code) == ("undecided", 4)


def take(project: Path, name: str) -> snapshots.Snapshot:
    revision = revisions.Revision(reviewed.git(project, "rev-parse", name))
    return snapshots.take(revision, revisions.locate([revision], snapshots.NEEDED, "…")[0])


def test_models_are_compared_on_the_test_images_of_both(switch, project, capsys):
    switch("better")
    Path("params.yaml").write_text(Path("params.yaml").read_text("utf-8").replace("seed: 0", "seed: 1"), "utf-8")
    reviewed.write_data(project)
    reviewed.write_results(project, range(5))
    reviewed.commit_data(project)
    base, head = take(project, "main"), revisions.Revision(reviewed.git(project, "rev-parse", "HEAD"), workspace=True)
    tests = set(base.images["sha256"][base.images["split"] == "test"])
    capsys.readouterr()
    assert call("--json") == 0
    summary = json.loads(capsys.readouterr().out)
    now = snapshots.take(head, revisions.locate([head], snapshots.NEEDED, "…")[0]).images
    shared = tests & set(now["sha256"][now["split"] == "test"])
    counts = summary["test_images"]
    assert 0 < counts["common"] == len(shared) < len(tests)
    assert counts["only_before"] == len(tests) - len(shared)
    call()
    printed = capsys.readouterr().out
    assert f"common test images ({len(shared)})" in printed
    assert "all test images | not comparable" in printed
    assert "from test to train" in printed


def test_uncommitted_changes_are_reviewed_and_named(switch, project, capsys):
    switch("main")
    reviewed.write_results(project, range(30))
    assert call() == 3
    printed = capsys.readouterr().out
    assert "Compared: the workspace on " in printed
    assert "Uncommitted changes are included: metrics/evaluation.json, plots/confusion.csv." in printed


def test_results_of_other_parameters_decide_nothing(switch, capsys):
    switch("better")
    path = Path("params.yaml")
    path.write_text(path.read_text("utf-8").replace("learning_rate: 0.2", "learning_rate: 0.4"), "utf-8")
    assert call() == 4
    printed = capsys.readouterr().out.replace("\\", "")
    assert "scratch.net.learning_rate (0.2 in dvc.lock, 0.4 in params.yaml)" in printed


@pytest.mark.parametrize(
    ("branch", "gate", "status", "said"),
    [
        ("noise", "{minimum: 0.88}", 0, "below the minimum of 88.00%, but its 95% interval contains it: within noise"),
        ("worse", "{minimum: 0.9, max_loss: null}", 3, "is below the minimum of 90.00%, and so is its whole"),
        ("worse", "{max_loss: 0.2}", 0, "but gate.max_loss permits a loss of 20 points"),
        ("worse", "{max_loss: 0.2, metric: macro_f1}", 0, "Macro F1 changed by -0.1"),
        ("worse", "{max_loss: null}", 0, "so nothing is required"),
    ],
)
def test_the_gate_is_that_of_the_parameters(switch, capsys, branch, gate, status, said):
    switch(branch)
    path = Path("params.yaml")
    path.write_text(f"{path.read_text('utf-8')}gate: {gate}\n", "utf-8")
    assert call() == status
    assert said in capsys.readouterr().out.replace("\\", "")


def test_a_wrong_gate_is_refused(switch):
    switch("worse")
    path = Path("params.yaml")
    path.write_text(f"{path.read_text('utf-8')}gate: {{max_loss: 5}}\n", "utf-8")
    with pytest.raises(DarkroomError, match=r"gate\.max_loss: Input should be less than or equal to 1"):
        review.review()


def test_where_the_cache_lacks_outputs_the_commands_to_fetch_exactly_them_are_given(switch, project):
    switch("added")
    shutil.move(project / ".dvc" / "cache", project / ".dvc" / "away")
    try:
        with pytest.raises(DarkroomError) as raised:
            review.review()
    finally:
        shutil.move(project / ".dvc" / "away", project / ".dvc" / "cache")
    base, head = (reviewed.git(project, "rev-parse", name)[:8] for name in ("main", "added"))
    wanted = "dvc fetch data/packed/index.csv data/split.csv data/copies.csv"
    first, *lines = str(raised.value).splitlines()
    assert "download them with `darkroom review --fetch`" in first
    assert lines == [f"  {base}: git switch --detach {base} && {wanted} && git switch -", f"  {head}: {wanted}"]


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # in DVC
def test_a_clone_fetches_what_a_review_needs_and_no_pixels(switch, project, tmp_path, monkeypatch):
    switch("added")
    remote = tmp_path / "remote"
    (project / ".dvc" / "config.local").write_text(f"['remote \"r\"']\n    url = {remote}\n[core]\n    remote = r\n")
    with Repo() as repo:
        repo.push(all_branches=True)
    reviewed.git(tmp_path, "clone", "--quiet", "--branch", "added", str(project), "clone")
    shutil.move(project / ".dvc" / "config.local", tmp_path / "clone" / ".dvc" / "config.local")
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(DarkroomError, match="the cache lacks outputs"):
        review.review("origin/main")
    assert review.review("origin/main", fetch=True).verdict.outcome == "passes"
    shutil.rmtree(remote)  # nothing is missing any more
    assert review.review("origin/main", fetch=True).verdict.outcome == "passes"
    sizes = [path.stat().st_size for path in Path(".dvc/cache/files/md5").rglob("*") if path.is_file()]
    assert max(sizes) < (project / "data" / "packed" / "images.npy").stat().st_size / 2


@pytest.mark.parametrize(
    ("branch", "arguments", "message"),
    [
        ("main", [], r"nothing to review: the last commit \(\w{8}\) is part of main"),
        ("main", ["no-such"], "git knows no revision no-such"),
        ("main", ["--output=x"], "nothing to review"),
    ],
)
def test_what_cannot_be_compared_is_said(switch, branch, arguments, message):
    switch(branch)
    with pytest.raises(DarkroomError, match=message):
        call(*arguments)
    assert not Path("x").exists()


def test_an_unrelated_history_is_compared_only_if_it_is_named(switch, project, capsys):
    switch("worse")
    reviewed.git(project, "switch", "--quiet", "--orphan", "other")
    try:
        reviewed.git(project, "checkout", "better", "--", ".")
        reviewed.commit(project, "unrelated")
        with pytest.raises(DarkroomError, match=r"main and .* have no common history here: name the revision"):
            call()
        assert call("main") == 0
        assert "main, which has no common history with it" in capsys.readouterr().out
    finally:
        reviewed.git(project, "switch", "--quiet", "--force", "main")


def test_a_base_without_results_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkroomError, match="is not a git repository"):
        review.review()
    reviewed.start(tmp_path)
    reviewed.commit(tmp_path, "no results")
    reviewed.git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "none either")
    with pytest.raises(DarkroomError, match=r"has no dvc\.lock, so no results: run `dvc repro` there"):
        review.review("HEAD~1")
    reviewed.git(tmp_path, "branch", "--move", "trunk")
    with pytest.raises(DarkroomError, match=r"there is no branch to compare with .tried main, origin/main, master"):
        review.review()


def test_a_shallow_clone_says_how_to_get_the_history(switch, project, tmp_path, monkeypatch):
    switch("better")
    reviewed.git(tmp_path, "clone", "--quiet", "--depth=1", "--no-single-branch", f"file://{project}", "clone")
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(DarkroomError, match=r"origin/main and .* have no common history here: `git fetch --unshallow`"):
        review.review("origin/main")
    assert git.is_shallow()


def test_predictions_of_another_split_are_refused(switch):
    switch("better")
    path = Path(snapshots.CONFUSION)
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    with pytest.raises(DarkroomError, match=r"does not belong to its data/split\.csv \(84 predictions, 85 test"):
        review.review()


def test_copies_leaks_and_corrected_labels_are_found(switch, project):
    switch("better")
    base = take(project, "main")
    images = base.images.copy()
    tests = images.index[images["split"] == "test"]
    images.loc[tests[0], "leak"] = True
    images.loc[tests[1], "label"] = "frog" if images["label"][tests[1]] == "cat" else "cat"
    images.loc[tests[2], "split"] = "train"
    rows = [{"cluster": "0", "name": images["name"][row], "label": "cat", "copy": "exact", "conflict": "1",
             "split": "left out"} for row in tests[3:5]]  # fmt: skip
    copies = snapshots.pd.DataFrame(rows)
    head = snapshots.Snapshot(**{**vars(base), "images": images, "copies": copies})
    found = review.changes.data(base, head)
    assert found.any
    assert found.leaks["row"].tolist() == [tests[0]]
    assert found.relabelled["row"].tolist() == [tests[1]]
    assert found.relabelled["was"].tolist() == [base.images["label"][tests[1]]]
    assert found.moved == [("test", "train", 1)]
    assert found.copies["row"].tolist() == tests[3:5].tolist()
    common = paired.compare(base, head)
    assert (len(common.images), common.only_before, common.only_after) == (83, 2, 1)
    titles = [
        block.title for block in review.sections_data.data(found, base, head).blocks if isinstance(block, Gallery)
    ]
    assert [title.split(":")[0] for title in titles] == [
        "Images with another class than before", "New copies", "New leaks",
    ]  # fmt: skip


def test_decisions_about_labels_are_counted_and_shown(tmp_path, monkeypatch, capsys):
    reviewed.start(tmp_path)
    reviewed.write_data(tmp_path)
    reviewed.write_results(tmp_path, WRONG)
    reviewed.commit_data(tmp_path)
    reviewed.commit(tmp_path, "base")
    monkeypatch.chdir(tmp_path)
    cats = [record for record in packed.read_index(Path("data/packed")) if record.label == "cat"]
    news = ["frog"] * 3 + [""] * 2
    found = [Decision(cat.sha256, cat.name, "cat", new) for cat, new in zip(cats, news, strict=False)]
    decisions.write(Path("data/labels.csv"), [*found, Decision("f" * 64, "gone", "cat", "frog")])
    reviewed.write_data(tmp_path)
    reviewed.write_results(tmp_path, WRONG)
    reviewed.commit_data(tmp_path)
    call()
    printed = re.sub(" +", " ", capsys.readouterr().out)
    assert "| labels changed by decisions | 0 | 3 | +3 |" in printed
    assert "| images excluded by decisions | 0 | 2 | +2 |" in printed
    assert "| decisions about images that are not in the data | 0 | 1 | +1 |" in printed
    assert "Images with another class than before" in printed
    for cat in cats[:3]:
        assert re.search(rf"{re.escape(cat.name)} \| frog \| cat", printed), cat


def test_models_are_counted_once_and_on_the_present_test_images_alone(switch, project):
    switch("better")
    reviewed.git(project, "switch", "--quiet", "--create", "long")
    try:
        reviewed.write_results(project, range(3))
        reviewed.commit(project, "a third model")
        evaluation = Path(snapshots.EVALUATION).read_bytes()
        data = files.read_json(Path(snapshots.DATA))
        files.write_json(Path(snapshots.DATA), {**data, "test_hash": "other"})
        reviewed.write_results(project, range(4))
        reviewed.commit(project, "on other test images")
        files.write_json(Path(snapshots.DATA), data)
        Path(snapshots.EVALUATION).write_bytes(evaluation)
        reviewed.write_results(project, range(3))
        reviewed.commit(project, "the third again")
        reviewed.git(project, "update-ref", "refs/exps/aa/" + "b" * 38 + "/tried", "worse")
        found = take(project, "long")
        uses = test_uses.count(found.data, found.evaluation, found.revision.commit)
    finally:
        reviewed.git(project, "update-ref", "-d", "refs/exps/aa/" + "b" * 38 + "/tried")
        switch("main")
        reviewed.git(project, "branch", "--quiet", "-D", "long")
    assert uses == test_uses.Uses(models=4, commits=4, in_experiments=1, is_shallow=False)
    assert not uses.due


def test_its_paths_are_outputs_of_the_pipeline():
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    outputs = set()
    for stage in stages.values():
        body = stage.get("do", stage)
        for entry in [*body.get("outs", []), *body.get("metrics", [])]:
            outputs.add(next(iter(entry)) if isinstance(entry, dict) else entry)
    names = ("DATA", "EVALUATION", "COST", "ROBUSTNESS", "CONFUSION", "SPLIT", "COPIES", "SERVED", "BENTO")
    assert {getattr(snapshots, name) for name in names} <= outputs
    assert {str(Path(path).parent) for path in (snapshots.INDEX, snapshots.PIXELS)} <= outputs
    foreach = {name: body["foreach"] for name, body in stages.items() if "foreach" in body}
    assert foreach == {name: f"${{{section}}}" for name, section in snapshots.FOREACH.items()}


def test_changing_the_gate_reruns_nothing():
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items():
        body = stage.get("do", stage)
        assert not any(str(path).startswith("gate") for path in body.get("params", [])), name
        assert "params.yaml" not in body["deps"] or name == "validate"
        assert "src/darkroom/commands/settings.py" not in body["deps"] or name == "validate"


def test_the_workflow_needs_no_secrets_but_the_tokens_and_no_action_of_others():
    workflow = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "review.yml")
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    (job,) = workflow["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert [name.partition("@")[0] for name in used] == ["actions/checkout", "actions/setup-python"]
    pinned = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert all(name in pinned for name in used)
    for step in job["steps"]:  # no text of a pull request becomes a part of a command
        assert "${{" not in step.get("run", "")
        done = subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("candidates", "models"),
    [
        ({"net": {"test_accuracy": 0.98591, "test_macro_f1": 0.9}}, [("net", 0.9859, 0.9)]),
        ({"net": {"test": {"accuracy": 0.98591, "macro_f1": 0.9}, "seconds": 3.0}}, [("net", 0.9859, 0.9)]),
        ({"net": {"test": 3}, "other": 1}, []),
        (None, []),
    ],
)
def test_scores_of_older_versions_are_read_or_passed_over(candidates, models):
    assert list(test_uses._models({"candidates": candidates})) == models
