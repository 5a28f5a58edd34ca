"""The presentation: the content of the report, one idea per slide, with speaker notes."""

from pathlib import Path

from pptx.enum.text import MSO_ANCHOR
from pptx.util import Inches, Pt

from darkroom.foundations import naming
from darkroom.reporting import course, insights, sentences, wording
from darkroom.reporting import deck as look
from darkroom.reporting.deck import BLUE, HEIGHT, INK, LEFT, MUTED, TOP, Deck
from darkroom.reporting.facts import Entry, Facts
from darkroom.reporting.rendering import TEMPLATES
from darkroom.reporting.wording import chance, count, duration, listing, percent

ROWS = 7
"""Largest number of models in the table on a slide."""
MAX_STEPS = 13
"""Largest number of layers in the table on a slide."""


def write_slides(facts: Facts, figures: dict[str, Path], path: Path) -> None:
    """Write a presentation of 10 to 14 slides; `figures` are PNG files by name.

    Its layouts and fonts are those of `templates/slides.pptx`, which PowerPoint and LibreOffice can edit.
    """
    deck = Deck(TEMPLATES / "slides.pptx", figures)
    _opening(deck, facts)
    _data(deck, facts)
    _models(deck, facts)
    _results(deck, facts)
    _confidence(deck, facts)
    _closing(deck, facts)
    deck.save(path, facts.title, facts.author)


def shown(facts: Facts) -> list[Entry]:
    """Return the models that fit on a slide: the baseline, the best, and the next ones by validation accuracy."""
    others = [entry for entry in facts.networks if entry is not facts.best]
    others.sort(key=lambda entry: -entry.validation["accuracy"])
    return [facts.bar, facts.best, *others][:ROWS]


def _of(facts: Facts, part: list[Entry]) -> str:
    return f" ({len(part)} of {len(facts.entries)})" if len(part) < len(facts.entries) else ""


def _opening(deck: Deck, facts: Facts) -> None:
    summary = sentences.summary(facts)
    notes = "\n".join(filter(None, summary))
    slide = deck.add(facts.title, notes, "Title Slide")
    dataset = facts.data["dataset"] if facts.data["dataset"] not in facts.title else ""
    slide.placeholders[1].text = naming.escape(" · ".join(filter(None, (dataset, facts.author))))
    best = facts.best
    slide = deck.add("Summary", notes)
    big = slide.shapes.add_textbox(LEFT, TOP, Inches(2.9), HEIGHT).text_frame
    big.word_wrap, big.vertical_anchor = True, MSO_ANCHOR.MIDDLE
    label = f"accuracy on {count(facts.data['test'], 'test image')}"
    interval = (wording.interval(best.test, "accuracy"), 12, MUTED, False)
    parts = [(percent(best.test["accuracy"]), 48, BLUE, True), (label, 16, INK, False), interval]
    if facts.uneven:
        parts = [
            (wording.score(best.test["macro_f1"]), 48, BLUE, True),
            ("macro F1", 16, INK, False),
            (f"{percent(best.test['accuracy'])} {label}", 16, INK, False),
            interval,
            (f"{sentences.majority(facts)}: {percent(facts.majority.accuracy)}", 12, MUTED, False),
        ]
    for place, (words, size, colour, bold) in enumerate(parts):
        paragraph = big.paragraphs[0] if not place else big.add_paragraph()
        run = paragraph.add_run()
        run.text, run.font.size, run.font.color.rgb, run.font.bold = naming.escape(words), Pt(size), colour, bold
    look.text(slide, list(filter(None, [*summary[:2], *summary[3:]])), Inches(3.5), Inches(6.0))


