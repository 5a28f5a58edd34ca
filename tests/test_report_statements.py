"""Each statement of the report against the numbers, for every kind of project."""

import re
from dataclasses import replace

import pytest

from darkroom import balance, candidate
from darkroom.candidate_names import read_names
from darkroom.foundations import files
from darkroom.reporting import calibration, methods, sentences
from darkroom.reporting.facts import Facts, gather
from darkroom.reporting.rendering import render, render_model_card
from darkroom.reporting.settings import ReportSettings
from darkroom.reporting.wording import percent
from darkroom.test_uses import Uses
from tests import report_cases
from tests.test_stage_report import sources


@pytest.fixture(scope="module", params=report_cases.CASES)
def case(request, tmp_path_factory) -> tuple[str, Facts, str, str]:
    """Return a case's name, its facts, its report and its model card."""
    top = report_cases.write(tmp_path_factory.mktemp("case"), request.param)
    facts = gather(sources(top), read_names(top / "params.yaml"), ReportSettings(), "digits", seed=0)
    pictures = {path.stem for path in (top / "plots").rglob("*.png")} | {"explanations"}
    return request.param, facts, render(facts, pictures, "github"), render_model_card(facts)


def section(markdown: str, title: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    head = re.search(rf"^(#+) {re.escape(title)}.*$", markdown, re.MULTILINE)
    assert head, f"there is no {title!r}"
    rest = markdown[head.end() :]
    end = re.search(rf"^#{{1,{len(head[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def test_training_by_epochs_is_described_for_networks_that_had_any(case):
    _, facts, report, _ = case
    training = section(report, "Training")
    assert ("Optimiser" in training) == bool(facts.trained)
    assert ("Best epoch" in training) == bool(facts.trained)
    for entry in facts.probes:
        assert re.search(
            rf"^Only the last layers? of .*\b{re.escape(entry.card.name).replace('_', '._')} \(", training, re.M
        )
        (line,) = re.findall(rf"^- \*\*{re.escape(entry.card.name).replace('_', '._')}\*\*: .*$", report, re.M)
        assert not re.search(r"optimizer|schedule|batch|epochs|shift|learning", line)
    improved = [entry for entry in facts.trained if entry.card.best_epoch]
    assert ('"start" means' in training) == (0 < len(improved) < len(facts.trained))
    assert ("weights of the best epoch" in training) == bool(improved)
    assert ("pretrained weights" in training) == any(entry.card.kind == "transfer" for entry in facts.trained)
    assert ("random weights" in training) == any(entry.card.kind == "scratch" for entry in facts.trained)
    assert ("were augmented" in training) == bool(facts.best.card.epochs)


def test_what_the_validation_images_are_for_is_what_they_did(case):
    _, facts, report, card = case
    for text in (report, card):
        assert ("select the epoch to keep" in text) == bool(facts.trained)
        assert ("select the best network" in text) == (len(facts.networks) > 1)
        assert ("in folds with the training images, select the best network" in text) == (
            len(facts.networks) > 1 and facts.by_folds
        )
    assert ("were not used for this selection" in report) == (len(facts.networks) > 1)
    assert not facts.by_folds or "er validation accuracy" not in report


def test_the_majority_share_stands_beside_accuracy_where_classes_are_uneven(case):
    name, facts, report, card = case
    assert facts.uneven == (name == "uneven")
    for text in (report, card):
        assert ("always predicting cat" in text) == facts.uneven
    if facts.uneven:
        share = facts.data["per_class"]["cat"]["test"] / facts.data["test"]
        assert facts.majority.accuracy == share
        for text in (section(report, "Summary"), section(report, "Results"), card):
            assert f"{share:.1%}" in text
        assert sentences.headline(facts).index("macro F1") < sentences.headline(facts).index("accuracy")
        for table in (section(report, "Results"), section(card, "Performance")):
            assert table.lower().index("macro f1 |") < table.lower().index("accuracy |")


def test_the_majority_share_stands_in_every_table_and_sentence_about_accuracy(case):
    _, facts, _, _ = case
    side = {"accuracy": 0.9, "bytes": 1_000_000, "milliseconds": 0.5}
    tried = {"float32": side, "int8": side, "largest_difference": 0.1, "max_loss": 0.02, "accepted": True}
    corrupted = {"images": 20, "clean_accuracy": 0.9, "corruptions": {"fog": 0.8}}
    corrupted |= {f"mean_corruption_accuracy{end}": 0.8 for end in ("", "_low", "_high")}
    facts = replace(facts, quantization=tried, robustness=corrupted)
    report, card = render(facts, set(), "github"), render_model_card(facts)
    share = {}
    for part in ("validation", "test"):
        sizes = [splits[part] for splits in facts.data["per_class"].values()]
        share[part] = max(sizes) / sum(sizes)
    integers = section(report, "Quantisation")
    kinds = section(report, "Accuracy by slice") if facts.slices else ""
    assert (f"| always predicting cat | {share['validation']:.1%} | | | |" in integers) == facts.uneven
    assert ("| Always predicting cat |" in kinds) == facts.uneven
    sentence = f"Always predicting cat would reach {share['test']:.1%} on all test images."
    for text in (section(report, "Robustness"), card):
        assert (sentence in text) == facts.uneven
    rows = [line.strip("|").split("|") for line in kinds.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} <= {6 if facts.uneven else 5}
    if facts.uneven:
        thirds = [(int(row[2].replace(",", "")), row[5]) for row in rows[2:] if row[0].strip() == "brightness"]
        cats = sum(images * float(cell.strip(" %")) / 100 for images, cell in thirds)
        assert cats == pytest.approx(facts.data["per_class"]["cat"]["test"], abs=0.5)


def test_every_class_with_few_test_images_is_named_or_counted(case):
    _, facts, _, card = case
    small = {row.name for row in facts.classes if row.support < balance.FEW}
    lines = [line for line in sentences.limits(facts) if "fewer than 30 test images" in line]
    assert len(lines) == bool(small)
    for line in lines:
        assert line in card
        named = re.findall(r"([\w ]+?) \((\d+)\)", line.split(": ")[-1].replace(" and ", ", "))
        supports = {row.name: row.support for row in facts.classes}
        assert all(supports[name.strip()] == int(images) for name, images in named)
        rest = re.search(r"and ([\d,]+) more", line)
        assert len(named) + int(rest[1] if rest else 0) in (len(small), 0)
        assert named or f"All {len(small)} classes" in line
        assert line.startswith("All ") == (len(small) == len(facts.classes))


def test_answers_are_called_correct_or_wrong_if_there_are_any(case):
    _, facts, report, _ = case
    explained = section(report, "Explanations")
    assert ("wrong" in explained) == bool(facts.confusions)
    assert ("correct" in explained) == (facts.best.test["accuracy"] > 0)


def test_what_is_advised_suits_the_case(case):
    _, facts, report, _ = case
    advice = section(report, "Next steps")
    scratch = any(entry.card.kind == "scratch" for entry in facts.networks)
    assert ("scratch=${zoo}" in advice) == (scratch and facts.data["image_size"] <= 64)
    assert ("+transfer." in advice) != ("scratch=${zoo}" in advice)
    key = "macro_f1" if facts.uneven else "accuracy"
    leads = any(getattr(facts.bar, part)[key] > getattr(facts.best, part)[key] for part in ("validation", "test"))
    assert ("Try to improve" in advice) == leads
    assert "luck of training" not in report


def test_intervals_are_said_to_come_from_where_they_come_from(case):
    _, facts, report, _ = case
    test = facts.best.test
    areas = [test[name] for name in ("roc_auc", "average_precision") if f"{name}_low" in test]
    assert ("jackknife" in report) == any(value not in (0, 1) for value in areas)
    assert ("ROC AUC and average precision have no interval" in report) == ("roc_auc_low" not in test)
    assert ("Macro F1 has no interval" in report) == ("macro_f1_low" not in test)
    few = sum(row.support < 5 for row in facts.classes)
    assert ("macro_f1_low" not in test) == (few > len(facts.classes) / 2)


def test_what_is_compared_and_selected_is_named_truly(case):
    _, facts, report, card = case
    name = facts.best.card.name.replace("_", "\\_")
    for text in (report, card):
        assert "is the only network" not in text
        assert f"{name} {name}" not in text
        assert ("of the two networks" in text.lower() or "both networks" in text.lower()) == (not facts.single)
    assert f"Compared with {name} |" in report
    assert "the best |" not in report
    assert ("### Mistakes" in report) == ("mistakes are orange" in report) == bool(facts.confusions)
    single = all(item.count == 1 for item in facts.confusions)
    assert ("most frequent mistake" in report) == (bool(facts.confusions) and not single)
    assert ("The diagrams show" in report) == (len(facts.architectures) > 1)
    assert not re.search(r"\b1 (networks|files|images)\b", report)
    assert not [line for line in report.splitlines() if ", Figure" in line and " and Figure" not in line]


def test_the_temperature_and_the_mean_confidence_do_not_contradict_each_other(case):
    _, facts, report, card = case
    best = facts.best
    against = abs(best.overconfidence) > calibration.TOLERANCE and (best.overconfidence > 0) != (best.temperature > 1)
    for text in (report, card):
        assert ("raises its confidence" in text) == (best.temperature < 0.995)
        assert ("lowers its confidence" in text) == (best.temperature >= 1.005)
        assert ("nonetheless" in text) == against


def test_scores_are_not_rounded_to_perfection_and_slices_are_not_tiny(case):
    _, facts, report, card = case
    for text in (report, card):
        for label, key in (("ROC AUC, one-vs-rest", "roc_auc"), ("macro F1", "macro_f1"), ("Cohen's kappa", "kappa")):
            (value,) = re.findall(rf"^\| {label} \| (\S+) \|", text, re.M)
            assert (value == "1.000") == (facts.best.test[key] == 1)
            assert "-" not in value
    slices = section(report, "Accuracy by slice") if "### Accuracy by slice" in report else ""
    counts = [int(line.split("|")[3]) for line in slices.splitlines() if re.match(r"\| (bright|contr|sharp)", line)]
    assert all(count >= 10 for count in counts)
    assert bool(counts) == (facts.data["test"] >= 20)


def test_only_scores_that_can_be_lower_are_expected_to_be(case):
    _, facts, report, card = case
    for text in (report, card):
        assert ("lower scores should be expected" in text) == (
            facts.best.test["accuracy_low"] > facts.majority.accuracy
        )


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"digits": 0.5, "noise": 0.5, "plain": 0.1}, "50% of digits, 50% of images of noise and 10% of plain"),
        ({"digits": 0.6, "noise": 0.5}, "60% of digits and 50% of images of noise"),
        ({"digits": 0.0, "noise": 0.0}, "none gets a confident prediction"),
    ],
)
def test_all_kinds_of_out_of_distribution_images_are_named(case, shares, expected):
    _, facts, _, _ = case
    if facts.best.thresholds is None or facts.selective is None:
        pytest.skip("no thresholds were fitted")
    selective = facts.selective | {
        "out_of_distribution": {kind: {"confident": share} for kind, share in shares.items()}
    }
    assert expected in sentences.abstention(replace(facts, selective=selective))[-1]


