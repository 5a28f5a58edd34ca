"""Sentences about the training of the networks: what the images were used for, the weights at the start and the end."""

from darkroom.reporting.facts import Entry, Facts
from darkroom.reporting.wording import count, duration, listing, percent


def validation_use(facts: Facts) -> str:
    """List the uses of the validation images, as verbs that follow "to"."""
    uses = ["select the best network"] if not facts.single and not facts.by_folds else []
    if facts.trained:
        uses.append("select the epoch to keep")
    layers = [entry for entry in facts.networks if "probe" in str(entry.card.training.get("method", ""))]
    heads = "the new last layer" if len(layers) == 1 else "the new last layers"
    uses.append(f"tune the regularisation of the baseline{f' and of {heads}' if layers else ''}")
    if any(refitted(entry) for entry in layers):
        uses.append(f"fit {heads} once more, with the training images")
    uses += ["calibrate the probabilities", "set the confidence thresholds"]
    if not facts.single and facts.by_folds:
        return f"{', '.join(uses)} and, in folds with the training images, select the best network"
    return listing(uses)


def refitted(entry: Entry) -> bool:
    """Return whether the last layer was also fitted to the validation images, whose scores are then out-of-fold."""
    return bool(entry.card.training.get("refitted"))


def start(entry: Entry) -> str:
    """State from which weights a network trained by epochs started."""
    card = entry.card
    if card.kind != "transfer":
        return "random weights"
    layer = "a new last layer, which had been fitted first" if "probe" in str(card.training.get("method", "")) else ""
    return f"pretrained weights with {layer or 'a new last layer'}"


def how(entry: Entry) -> str:
    """State from which weights a network was trained, and for how many epochs."""
    if not entry.card.epochs:
        return "a new last layer was fitted to the features of a pretrained network, whose other layers did not change"
    kept = "no epoch improved on the initial weights, which were kept"
    if entry.card.best_epoch:
        kept = f"the weights of epoch {entry.card.best_epoch} were kept"
    return f"{count(entry.card.epochs, 'epoch')}, starting from {start(entry)}; {kept}"


def starts(facts: Facts) -> list[str]:
    """State from which weights the networks trained by epochs started, a sentence for each kind of start."""
    kinds: dict[str, list[str]] = {}
    for entry in facts.trained:
        kinds.setdefault(start(entry), []).append(entry.card.name)
    return [f"The training of {listing(names)} started from {kind}." for kind, names in kinds.items()]


def kept(facts: Facts) -> str:
    """State which weights of the networks trained by epochs were kept."""
    improved = [entry for entry in facts.trained if entry.card.best_epoch]
    if not improved:
        return (
            "As measured on the validation images, no epoch improved on the initial weights, which were therefore kept."
        )
    text = "The weights of the best epoch, selected on the validation images, were kept"
    if len(improved) < len(facts.trained):
        return f'{text}; "start" means that no epoch improved on the weights at the start.'
    return f"{text}."


def training(entry: Entry) -> str:
    """State how long a network was trained and which weights were kept."""
    card, time = entry.card, duration(entry.card.seconds)
    if not card.epochs:
        return f"{card.name}: only the last layer was fitted, in {time}"
    kept = "no epoch improved on the initial weights, which were kept"
    if card.best_epoch:
        kept = f"the weights of epoch {card.best_epoch} were kept"
    pretrained = " from pretrained weights" if card.kind == "transfer" else ""
    return f"{card.name}: {count(card.epochs, 'epoch')}{pretrained} in {time}; {kept}"


def probes(facts: Facts) -> list[str]:
    """State what was fitted of the networks of which only the last layer was, those fitted in the same way together."""
    kinds: dict[tuple[bool, bool], list[Entry]] = {}
    for entry in facts.probes:
        flipped = bool(entry.card.training.get("augment", {}).get("flip"))
        kinds.setdefault((flipped, refitted(entry)), []).append(entry)
    texts = []
    for (flipped, again), entries in kinds.items():
        named = listing([f"{entry.card.name} ({duration(entry.card.seconds)})" for entry in entries])
        single = len(entries) == 1
        layer, was = ("layer", "was") if single else ("layers", "were")
        tuned = "The regularisation was tuned on the validation images."
        if again:
            tuned = (
                "The regularisation was tuned by cross-validation on the training and validation images, and the "
                f"{layer} {was} then fitted to all of them; scores on validation images are those of the folds' "
                "models, which had not seen these images."
            )
        texts.append(
            f"Only the last {layer} of {named} {was} fitted: "
            f"{'a logistic regression' if single else 'logistic regressions'} on the features that the pretrained "
            f"layers extract from the training images{' and their mirror images' if flipped else ''}. {tuned}"
        )
    return texts


def fine_tuning(facts: Facts) -> str:
    """State for each network that was also fine-tuned whether that was kept, with both validation accuracies.

    Empty if no network was compared with its probe. The card counts the images on which the two differ.
    """
    texts = []
    for entry in facts.networks:
        if not (found := entry.card.training.get("fine_tuning")):
            continue
        images, gain = facts.data["validation"], found["gained"] - found["lost"]
        right = round(entry.validation["accuracy"] * images)  # whole numbers, so that no error of rounding is shown
        tuned, probe = (right, right - gain) if found["kept"] else (right + gain, right)
        texts.append(
            f"{entry.card.name} was also fine-tuned for {count(found['epochs'], 'epoch')}, and the result was "
            f"{'kept' if found['kept'] else 'discarded'}: on the validation images, the fine-tuned network has an "
            f"accuracy of {percent(tuned / images)} and the last layer alone {percent(probe / images)}. Fine-tuning is "
            "kept only if it is better by more than one standard error of the difference."
        )
    return " ".join(texts)


def licence(entry: Entry) -> str:
    """State the licence of the pretrained weights that a network started from; empty without any."""
    given = entry.card.training.get("weights_licence")
    if given is None:
        return ""
    architecture = entry.card.network.get("architecture", entry.card.name)
    name = f"the pretrained weights of {architecture} ({entry.card.training['weights']})"
    if given:
        return f"Licence of {name}: {given}."
    return (
        f"No licence is known for {name}: ask their publisher for the terms of use before you share or sell the model."
    )


def licences(facts: Facts) -> str:
    """State the licences of the pretrained weights of all networks, each once; empty without any."""
    return " ".join(dict.fromkeys(filter(None, map(licence, facts.networks))))