def _data(deck: Deck, facts: Facts) -> None:
    data = facts.data
    total = f"{count(data['images'], 'image')} in {count(data['classes'], 'class', 'classes')}"
    lines = [
        f"{data['dataset']}: {total}, {data['image_size']} × {data['image_size']} pixels",
        *(
            f"{name}: {data[name]:,} ({percent(data[name] / data['images'])})"
            for name in ("train", "validation", "test")
        ),
    ]
    if data["imbalance"] >= 1.05:
        lines.append(
            f"The largest class has {wording.rounded(data['imbalance'], 1)} times as many images as the smallest"
        )
    found = [
        (
            data["copies"] + data["near_copies"],
            "copy, kept in the same split as its original",
            "copies, kept in the same split as their originals",
        ),
        (data["broken"], "file that could not be read", "files that could not be read"),
        (
            data["leaks"],
            "test image that the source repeats in another split",
            "test images that the source repeats in other splits",
        ),
        (
            data.get("scene_leaks", 0),
            "test image whose scene is also among the training images",
            "test images whose scenes are also among the training images",
        ),
    ]
    lines += [count(number, one, several) for number, one, several in found if number]
    licence = f" Licence: {data['licence']}." if data["licence"] else ""
    slide = deck.add("The data", f"Source: {data['source']}.{licence} Each row shows images of one class.")
    deck.figure(slide, "samples", LEFT, Inches(4.6), HEIGHT)
    look.text(slide, lines, Inches(5.3), Inches(4.2))
    slide = deck.add(
        "The data splits",
        f"The training images are used to fit the weights, the validation images to {course.validation_use(facts)}. "
        "The test images are used only for the final evaluation of each model.",
    )
    deck.figure(slide, "classes")


def _models(deck: Deck, facts: Facts) -> None:
    _layers(deck, facts)
    training = facts.best.card.training
    lines = [course.training(entry) for entry in shown(facts)[1:]]
    notes = [f"{name} {training[key]}" for name, key in _RECIPE if key in training]
    how = ", ".join(notes) if facts.best.card.epochs and notes else "only the last layer was fitted, without epochs"
    curves = "learning_curves" in deck.figures
    improved = any(entry.card.best_epoch for entry in facts.trained)
    dots = " Dots mark the epochs whose weights were kept." if curves and improved else ""
    slide = deck.add("Training", f"{facts.best.card.name}: {how}.{dots}")
    if curves:
        deck.figure(slide, "learning_curves", LEFT, Inches(5.6), HEIGHT)
        look.text(slide, lines, Inches(6.3), Inches(3.2), 14)
    else:
        look.text(slide, lines)


def _described(entry: Entry) -> str:
    """Return the architecture with the name of the model, unless it begins with it."""
    name, architecture = entry.card.name, entry.card.architecture
    return architecture if architecture.startswith(name) else f"{name}: {architecture}"


def _duration(entry: Entry) -> str:
    return duration(entry.card.seconds)


def _layers(deck: Deck, facts: Facts) -> None:
    """Show the layers of the best network: as a table if they fit into one, else as a diagram."""
    card, steps = facts.best.card, facts.best.steps
    for number, alike in enumerate(facts.architectures, 1):
        if facts.best in alike:
            names = listing([entry.card.name for entry in alike])
            shared = f" Networks with this architecture: {names}." if len(alike) > 1 else ""
            slide = deck.add(
                f"Architecture of {card.name}",
                f"The input at the top is an RGB image of {card.image_size} × {card.image_size} pixels. The network "
                f"has {card.parameters:,} parameters.{shared}",
            )
            if len(steps) <= MAX_STEPS:
                rows = [(step.title, step.shape, f"{step.parameters:,}" if step.parameters else "") for step in steps]
                look.table(slide, ("Layer", "Output", "Parameters"), rows, (5, 2, 1.5))
            else:
                deck.figure(slide, f"architecture_{number}")


_RECIPE = (
    ("optimiser", "optimizer"),
    ("learning rate", "learning_rate"),
    ("schedule", "schedule"),
    ("batch size", "batch_size"),
    ("weight decay", "weight_decay"),
)