@pytest.mark.parametrize(
    ("score", "words"),
    [
        ("max_probability", "This was set on"),
        ("energy", "unless the energy of its logits indicates that the image"),
        ("neighbors", "unless the distance of its features from those of the nearest training images indicates that"),
        ("neighbors_energy", "unless the energy of its logits and the distance of its features from those of the"),
    ],
)
def test_the_score_that_decides_is_named(case, score, words):
    _, facts, _, _ = case
    if facts.best.thresholds is None or facts.selective is None:
        pytest.skip("no thresholds were fitted")
    best = replace(facts.best, thresholds=facts.best.thresholds | {"score": score})
    first = sentences.abstention(replace(facts, best=best))[0]
    assert words in first
    assert ("unless" in first) is (score != "max_probability")


def test_the_report_names_the_tree_as_it_is(case):
    _, facts, _, _ = case
    clean = replace(facts, commit="c0ffee", changed=[], remade=[])
    assert "uncommitted" not in sentences.tree(clean)
    assert "differ" not in sentences.tree(clean)
    both = sentences.tree(replace(clean, changed=["params.yaml"], remade=["metrics/data.json", "plots/per_class.csv"]))
    assert "uncommitted changes to params.yaml" in both
    assert "metrics/data.json and plots/per_class.csv differ" in both
    assert "commit" not in sentences.tree(replace(facts, commit=""))


