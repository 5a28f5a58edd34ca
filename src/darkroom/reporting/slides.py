"""The presentation: what the report says, a slide a thought, with notes for whoever speaks."""

from pathlib import Path

from pptx.enum.text import MSO_ANCHOR
from pptx.util import Inches, Pt

from darkroom.foundations import naming
from darkroom.reporting import deck as look
from darkroom.reporting import insights, sentences
from darkroom.reporting.deck import BLUE, HEIGHT, INK, LEFT, MUTED, TOP, Deck
from darkroom.reporting.facts import Entry, Facts
from darkroom.reporting.rendering import TEMPLATES
from darkroom.reporting.wording import chance, count, duration, listing, percent

ROWS = 7
"""Models that a table on a slide has room for."""
MOST_STEPS = 13
"""Steps of a network that a table has room for."""


def write_slides(facts: Facts, pictures: dict[str, Path], path: Path) -> None:
    """Write a presentation of 10 to 14 slides; `pictures` are PNG files by name.

    The look is that of `templates/slides.pptx`, which PowerPoint and LibreOffice open and change.
    """
    deck = Deck(TEMPLATES / "slides.pptx", pictures)
    _open(deck, facts)
    _data(deck, facts)
    _models(deck, facts)
    _results(deck, facts)
    _doubts(deck, facts)
    _close(deck, facts)
    deck.save(path, facts.title, facts.author)


def shown(facts: Facts) -> list[Entry]:
    """Return the models that a slide has room for: the baseline, the best, and the next by validation accuracy."""
    others = [entry for entry in facts.networks if entry is not facts.best]
    others.sort(key=lambda entry: -entry.validation["accuracy"])
    return [facts.bar, facts.best, *others][:ROWS]


def _of(facts: Facts, part: list[Entry]) -> str:
    return f" ({len(part)} of {len(facts.entries)})" if len(part) < len(facts.entries) else ""


def _open(deck: Deck, facts: Facts) -> None:
    said = sentences.summary(facts)
    slide = deck.add(facts.title, "\n".join(said), "Title Slide")
    dataset = facts.data["dataset"] if facts.data["dataset"] not in facts.title else ""
    slide.placeholders[1].text = naming.escape(" · ".join(filter(None, (dataset, facts.author))))
    best = facts.best
    slide = deck.add("In short", "\n".join(said))
    big = slide.shapes.add_textbox(LEFT, TOP, Inches(2.9), HEIGHT).text_frame
    big.word_wrap, big.vertical_anchor = True, MSO_ANCHOR.MIDDLE
    right = f"of {count(facts.data['test'], 'test image')} right"
    accuracy = (sentences.interval(best.test, "accuracy"), 12, MUTED, False)
    parts = [(percent(best.test["accuracy"]), 48, BLUE, True), (right, 16, INK, False), accuracy]
    if facts.uneven:
        parts = [
            (f"{best.test['macro_f1']:.3f}", 48, BLUE, True),
            ("macro F1", 16, INK, False),
            (f"{percent(best.test['accuracy'])} {right}", 16, INK, False),
            accuracy,
            (f"{sentences.majority(facts)}: {percent(facts.majority.accuracy)}", 12, MUTED, False),
        ]
    for place, (words, size, colour, bold) in enumerate(parts):
        paragraph = big.paragraphs[0] if not place else big.add_paragraph()
        run = paragraph.add_run()
        run.text, run.font.size, run.font.color.rgb, run.font.bold = naming.escape(words), Pt(size), colour, bold
    look.text(slide, [said[0], said[1], said[3], said[4]], Inches(3.5), Inches(6.0))


def _data(deck: Deck, facts: Facts) -> None:
    data = facts.data
    total = f"{count(data['images'], 'image')} of {count(data['classes'], 'class', 'classes')}"
    facts_told = [
        f"{data['dataset']}: {total}, {data['image_size']} × {data['image_size']} pixels",
        *(
            f"{name}: {data[name]:,} ({percent(data[name] / data['images'])})"
            for name in ("train", "validation", "test")
        ),
    ]
    if data["imbalance"] >= 1.05:
        facts_told.append(f"The largest class has {data['imbalance']:.1f} times the images of the smallest")
    found = [
        (
            data["copies"] + data["near_copies"],
            "copy, kept on one side of a split",
            "copies, kept on one side of a split",
        ),
        (data["broken"], "file that could not be read", "files that could not be read"),
        (data["leaks"], "test image with a copy elsewhere", "test images with a copy elsewhere"),
    ]
    facts_told += [count(number, one, several) for number, one, several in found if number]
    licence = f" Licence: {data['licence']}." if data["licence"] else ""
    slide = deck.add("The data", f"Source: {data['source']}.{licence} Images of one class are in one row.")
    deck.picture(slide, "samples", LEFT, Inches(4.6), HEIGHT)
    look.text(slide, facts_told, Inches(5.3), Inches(4.2))
    slide = deck.add(
        "How the images are divided",
        f"The training images fit the weights. The validation images {sentences.validation_use(facts)}. Each model is "
        "scored once on the test images, which choose nothing.",
    )
    deck.picture(slide, "classes")