def _star(entry: Entry, facts: Facts) -> str:
    return f"{entry.card.name} ★" if entry is facts.best else entry.card.name


def _results(deck: Deck, facts: Facts) -> None:
    part, best = shown(facts), facts.best
    slide = deck.add(
        f"Accuracy on {count(facts.data['test'], 'test image')}",
        f"{sentences.headline(facts)} {sentences.verdict(facts)} {sentences.leaks(facts)}".strip(),
    )
    deck.figure(slide, "accuracy")
    slide = deck.add(
        f"The models and their scores{_of(facts, part)}",
        f"The last column compares each model with {best.card.name} on the same images; "
        f"{sentences.significance(facts)}. " + ". ".join(map(_described, part)) + ".",
    )
    rows = []
    for entry in part:
        test, versus = entry.test, entry.versus_best
        comparison = f"{versus['verdict']}, {chance(versus['p_value'])}" if versus else "–"
        low, high = percent(test["accuracy_low"]), percent(test["accuracy_high"])
        scores = (wording.score(test["macro_f1"]), percent(test["accuracy"]), f"{low}\u00a0–\u00a0{high}", comparison)
        rows.append((_star(entry, facts), f"{entry.card.parameters:,}", _duration(entry), *scores))
    if facts.uneven:
        always = facts.majority
        rows.append((f"always {always.name}", "", "", wording.score(always.macro_f1), percent(always.accuracy), "", ""))
    header = (
        "Model",
        "Parameters",
        "Training",
        "Macro F1",
        "Accuracy",
        "95% interval",
        f"Compared with {best.card.name}",
    )
    look.table(slide, header, rows, (1.9, 1.15, 1.15, 0.95, 1.0, 1.75, 2.0))
    mistakes = [f"Classified {sentences.mistake(facts, item)}" for item in facts.confusions[:5]]
    slide = deck.add(
        f"{'Mistakes' if facts.confusions else 'Predictions'} of {best.card.name}",
        "Rows are actual classes, columns predicted classes. Correct predictions are blue"
        + (", mistakes orange." if facts.confusions else "."),
    )
    deck.figure(slide, "confusion", LEFT, Inches(4.9), HEIGHT)
    look.text(
        slide, mistakes or [f"No mistakes on {count(facts.data['test'], 'test image')}"], Inches(5.7), Inches(3.8)
    )
    if "mistakes" in deck.figures:
        slide = deck.add("The most confident mistakes", "Mistakes with the highest predicted probability.")
        deck.figure(slide, "mistakes")


def _confidence(deck: Deck, facts: Facts) -> None:
    abstention = sentences.abstention(facts)
    slide = deck.add(
        "Calibration and confident predictions", f"{sentences.calibration(facts)} {' '.join(abstention)}".strip()
    )
    deck.figure(slide, "reliability", LEFT, Inches(4.3), HEIGHT)
    look.text(slide, [sentences.calibration(facts), *abstention[1:]], Inches(5.0), Inches(4.5), 14)
    if facts.robustness and "robustness" in deck.figures:
        slide = deck.add("Robustness to corrupted images", sentences.robustness(facts))
        deck.figure(slide, "robustness", LEFT, Inches(5.4), HEIGHT)
        look.text(slide, [sentences.robustness(facts)], Inches(6.1), Inches(3.4), 14)


def _closing(deck: Deck, facts: Facts) -> None:
    findings = insights.findings(facts)
    lines = [sentences.choice(facts), sentences.headline(facts), sentences.verdict(facts)]
    slide = deck.add("Conclusions", " ".join(filter(None, [*lines, *findings])))
    look.text(slide, list(filter(None, [*lines, *findings[:3]])))
    steps = [f"{step}: {command}" if command else step for step, command in insights.next_steps(facts)]
    slide = deck.add("Limitations and next steps", f"{'. '.join(steps)}.")
    look.text(slide, [*sentences.limits(facts), *(f"Next: {step}" for step in steps[:4])])