@pytest.mark.parametrize(
    ("given", "statement"),
    [
        ("cc-by-nc-4.0", "Licence of the pretrained weights of mobilenet_v2 (timm/m.in1k@0123456): cc-by-nc-4.0."),
        (
            "",
            "No licence is known for the pretrained weights of mobilenet_v2 (timm/m.in1k@0123456): ask their publisher",
        ),
        (None, ""),
    ],
)
def test_the_licence_of_pretrained_weights_is_in_the_report_and_in_the_card(tmp_path, given, statement):
    top = report_cases.write(tmp_path, "tiny")
    path = top / "models" / "candidates" / "only"
    card = candidate.read_card(path)
    training = (
        card.training | {"weights": "timm/m.in1k@0123456"} | ({} if given is None else {"weights_licence": given})
    )
    network = {"architecture": "mobilenet_v2"}
    candidate.write_card(path, replace(card, kind="transfer", network=network, training=training))
    facts = gather(sources(top), read_names(top / "params.yaml"), ReportSettings(), "digits", seed=0)
    parts = section(render(facts, set(), "github"), "Training"), section(render_model_card(facts), "Licence")
    for text in (part.replace("\\", "") for part in parts):
        assert statement in text
        assert ("icence of the pretrained weights" in text) == bool(given)
        assert ("No licence is known" in text) == (given == "")