def _models(deck: Deck, facts: Facts) -> None:
    _layers(deck, facts)
    training = facts.best.card.training
    told = [sentences.training(entry) for entry in shown(facts)[1:]]
    notes = [f"{name} {training[key]}" for name, key in _RECIPE if key in training]
    how = ", ".join(notes) if facts.best.card.epochs and notes else "no epochs, only its last layer was fitted"
    curves = "learning_curves" in deck.pictures
    dots = " Dots mark the epochs that were kept." if curves else ""
    slide = deck.add("Training", f"{facts.best.card.name}: {how}.{dots}")
    if curves:
        deck.picture(slide, "learning_curves", LEFT, Inches(5.6), HEIGHT)
        look.text(slide, told, Inches(6.3), Inches(3.2), 14)
    else:
        look.text(slide, told)


def _duration(entry: Entry) -> str:
    return duration(entry.card.seconds)


def _layers(deck: Deck, facts: Facts) -> None:
    """Show what the best network consists of: as a table, or where that has no room as a drawing."""
    card, steps = facts.best.card, facts.best.steps
    for number, alike in enumerate(facts.architectures, 1):
        if facts.best in alike:
            slide = deck.add(
                f"What {card.name} consists of",
                f"The image enters at the top, {card.image_size} × {card.image_size} pixels of three colours. All in "
                f"all {card.parameters:,} parameters. Built alike: {listing([entry.card.name for entry in alike])}.",
            )
            if len(steps) <= MOST_STEPS:
                rows = [(step.title, step.shape, f"{step.parameters:,}" if step.parameters else "") for step in steps]
                look.table(slide, ("Layer", "Output", "Parameters"), rows, (5, 2, 1.5))
            else:
                deck.picture(slide, f"architecture_{number}")


_RECIPE = (
    ("optimiser", "optimizer"),
    ("learning rate", "learning_rate"),
    ("schedule", "schedule"),
    ("batches of", "batch_size"),
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
    deck.picture(slide, "accuracy")
    slide = deck.add(
        f"The models and their scores{_of(facts, part)}",
        "The baseline is the bar that networks have to clear. All are compared with the best on the same images; "
        "within noise is what chance alone may bring. "
        + ". ".join(f"{each.card.name}: {each.card.architecture}" for each in part),
    )
    rows = []
    for entry in part:
        test, versus = entry.test, entry.versus_best
        said = f"{versus['verdict']}, {chance(versus['p_value'])}" if versus else "the best"
        low, high = percent(test["accuracy_low"]), percent(test["accuracy_high"])
        scores = (f"{test['macro_f1']:.3f}", percent(test["accuracy"]), f"{low}\u00a0–\u00a0{high}", said)
        rows.append((_star(entry, facts), f"{entry.card.parameters:,}", _duration(entry), *scores))
    if facts.uneven:
        always = facts.majority
        rows.append((f"always {always.name}", "", "", f"{always.macro_f1:.3f}", percent(always.accuracy), "", ""))
    header = ("Model", "Parameters", "Training", "Macro F1", "Accuracy", "95% interval", "Against the best")
    look.table(slide, header, rows, (1.9, 1.15, 1.15, 0.95, 1.0, 1.75, 2.0))
    wrong = [sentences.mistake(facts, item).removeprefix("to take ") for item in facts.confusions[:5]]
    slide = deck.add(
        f"Where {best.card.name} errs",
        "Rows are what the images show, columns what they are taken for; right answers are blue, mistakes orange.",
    )
    deck.picture(slide, "confusion", LEFT, Inches(4.9), HEIGHT)
    look.text(slide, wrong or [f"No mistake on {count(facts.data['test'], 'test image')}"], Inches(5.7), Inches(3.8))
    if "mistakes" in deck.pictures:
        slide = deck.add("The most confident mistakes", "What the model was surest of and wrong about.")
        deck.picture(slide, "mistakes")


def _doubts(deck: Deck, facts: Facts) -> None:
    abstention = sentences.abstention(facts)
    slide = deck.add(
        "How far its confidence can be believed", f"{sentences.calibration(facts)} {' '.join(abstention)}".strip()
    )
    deck.picture(slide, "reliability", LEFT, Inches(4.3), HEIGHT)
    look.text(slide, [sentences.calibration(facts), *abstention[1:]], Inches(5.0), Inches(4.5), 14)
    if facts.robustness and "robustness" in deck.pictures:
        slide = deck.add("Pictures made worse", sentences.robustness(facts))
        deck.picture(slide, "robustness", LEFT, Inches(5.4), HEIGHT)
        look.text(slide, [sentences.robustness(facts)], Inches(6.1), Inches(3.4), 14)


def _close(deck: Deck, facts: Facts) -> None:
    lessons = insights.lessons(facts)
    slide = deck.add("The best model, and why", " ".join([sentences.headline(facts), *lessons]))
    look.text(slide, [sentences.choice(facts), sentences.verdict(facts), *lessons[:4]])
    steps = [f"{step}: {command}" if command else step for step, command in insights.next_steps(facts)]
    slide = deck.add("How far to trust this, and what to try next", " ".join(steps))
    look.text(slide, [*sentences.limits(facts), *(f"Next: {step}" for step in steps[:4])])
