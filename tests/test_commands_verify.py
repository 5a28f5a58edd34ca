"""`darkroom verify` finds what was edited after a run; the rebuild itself is in test_commands_verify_rebuild.py."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from starlette.datastructures import State

from darkroom.commands import main
from darkroom.commands.review.revisions import Revision
from darkroom.commands.verify import comparison, machine, rebuilding, verify
from darkroom.foundations import files
from darkroom.foundations.errors import DarkroomError
from darkroom.serving import proofs, routes, served
from tests import factories_serving, reviewed
from tests.imports import ROOT

pytestmark = pytest.mark.filterwarnings(
    "ignore:_NoneStep.value:DeprecationWarning"
)  # DVC's, in its own process elsewhere
REBUILT = "rebuilt although the files do not belong together"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Return a repository with committed results of a small model."""
    top = tmp_path_factory.mktemp("verify") / "project"
    top.mkdir()
    reviewed.start(top)
    for name in ("src/code.py", "stages/code.py"):
        files.write_text(top / name, "")
    shutil.copyfile(ROOT / "requirements.txt", top / "requirements.txt")
    reviewed.write_data(top, per_class=40)
    reviewed.write_results(top, wrong={1, 2})
    files.write_json(top / "models" / "candidates" / "net" / "card.json", {"environment": {"precision": "float32"}})
    reviewed.commit_data(top)
    reviewed.commit(top, "results")
    return top


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """Return a copy of the template, the current folder, in which a rebuild fails the test."""
    top = tmp_path / "project"
    shutil.copytree(template, top, symlinks=True)
    monkeypatch.chdir(top)

    def refuse(*_: object) -> None:
        raise AssertionError(REBUILT)

    monkeypatch.setattr(rebuilding, "clone", refuse)
    return top


def edit(path, before, after):
    path.chmod(0o644)
    text = path.read_text("utf-8")
    assert before in text
    path.unlink()  # it may be a link to DVC's cache
    path.write_text(text.replace(before, after, 1), "utf-8")


def tamper_metric(top):
    edit(top / "metrics" / "evaluation.json", '"test_ece": 0.01', '"test_ece": 0.001')


def tamper_parameter(top):
    edit(top / "params.yaml", "learning_rate: 0.1", "learning_rate: 0.2")


def tamper_split(top):
    edit(top / "data" / "split.csv", "train", "test")


def tamper_test_images(top):
    path = top / "data" / "test_images.json"
    content = files.read_json(path)
    content["images"].pop()
    files.write_json(path, content)


def tamper_model(top):
    edit(top / "models" / "candidates" / "net" / "card.json", "float32", "float16")


def tamper_lock(top):
    digest = next(entry["md5"] for entry in lock(top)["pack"]["outs"])
    edit(top / "dvc.lock", digest, "0" * 32 + ".dir")


def tamper_packages(top):
    edit(top / "requirements.txt", "\ndvc==", "\ndvc==0.")


def tamper_command(top):
    edit(top / "dvc.yaml", "pack: {cmd: 'true'", "pack: {cmd: 'false'")


def lock(top):
    return YAML(typ="safe").load(top / "dvc.lock")["stages"]


@pytest.mark.parametrize(("tamper", "words"), [
    (tamper_metric, "metrics/evaluation.json is not the result that dvc.lock records"),
    (tamper_parameter, "params.yaml: scratch.net.learning_rate is 0.2, and the results were made with 0.1"),
    (tamper_split, "data/split.csv is not the result that dvc.lock records"),
    (tamper_test_images, "data/test_images.json is not the result that dvc.lock records"),
    (tamper_model, "models/candidates/net is not the result that dvc.lock records"),
    (tamper_lock, "data/packed is not the result that dvc.lock records"),
    (tamper_packages, "requirements.txt: dvc "),
    (tamper_command, "dvc.yaml: the stage pack has another command than in dvc.lock"),
])  # fmt: skip
def test_what_was_edited_after_the_run_is_named_without_a_rebuild(project, capsys, tamper, words):
    tamper(project)
    reviewed.git(project, "add", "--all")
    if reviewed.git(project, "status", "--porcelain"):
        reviewed.git(project, "commit", "--quiet", "--message", "tampered")
    with pytest.raises(SystemExit) as end:
        main.run(["verify"])
    assert end.value.code == 1
    assert any(line.startswith(f"  {words}") for line in capsys.readouterr().out.splitlines())
    proof = files.read_json(project / "verification" / "proof.json")
    assert proof["verdict"] == "differs"
    assert len({each.split()[0] for each in proof["differences"]}) == 1
    assert proofs.read(project / "verification", proof["model"]["version"] or "any") is None