@pytest.mark.parametrize(
    ("kept", "verdict", "tuned", "probe"),
    [(False, "discarded", 1, 0), (True, "kept", 0, -1)],
)
def test_the_report_says_whether_fine_tuning_was_kept_with_both_accuracies(tmp_path, kept, verdict, tuned, probe):
    top = report_cases.write(tmp_path, "tiny")
    path = top / "models" / "candidates" / "only"
    card = candidate.read_card(path)
    found = {"epochs": 4, "gained": 2, "lost": 1, "kept": kept}
    candidate.write_card(path, replace(card, kind="transfer", training=card.training | {"fine_tuning": found}))
    facts = gather(sources(top), read_names(top / "params.yaml"), ReportSettings(), "digits", seed=0)
    count = facts.data["validation"]
    right = round(facts.best.validation["accuracy"] * count)
    assert (
        f"only was also fine-tuned for 4 epochs, and the result was {verdict}: on the validation images, the "
        f"fine-tuned network has an accuracy of {percent((right + tuned) / count)} and the last layer alone "
        f"{percent((right + probe) / count)}."
    ) in section(render(facts, set(), "github"), "Training").replace("\\", "")


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        (
            Uses(models=3, commits=2, in_experiments=0, is_shallow=False),
            r"^3 distinct models have .* history\. From 25",
        ),
        (
            Uses(models=1, commits=1, in_experiments=0, is_shallow=True),
            r"^1 distinct model has .* shallow clone knows\.",
        ),
        (
            Uses(models=20, commits=9, in_experiments=5, is_shallow=False),
            r"^25 .* experiments\. New test images are due",
        ),
        (None, ""),
    ],
)
def test_how_often_the_test_images_were_used(case, uses, expected):
    _, facts, _, _ = case
    counted = replace(facts, uses=uses)
    assert re.search(expected, " ".join(methods.test_images(counted)))
    assert ("on these test images" in render(counted, set(), "github")) == (uses is not None)


def test_the_present_models_count_before_they_are_committed(case):
    _, facts, _, _ = case
    assert facts.uses is not None
    distinct = {(entry.card.name, entry.test["accuracy"], entry.test["macro_f1"]) for entry in facts.entries}
    assert facts.uses.models == len(distinct)
    assert facts.uses.commits == 0  # test images that were never committed


def test_a_set_without_a_licence_has_no_empty_sentence_about_it(tmp_path):
    top = report_cases.write(tmp_path, "tiny")
    data = top / "metrics" / "data.json"
    files.write_json(data, files.read_json(data) | {"licence": ""})
    facts = gather(sources(top), read_names(top / "params.yaml"), ReportSettings(), "digits", seed=0)
    assert facts.title == "Image classification: Noisy patterns"
    assert "no licence" in render_model_card(facts)
    assert candidate.read_folds(top / "models" / "candidates" / "only") is None