def test_a_commit_without_changes_is_rebuilt(project):
    with pytest.raises(AssertionError, match=REBUILT):
        verify.verify()
    assert not (project / "verification").exists()


def test_a_folder_cannot_be_the_proof(project, tmp_path):
    with pytest.raises(DarkroomError, match=r"--output .* is a folder: name a file, such as .*proof\.json"):
        verify.verify(tmp_path)


def test_changed_files_are_refused_because_a_commit_is_verified(project):
    tamper_metric(project)
    words = r"a commit is verified, and these files differ from it: metrics/evaluation.json. Commit or restore them"
    with pytest.raises(DarkroomError, match=words):
        verify.verify()
    reviewed.git(project, "checkout", "--quiet", ".")
    files.write_json(project / "verification" / "proof.json", {})  # of an earlier verification
    reviewed.commit(project, "proof")
    files.write_json(project / "verification" / "proof.json", {"newer": True})
    with pytest.raises(AssertionError, match=REBUILT):
        verify.verify()


def compared(project, **options):
    """Compare the commit with a rebuild that gave what is in the workspace."""
    revision = Revision(reviewed.git(project, "rev-parse", "HEAD"))
    arguments = {"exact": True, "precision": "float32", "bento": True, "stages": list(revision.stages), **options}
    return comparison.compare(revision, project, **arguments)


def test_a_rebuild_that_gives_the_same_agrees(project):
    found = compared(project)
    assert found.differences() == []
    assert found.metrics["metrics/evaluation.json"]["best.test_accuracy"].tolerance == 0
    assert found.metrics["metrics/cost.json"]["milliseconds"].tolerance is None
    assert {"data/packed", "data/split.csv", "metrics/evaluation.json", "models/best.json"} <= set(found.outputs)


def test_outputs_of_former_stages_are_not_rebuilt_and_not_compared(project):
    assert "data/packed" in compared(project).outputs
    assert "data/packed" not in compared(project, stages=["split", "evaluate"]).outputs


def test_a_consistent_forgery_of_metric_and_lock_is_found_by_the_rebuild(project):
    tamper_metric(project)
    reviewed.commit_data(project)
    reviewed.commit(project, "forged")
    edit(project / "metrics" / "evaluation.json", '"test_ece": 0.001', '"test_ece": 0.01')  # what the rebuild gives
    reviewed.commit_data(project)
    first, second = compared(project).differences()
    assert first == "metrics/evaluation.json: best.test_ece is 0.001, and the rebuild gives 0.01"
    assert second.startswith("metrics/evaluation.json: dvc.lock has MD5 ")


def test_other_processors_may_differ_within_the_tolerance_and_no_further(project):
    before = files.read_json(project / "metrics" / "evaluation.json")
    allowed = comparison.tolerance("best.test_log_loss", "float32")
    assert allowed > 0
    for factor, agrees in ((0.99, True), (1.01, False)):
        before["best"]["test_log_loss"] += factor * allowed
        files.write_json(project / "metrics" / "evaluation.json", before)
        found = compared(project, exact=False)
        assert (found.differences() == []) is agrees
        before["best"]["test_log_loss"] -= factor * allowed
    assert found.differences()[0].endswith(f"(tolerance: {allowed:.4g})")
    assert len(compared(project).differences()) == 1  # on the same machine, none of it is allowed


def test_another_processor_may_select_another_candidate_but_no_unknown_network(project):
    path = project / "metrics" / "evaluation.json"
    content = files.read_json(path)
    for name, agrees in (("baseline", True), ("other", False)):
        content["best"]["name"] = name
        files.write_json(path, content)
        files.write_json(project / "metrics" / "cost.json", {"megabytes": 9, "milliseconds": 1})
        assert (compared(project, exact=False).differences() == []) is agrees
        assert compared(project).differences() != []


@pytest.mark.parametrize("name", ["data.json", "evaluation.json"])
def test_a_count_or_a_hash_has_no_tolerance(project, name):
    path = project / "metrics" / name
    content = files.read_json(path)
    if name == "data.json":
        content["test_hash"] = "0" * 64
    else:
        del content["candidates"]["net"]
    files.write_json(path, content)
    assert compared(project, exact=False).differences()


def test_predictions_that_changed_are_compared_even_if_no_metric_shows_them(project):
    edit(project / "plots" / "confusion.csv", "frog", "cat")
    assert any("plots/confusion.csv" in each for each in compared(project).differences())


def test_tolerances_are_a_multiple_of_what_was_measured():
    for kind, largest in comparison.LARGEST.items():
        assert largest > 0
        assert comparison.tolerance(kind, "float32") == pytest.approx(comparison.MULTIPLE * largest)
        assert comparison.tolerance(kind, "bfloat16") > comparison.tolerance(kind, "float32")
    assert comparison.tolerance("images", "float32") == 0


def test_a_damaged_cache_is_named_before_anything_is_rebuilt(project, tmp_path):
    raw = project / "data" / "raw"
    (raw / "photos.zip").parent.mkdir()
    (raw / "photos.zip").write_bytes(b"photos")
    pipeline = project / "dvc.yaml"
    pipeline.write_text(
        pipeline.read_text("utf-8").replace("stages:", "stages:\n  download: {cmd: 'true', outs: [data/raw]}")
    )
    reviewed.commit_data(project)
    revision = Revision(reviewed.commit(project, "raw data"))
    assert rebuilding.bring_raw(revision, tmp_path / "good")
    assert (tmp_path / "good" / "data" / "raw" / "photos.zip").read_bytes() == b"photos"

    stored = revision.cached("data/raw/photos.zip", project / ".dvc/cache/files/md5")
    stored.chmod(0o644)
    stored.write_bytes(b"others")
    with pytest.raises(
        DarkroomError, match=r"data/raw/photos.zip in DVC's cache is not the file that dvc.lock records"
    ):
        rebuilding.bring_raw(revision, tmp_path / "bad")
    stored.unlink()
    assert not rebuilding.bring_raw(revision, tmp_path / "none")  # downloaded again


@pytest.mark.parametrize(("content", "valid"), [
    ({"verdict": "verified", "model": {"version": "abc"}}, True),
    ({"verdict": "verified", "model": {"version": "other"}}, False),
    ({"verdict": "differs", "model": {"version": "abc"}}, False),
    ({"verdict": "verified"}, False),
    ([], False),
])  # fmt: skip
def test_a_proof_counts_only_for_its_own_model(tmp_path, content, valid):
    files.write_json(tmp_path / "proof.json", content)
    assert (proofs.read(tmp_path, "abc") is not None) is valid
    assert proofs.read(tmp_path, "") is None
    assert proofs.read(tmp_path / "none", "abc") is None


def test_info_shows_the_proof_of_the_served_model_and_no_other(tmp_path):
    top = factories_serving.write_served(tmp_path)
    version = served.read(top / served.FOLDER).version
    for named in (version, "other"):
        files.write_json(top / "verification" / "proof.json", {"verdict": "verified", "model": {"version": named}})
        state = State()
        routes.load(state, top)
        state.model.close()
        assert (state.info["proof"] is not None) is (named == version)


def test_threads_are_those_of_the_recorded_results_if_there_are_as_many_cores(monkeypatch):
    monkeypatch.setattr(machine.machine, "usable", lambda: 4)
    assert machine.settings({"threads": "2"}) == {"OMP_NUM_THREADS": "2"}
    assert machine.settings({"threads": "8"}) == machine.settings(None) == machine.settings({"threads": "x"}) == {}


def test_the_names_of_outputs_are_those_of_dvc_yaml():
    stages = YAML(typ="safe").load(Path(ROOT / "dvc.yaml"))["stages"]
    assert stages[rebuilding.DOWNLOAD]["outs"] == [rebuilding.RAW]
    assert rebuilding.PREVIOUS in set(rebuilding._uncached(ROOT / "dvc.yaml")) | {rebuilding.PREVIOUS}
    assert "metrics/evaluation.json" in set(rebuilding._uncached(ROOT / "dvc.yaml"))
    assert rebuilding.PREVIOUS not in set(rebuilding._uncached(ROOT / "dvc.yaml"))
    outputs = {
        name
        for stage in stages.values()
        for entry in [*stage.get("do", stage).get("outs", []), *stage.get("do", stage).get("metrics", [])]
        for name in (entry if isinstance(entry, dict) else [entry])
    }
    assert rebuilding.PREVIOUS in outputs
    compared = {name for name in outputs if comparison._is_compared(name, exact=True, bento=True)}
    assert {
        "data/packed",
        "models/served",
        "plots/confusion.csv",
        "dist/darkroom.bento",
        "models/best.json",
    } <= compared
    assert "models/pretrained/${key}" in compared
    assert "metrics/cost.json" not in compared
